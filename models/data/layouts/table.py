"""One CSV for one's own data, in open-metric-learning's columns: `label,path,split,is_query,is_gallery`.

Columns `camid`, `domain` and `track` may be there too, numbers or text; other columns are told, boxes refused.
The pictures lie beside it, or in the folder that `pictures.json` beside it names: `{"folder": "/data/market1501"}`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from configs.errors import DataError
from models.data.doctor.finding import HURTS, NOTE, Finding, count, shown
from models.data.layouts.lists import read_text
from models.data.spelling import plain
from models.data.split import UNFIT, UNKNOWN, Benchmark, Split, make_split

TABLE, PICTURES = "df.csv", "pictures.json"
WANTED = ("label", "path", "split", "is_query", "is_gallery")
MORE = ("camid", "domain", "track")
BOXES = ("x_1", "x_2", "y_1", "y_2")
MISSING = {"", "nan", "none", "null", "n/a", "<na>", "unknown"}  # what tables write where nothing is known
TRUE, FALSE = {"1", "true", "yes", "1.0"}, {"", "0", "false", "no", "0.0", "nan", "none"}
Row = dict[str, str]


def read_table(root: Path) -> Benchmark:
    """`df.csv`: rows of split `train` train; `validation` or `test` rows are query, gallery, or both.

    Labels may be any text; they are numbered in sorted order. A name is the path without its folders where that is
    unique in the table, else the path as written.
    """
    rows, found = _read(root / TABLE)
    pictures = _pictures(root)
    found += _spelled(rows, pictures)
    _check_labels(root / TABLE, rows)
    pid_of = {"": UNKNOWN} | {label: i for i, label in enumerate(sorted({r["label"] for r in rows if r["label"]}))}
    cam_of = _numbers({r["camid"] for r in rows})
    bare = [PurePosixPath(r["path"]).name for r in rows]
    unique = len(set(bare)) == len({r["path"] for r in rows})

    def split(wanted: list[Row]) -> Split:
        named = {PurePosixPath(r["path"]).name if unique else r["path"]: r for r in wanted}
        if len(named) < len(wanted):
            twice = next(path for path, n in Counter(r["path"] for r in wanted).items() if n > 1)
            lines = " and ".join(r["line"] for r in wanted if r["path"] == twice)
            raise DataError(f"{root / TABLE}, lines {lines}: {twice!r} is in one list more than once; delete a line")
        return _with_kinds(
            make_split([(n, pictures / r["path"], pid_of[r["label"]], cam_of[r["camid"]]) for n, r in named.items()]),
            named,
        )

    train = [r for r in rows if r["split"] == "train"]
    test = [r for r in rows if r["split"] in ("validation", "test", "val")]
    return Benchmark(
        "table",
        root,
        train=split(train),
        query=split([r for r in test if r["is_query"] in TRUE]),
        gallery=split([r for r in test if r["is_gallery"] in TRUE]),
        unlabelled=split([r for r in rows if r["split"] == "unlabelled"]),
        found=tuple(found),
        labels=_texts(pid_of),
        cameras=_texts(cam_of),
    )


def _texts(number_of: dict[str, int]) -> dict[int, str]:
    """The texts that are not their numbers, by these."""
    return {number: text for text, number in number_of.items() if text not in ("", str(number))}


def _numbers(words: set[str]) -> dict[str, int]:
    """A number for each text: the one that is written, where all are whole numbers; else its place in sorted order."""
    told = sorted(words - {""})
    if all(w.isascii() and w.isdecimal() and len(w) < 19 for w in told) and len({int(w) for w in told}) == len(told):
        return {w: int(w) for w in told} | {"": UNKNOWN}
    return {w: i for i, w in enumerate(told)} | {"": UNKNOWN}


def _spelled(rows: list[Row], pictures: Path) -> list[Finding]:
    """Put the paths of pictures that are there under another spelling in the rows; a finding of what was put."""
    there: dict[str, dict[str, list[str]]] = {}
    put = []
    for row in rows:
        path = row["path"]
        if os.path.exists(pictures / path):
            continue
        folder, _, name = path.replace("\\", "/").rpartition("/")
        if folder not in there:
            there[folder] = defaultdict(list)
            for other in os.listdir(pictures / folder) if os.path.isdir(pictures / folder) else ():
                there[folder][plain(other)].append(other)
        meant = there[folder][plain(name)]
        if len(meant) == 1:
            row["path"] = f"{folder}/{meant[0]}" if folder else meant[0]
            put.append(f"{path!r} is {row['path']!r}")
    if not put:
        return []
    text = f"{count(len(put), 'picture is', 'pictures are')} there under another spelling than the table's"
    return [Finding(NOTE, text, "they are called as they are there", shown(put))]


def _check_labels(path: Path, rows: list[Row]) -> None:
    """A picture shows one of those that are looked for, whatever lists it is in."""
    first: dict[str, Row] = {}
    for row in (r for r in rows if r["label"]):
        other = first.setdefault(row["path"], row)
        if other["label"] != row["label"]:
            raise DataError(
                f"{path}, line {row['line']}: {row['path']!r} is {row['label']!r} here and {other['label']!r} in line "
                f"{other['line']}. A picture shows one of those that are looked for: write a crop of each, or mend it"
            )


def _pictures(root: Path) -> Path:
    """The folder that paths are relative to."""
    path = root / PICTURES
    if not path.exists():
        return root
    try:
        named = json.loads(read_text(path, "it names the folder of the pictures"))["folder"]
        folder = root / str(named)
    except (json.JSONDecodeError, RecursionError, KeyError, TypeError) as e:
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


def _read(path: Path) -> tuple[list[Row], list[Finding]]:
    """The rows, and what of the table is not read.

    Raises:
        DataError: it is not there, is no CSV, lacks a column, or a row is not as wanted.
    """
    columns, raw = _fields(path)
    missing = [c for c in WANTED if c not in columns]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}; it has {', '.join(map(repr, columns)) or 'none'}, wanted are "
            f"{', '.join(WANTED)}, set off by commas"
        )
    rows, words = [], Counter[str]()
    for line, fields in raw:
        row = {"line": str(line), "camid": ""} | dict(zip(columns, [*fields, *[""] * len(columns)], strict=False))
        for column in ("label", *MORE):
            if column in row and row[column].casefold() in MISSING:
                words[f"{column} {row[column]!r}"] += bool(row[column])
                row[column] = ""
        _check_row(row, f"{path}, line {line}")
        rows.append(row)
    return rows, _not_read(columns, words, path)


def _fields(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header; and the other rows, each with its line."""
    wants = f"layout table wants columns {', '.join(WANTED)} there"
    text = read_text(path, wants)
    reader, rows, begins = csv.reader(io.StringIO(text, newline=""), strict=True), [], 1
    try:
        for fields in reader:
            rows.append((begins, [field.strip() for field in fields]))
            begins = reader.line_num + 1
    except csv.Error as e:
        raise DataError(f"{path}, line {begins}: no row of CSV ({e}); is a quote open? {wants}") from e
    columns = rows[0][1] if rows else []
    twice = [column for column, n in Counter(columns).items() if n > 1]
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} is there more than once; {wants}, each once")
    more = next(((line, fields) for line, fields in rows if len(fields) > len(columns)), None)
    if more is not None:
        raise DataError(
            f"{path}, line {more[0]}: {len(more[1])} fields, and the header has {len(columns)}; quote its commas"
        )
    return columns, [(line, fields) for line, fields in rows[1:] if any(fields)]


