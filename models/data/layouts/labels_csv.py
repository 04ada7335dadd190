"""Layout `labels_csv`: `train.csv` or `labels.csv` with an image and its identity a row, and no test labels.

The image's column is one of `image,filename,path`, the identity's one of
`identity,ground_truth,label,individual_id,id`, in any case. Optional: `species` or `domain`, `camid`, `track`,
`sequence`, boxes. Other columns give a note. Images lie beside the file, or in `train`, `train_images` or `images`.
If there is a file of pairs (`pairs.csv` or `test.csv`), its images are the queries and the gallery, in `test`,
`test_images` or `images`, or beside it. Else `python -m ensemble.split` makes test lists.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from configs.errors import DataError
from models.data.layouts.boxes import BOXES
from models.data.layouts.given_pairs import pairs_file, read_pairs
from models.data.layouts.table import Row, benchmark_of, check_path, find_not_read, read_fields, take_unknown
from models.data.split import Benchmark

FILES = ("train.csv", "labels.csv")
IMAGE = ("image", "filename", "path")
IDENTITY = ("identity", "ground_truth", "label", "individual_id", "id")
MORE = {"species": "domain", "domain": "domain", "camid": "camid", "track": "track", "sequence": "sequence"}
FOLDERS = {"train": ("train", "train_images", "images"), "test": ("test", "test_images", "images")}


def read_labels_csv(root: Path) -> Benchmark:
    """Read the file of labels, and the pairs if there are any.

    Raises:
        DataError: no such file, a column is missing, or an image has no identity.
    """
    table = next((root / name for name in FILES if (root / name).is_file()), root / FILES[0])
    columns, raw = read_fields(table, "layout labels_csv needs columns image,identity there")
    image, identity = (_one_of(columns, names, table) for names in (IMAGE, IDENTITY))
    more = {column: MORE[column.lower()] for column in columns if column.lower() in MORE}
    rows, words = list[Row](), Counter[str]()
    for line, fields in raw:
        given = dict(zip(columns, [*fields, *[""] * len(columns)], strict=False))
        path = _folder(root, "train", given[image]) + given[image]
        row = {"line": str(line), "label": given[identity], "path": path, "split": "train", "camid": ""}
        row |= {column: given[column] for column in BOXES if column in given}
        row |= {"is_query": "", "is_gallery": ""} | {to: given[of] for of, to in more.items()}
        take_unknown(row, words)
        check_path(given[image], f"{table}, line {line}")
        if not row["label"]:
            raise DataError(f"{table}, line {line}: {given[image]!r} has no identity; add one, or delete the line")
        rows.append(row)
    rows += _asked(root, more.values()) if pairs_file(root).is_file() else []
    found = find_not_read(columns, (image, identity, *more), words, table)
    return benchmark_of("labels_csv", root, table, rows, found, root)


def _asked(root: Path, kinds: object) -> list[Row]:
    """A row for each image of the pairs."""
    pairs = read_pairs(root)
    sides = {query for _, query, _ in pairs}, {gallery for _, _, gallery in pairs}
    rows = []
    for name in sorted(sides[0] | sides[1]):
        check_path(name, f"{pairs_file(root)}, image {name!r}")
        flags = {"is_query": str(name in sides[0]).lower(), "is_gallery": str(name in sides[1]).lower()}
        unknown = dict.fromkeys(kinds, "")  # type: ignore[call-overload]
        path = _folder(root, "test", name) + name
        rows.append({"line": "0", "label": "", "camid": "", "path": path, "split": "test", **unknown, **flags})
    return rows


def _folder(root: Path, part: str, name: str) -> str:
    """The folder of an image, with its slash; empty if it lies beside the file."""
    there = (folder for folder in FOLDERS[part] if (root / folder / name).is_file())
    return "".join(f"{folder}/" for folder in [next(there, "")] if folder)


def _one_of(columns: list[str], names: tuple[str, ...], table: Path) -> str:
    """The column with one of these names.

    Raises:
        DataError: there is none, or there are several.
    """
    found = [column for column in columns if column.lower() in names]
    if len(found) != 1:
        has = ", ".join(map(repr, columns)) or "none"
        raise DataError(f"{table}: its columns are {has}; wanted one of {', '.join(names)}, and no other of these")
    return found[0]
