"""NAIC 2020: `train/label.txt` with lines `00040591.png:15178`, and test folders without labels."""

from __future__ import annotations

from pathlib import Path

from configs.errors import DataError
from models.data.images import list_images
from models.data.split import UNKNOWN, Benchmark, Split, make_split


def read_naic2020(root: Path) -> Benchmark:
    """`train/images/` by its label list, `test/query/`, `test/gallery/`; there are no cameras."""
    return Benchmark(
        "naic2020",
        root,
        train=_read_train(root / "train" / "label.txt", root / "train" / "images"),
        query=_read_test(root / "test" / "query"),
        gallery=_read_test(root / "test" / "gallery"),
        unlabelled=make_split([]),
    )


def _read_train(list_file: Path, folder: Path) -> Split:
    try:
        lines = list_file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{list_file}: cannot be read ({e}); layout naic2020 wants lines 'name.png:id' there") from e
    there = {p.name: p for p in list_images(folder)}
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, colon, pid = line.strip().rpartition(":")
        if not colon or not pid.strip().isdecimal():
            raise DataError(f"{list_file}, line {number}: {line!r}; wanted 'name.png:id'")
        if name not in there:
            raise DataError(f"{list_file}, line {number}: {name!r} is not in {folder}. Restore it, or delete the line")
        rows.append((name, there[name], int(pid), UNKNOWN))
    return make_split(rows)


def _read_test(folder: Path) -> Split:
    return make_split([(path.name, path, UNKNOWN, UNKNOWN) for path in list_images(folder)])
