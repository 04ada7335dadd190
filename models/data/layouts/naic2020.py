"""NAIC 2020: `train/label.txt` with lines `00040591.png:15178`, test folders without labels."""

from __future__ import annotations

from pathlib import Path

from configs.errors import DataError
from models.data.images import list_images
from models.data.layouts.lists import read_lines, whole_number
from models.data.spelling import hint
from models.data.split import UNKNOWN, Benchmark, Split, make_split


def read_naic2020(root: Path) -> Benchmark:
    """`train/images/` by the label list, `test/query/`, `test/gallery/`. There are no cameras."""
    return Benchmark(
        "naic2020",
        root,
        train=_read_train(root / "train" / "label.txt", root / "train" / "images"),
        query=_read_test(root / "test" / "query"),
        gallery=_read_test(root / "test" / "gallery"),
        unlabelled=make_split([]),
    )


def _read_train(list_file: Path, folder: Path) -> Split:
    there = {p.name: p for p in list_images(folder)}
    rows: dict[str, tuple[str, Path, int, int]] = {}
    for number, line in read_lines(list_file, "naic2020", "lines 'name.png:id'"):
        where = f"{list_file}, line {number}"
        name, colon, label = line.rpartition(":")
        if not colon or not label.strip().isdecimal():
            raise DataError(f"{where}: {line!r}; must be 'name.png:id'")
        pid = whole_number(label.strip(), "the id", where)
        if name not in there:
            raise DataError(f"{where}: {name!r} is not in {folder}{hint(name, there)}. Restore it, or correct the line")
        if name in rows and rows[name][2] != pid:
            raise DataError(f"{where}: {name} is person {pid} here and {rows[name][2]} earlier; delete one line")
        rows[name] = (name, there[name], pid, UNKNOWN)
    return make_split(list(rows.values()))


def _read_test(folder: Path) -> Split:
    return make_split([(path.name, path, UNKNOWN, UNKNOWN) for path in list_images(folder)])
