"""Writing a `table` layout: `df.csv`, and `pictures.json` with the folder of the images."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from configs.errors import DataError
from configs.store.store import write_text
from models.data.crop import Box, box_of
from models.data.layouts.boxes import CORNERS
from models.data.layouts.table import PICTURES, TABLE, WANTED
from models.data.split import UNKNOWN, Split


def write_table(
    folder: Path,
    train: Split,
    query: Split,
    gallery: Split,
    labels: Mapping[int, str] | None = None,
    cameras: Mapping[int, str] | None = None,
) -> Path:
    """Write the lists to a folder without a table. Returns the folder of the images.

    Args:
        labels, cameras: number -> name of an identity or a camera, where it is not the number.

    Raises:
        DataError: the table exists, a path is not possible in a table, or the folder cannot be written.
    """
    if (folder / TABLE).exists():
        raise DataError(f"{folder / TABLE} exists; give another folder, or remove it")
    parts = (("train", train, "", ""), ("test", query, "true", "false"), ("test", gallery, "false", "true"))
    pictures = Path(os.path.commonpath([p.absolute().parent for _, split, _, _ in parts for p in split.paths]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    images = [(n, path) for _, split, _, _ in parts for n, path in zip(split.names, split.paths, strict=True)]
    boxed = any(box_of(path) for _, path in images)
    named = boxed or not all(path.as_posix().endswith(name) for name, path in images)
    told = any(split.sequences is not None for _, split, _, _ in parts)
    writer.writerow((*WANTED, "camid", *["sequence"] * told, *["image_id"] * named, *CORNERS * boxed))
    for name, split, is_query, is_gallery in parts:
        for path, pid, camid, sequence, name_of, box in _images(split, pictures):
            label, camera = (
                "" if number == UNKNOWN else (texts or {}).get(number, number)
                for number, texts in ((pid, labels), (camid, cameras))
            )
            row = (label, path, name, is_query, is_gallery, camera)
            more = (*["" if sequence == UNKNOWN else sequence] * told, *[name_of] * named)
            writer.writerow((*row, *more, *(box or [""] * 4) * boxed))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / PICTURES, json.dumps({"folder": str(pictures)}, ensure_ascii=False) + "\n")
        write_text(folder / TABLE, text.getvalue())
    except OSError as e:
        raise DataError(f"{folder}: cannot be written ({e.strerror}); give another folder with --out") from e
    return pictures


def _images(split: Split, pictures: Path) -> Iterator[tuple[str, int, int, int, str, Box | None]]:
    sequences = [UNKNOWN] * len(split) if split.sequences is None else split.sequences.tolist()
    columns = split.paths, split.pids.tolist(), split.camids.tolist(), sequences, split.names
    rows: Iterable[tuple[Path, int, int, int, str]] = zip(*columns, strict=True)
    for path, pid, camid, sequence, name in rows:
        told = path.absolute().relative_to(pictures).as_posix()
        if len(told.splitlines()) != 1 or told != told.strip():
            raise DataError(f"{told!r}: a line break, or a space at the end of the path; rename the file")
        yield told, pid, camid, sequence, name, box_of(path)
