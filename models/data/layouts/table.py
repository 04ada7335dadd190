"""One CSV for one's own data, in open-metric-learning's columns: `label,path,split,is_query,is_gallery`.

Columns `camid`, `domain` and `track` may be there too. The pictures lie beside it, or in the folder that
`pictures.json` beside it names: `{"folder": "/data/market1501"}`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from configs.errors import DataError
from models.data.split import UNKNOWN, Benchmark, Split, make_split

TABLE, PICTURES = "df.csv", "pictures.json"
WANTED = ("label", "path", "split", "is_query", "is_gallery")
TRUE, FALSE = {"1", "true", "yes", "1.0"}, {"", "0", "false", "no", "0.0", "nan", "none"}
Row = dict[str, str]


def read_table(root: Path) -> Benchmark:
    """`df.csv`: rows of split `train` train; `validation` or `test` rows are query, gallery, or both.

    Labels may be any text; they are numbered in sorted order. A name is the path without its folders where that is
    unique in the table, else the path as written.
    """
    rows = list(_rows(root / TABLE))
    pid_of = {label: i for i, label in enumerate(sorted({r["label"] for r in rows if r["label"]}))}
    bare = [PurePosixPath(r["path"]).name for r in rows]
    unique = len(set(bare)) == len({r["path"] for r in rows})
    pictures = _pictures(root)

    def split(wanted: list[Row]) -> Split:
        plain = make_split(
            [
                (
                    PurePosixPath(r["path"]).name if unique else r["path"],
                    pictures / r["path"],
                    pid_of.get(r["label"], UNKNOWN),
                    int(r["camid"] or UNKNOWN),
                )
                for r in wanted
            ]
        )
        return _with_kinds(plain, {PurePosixPath(r["path"]).name if unique else r["path"]: r for r in wanted})

    train = [r for r in rows if r["split"] == "train"]
    test = [r for r in rows if r["split"] in ("validation", "test", "val")]
    return Benchmark(
        "table",
        root,
        train=split(train),
        query=split([r for r in test if r["is_query"] in TRUE]),
        gallery=split([r for r in test if r["is_gallery"] in TRUE]),
        unlabelled=split([r for r in rows if r["split"] == "unlabelled"]),
    )


def _pictures(root: Path) -> Path:
    """The folder that paths are relative to."""
    path = root / PICTURES
    if not path.exists():
        return root
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["folder"]
        folder = root / str(named)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DataError(f'{path}: cannot be read ({e}); wanted {{"folder": "where the pictures lie"}}') from e
    if not folder.is_dir():
        raise DataError(f"{path}: {named} is no folder. If the pictures were moved, write their new place there")
    return folder


def _with_kinds(split: Split, row_of: dict[str, Row]) -> Split:
    """The domains and tracks of a list, where the table has such columns. An image without a domain is of domain ''."""
    rows = [row_of[name] for name in split.names]
    if rows and "domain" in rows[0]:
        split = replace(split, domains=tuple(r["domain"] for r in rows))
    if rows and "track" in rows[0]:
        numbers = {t: i for i, t in enumerate(sorted({r["track"] for r in rows if r["track"]}))}
        split = replace(split, tracks=np.array([numbers.get(r["track"], UNKNOWN) for r in rows], np.int64))
    return split


def _rows(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read ({e}); layout table wants columns {', '.join(WANTED)} there") from e
    reader = csv.DictReader(text.splitlines())
    missing = [c for c in WANTED if c not in (reader.fieldnames or ())]
    if missing:
        raise DataError(f"{path}: no column {missing[0]!r}; it has {reader.fieldnames}, wanted: {', '.join(WANTED)}")
    for raw in reader:
        row = {k: (v or "").strip() for k, v in raw.items() if isinstance(v, str | None) and k is not None}
        row["split"], row["camid"] = row["split"].lower(), row.get("camid", "")
        for flag in ("is_query", "is_gallery"):
            row[flag] = row[flag].lower()
        _check_row(row, f"{path}, line {reader.line_num}")
        yield row


def _check_row(row: Row, where: str) -> None:
    if row["split"] not in ("train", "validation", "val", "test", "unlabelled"):
        raise DataError(f"{where}: split {row['split']!r}; there are train, validation (or val, test), unlabelled")
    for flag in ("is_query", "is_gallery"):
        if row[flag] not in TRUE | FALSE:
            raise DataError(f"{where}: {flag} is {row[flag]!r}; wanted true, false or nothing")
    if row["split"] == "train" and not row["label"]:
        raise DataError(f"{where}: a train row without a label; give one, or call the split 'unlabelled'")
    path = PurePosixPath(row["path"])
    if not row["path"] or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where}: path {row['path']!r}; wanted a path inside the folder of the table")
    if row["camid"] and not row["camid"].removesuffix(".0").isdecimal():
        raise DataError(f"{where}: camid {row['camid']!r}; wanted a whole number or nothing")
    row["camid"] = row["camid"].removesuffix(".0")
