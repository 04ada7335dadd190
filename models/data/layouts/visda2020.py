"""VisDA 2020, domain adaptive pedestrian re-ID: index files give the test lists and their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from configs.errors import DataError
from models.data.images import list_images
from models.data.layouts.lists import inside, read_lines, whole_number
from models.data.layouts.market1501 import read_folder
from models.data.split import UNKNOWN, Benchmark, Split, make_split

WANTED = "lines 'name camera person index'"


def read_visda2020(root: Path) -> Benchmark:
    """`image_query/`, `image_gallery/`, and `index_*_query.txt`, `index_*_gallery.txt` in the folder or its parent.

    Person 0 is a distractor. If all queries have person 0, no identity is known.
    Optional folders: `image_train/`, named as in Market-1501, and `unlabelled/`.
    """
    query, gallery = (_read_index(root, side) for side in ("query", "gallery"))
    if not (query.pids > 0).any():
        query, gallery = _nameless(query), _nameless(gallery)
    train, unlabelled = root / "image_train", root / "unlabelled"
    return Benchmark(
        "visda2020",
        root,
        train=read_folder(train) if train.is_dir() else make_split([]),
        query=query,
        gallery=gallery,
        unlabelled=make_split([(p.name, p, UNKNOWN, UNKNOWN) for p in list_images(unlabelled)])
        if unlabelled.is_dir()
        else make_split([]),
    )


def _read_index(root: Path, side: str) -> Split:
    """One list in the order of its indices, which submissions use."""
    found = sorted({*root.glob(f"index*_{side}.txt")} or {*root.parent.glob(f"index*_{side}.txt")})
    if len(found) != 1:
        names = [path.name for path in found] or "none"
        raise DataError(f"{root}: needs one file index_*_{side}.txt there or in the parent folder; found {names}")
    rows: dict[int, tuple[str, Path, int, int]] = {}
    folder = root / f"image_{side}"
    for number, line in read_lines(found[0], "visda2020", WANTED):
        where, fields = f"{found[0]}, line {number}", line.split()
        if len(fields) != 4:
            raise DataError(f"{where}: {line!r}; must be 'name camera person index'")
        words = ("the camera", "the person", "the index")
        camera, pid, index = (whole_number(f, word, where) for f, word in zip(fields[1:], words, strict=True))
        if index in rows:
            raise DataError(f"{where}: index {index} occurs twice (also {rows[index][0]})")
        rows[index] = (fields[0], inside(folder, fields[0], where), pid, camera)
    if sorted(rows) != list(range(len(rows))):
        raise DataError(f"{found[0]}: the {len(rows)} indices must be 0 to {len(rows) - 1}, each once")
    ordered = [rows[i] for i in range(len(rows))]
    return Split(
        tuple(r[0] for r in ordered),
        tuple(r[1] for r in ordered),
        np.array([r[2] for r in ordered], dtype=np.int64),
        np.array([r[3] for r in ordered], dtype=np.int64),
    )


def _nameless(split: Split) -> Split:
    return Split(split.names, split.paths, np.full(len(split), UNKNOWN, dtype=np.int64), split.camids)