def _not_read(columns: Sequence[str], words: Counter[str], path: Path) -> list[Finding]:
    found = []
    idle = [repr(c) for c in columns if c not in (*WANTED, *MORE, *BOXES)]
    if idle:
        does = f"what they tell counts for nothing; read are {', '.join((*WANTED, *MORE))}"
        if "'sequence'" in idle:
            does += ". Images of a query's own sequence stay in its list, and make the score too good"
        text = f"{path.name} has {count(len(idle), 'column')} that no list reads: {', '.join(idle)}"
        found.append(Finding(HURTS if "'sequence'" in idle else NOTE, text, does))
    if +words:
        told = ", ".join(f"{word} ({n:,})" for word, n in (+words).most_common(5))
        does = "these images are of nobody known, no known camera, domain or track; write another word if it is a name"
        found.append(Finding(HURTS, f"{path.name} has words that mean 'not known': {told}", does))
    return found


def _check_row(row: Row, where: str) -> None:
    row["split"] = row["split"].lower()
    if row["split"] not in ("train", "validation", "val", "test", "unlabelled"):
        raise DataError(f"{where}: split {row['split']!r}; there are train, validation (or val, test), unlabelled")
    for flag in ("is_query", "is_gallery"):
        row[flag] = row[flag].lower()
        if row[flag] not in TRUE | FALSE:
            raise DataError(f"{where}: {flag} is {row[flag]!r}; wanted true, false or nothing")
    if row["split"] == "train" and not row["label"]:
        raise DataError(f"{where}: a train row without a label; give one, or call the split 'unlabelled'")
    if any(row.get(column) for column in BOXES):
        raise DataError(
            f"{where}: a box in columns {', '.join(BOXES)}, and pictures are taken whole. Write the crops as files and "
            "name them under 'path'; or delete these columns"
        )
    path = PurePosixPath(row["path"].replace("\\", "/"))
    if not row["path"] or UNFIT.search(row["path"]) or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where}: path {row['path']!r}; wanted a path inside the folder of the table")
    row["camid"] = row["camid"].removesuffix(".0")
