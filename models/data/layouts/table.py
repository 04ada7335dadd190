"""Layout `table`: your own data in a CSV file with open-metric-learning's columns.

Required columns: `label,path,split,is_query,is_gallery`.
Optional columns, numbers or text: `camid`, `domain`, `track`, `sequence`. Other columns give a note.
`image_id`: the images' names. `x_1,y_1,x_2,y_2` or `bbox` (`boxes.py`): the image is this box of the file.
Paths are relative to the folder of the CSV file, or to that in `pictures.json`: `{"folder": "/data/market1501"}`.
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
from models.data.crop import cropped
from models.data.doctor.finding import HURTS, NOTE, Finding, count, shown
from models.data.layouts.boxes import BOXES, read_box
from models.data.layouts.lists import read_text
from models.data.spelling import plain
from models.data.split import UNFIT, UNKNOWN, Benchmark, Split, make_split

TABLE, PICTURES = "df.csv", "pictures.json"
WANTED = ("label", "path", "split", "is_query", "is_gallery")
MORE = ("camid", "domain", "track", "sequence")
MISSING = {"", "nan", "none", "null", "n/a", "<na>", "unknown"}  # words for unknown values
TRUE, FALSE = {"1", "true", "yes", "1.0"}, {"", "0", "false", "no", "0.0", "nan", "none"}
Row = dict[str, str]


def read_table(root: Path) -> Benchmark:
    """Read `df.csv`. Rows of split `train` are for training; `validation` or `test` rows are query, gallery or both.

    Labels may be any text and are numbered in sorted order.
    An image's name is its `image_id`, or the file name if all are unique in the table, else the path. If a file has
    several boxes, `#` and the box follow.
    """
    rows, found = _read(root / TABLE)
    return benchmark_of("table", root, root / TABLE, rows, found, _pictures(root))


def benchmark_of(
    layout: str, root: Path, table: Path, rows: list[Row], found: list[Finding], pictures: Path
) -> Benchmark:
    """The lists of a table's rows.

    Args:
        table: the file, for messages.
        rows: columns of layout `table`, and `line`.
        pictures: the folder of the paths.
    """
    found += _spelled(rows, pictures)
    _check_labels(table, rows)
    pid_of = {"": UNKNOWN} | {label: i for i, label in enumerate(sorted({r["label"] for r in rows if r["label"]}))}
    cam_of = _numbers({r["camid"] for r in rows})
    sequence_of = _numbers({r.get("sequence", "") for r in rows})
    boxes = {r["line"]: read_box(r, f"{table}, line {r['line']}") for r in rows}
    bare = [PurePosixPath(r["path"]).name for r in rows]
    unique = len(set(bare)) == len({r["path"] for r in rows})
    several = {
        path for path, n in Counter(path for path, _ in {(r["path"], boxes[r["line"]]) for r in rows}).items() if n > 1
    }

    def name_of(row: Row) -> str:
        if "image_id" in row:
            return row["image_id"]
        name, box = PurePosixPath(row["path"]).name if unique else row["path"], boxes[row["line"]]
        return f"{name}#{','.join(map(str, box))}" if box and row["path"] in several else name

    def path_of(row: Row) -> Path:
        return cropped(pictures / row["path"], boxes[row["line"]])

    def split(wanted: list[Row]) -> Split:
        named = {name_of(r): r for r in wanted}
        if len(named) < len(wanted):
            twice = next(name for name, n in Counter(map(name_of, wanted)).items() if n > 1)
            lines = " and ".join(r["line"] for r in wanted if name_of(r) == twice)
            raise DataError(f"{table}, lines {lines}: {twice!r} is in one list more than once; delete one line")
        return _with_kinds(
            make_split([(n, path_of(r), pid_of[r["label"]], cam_of[r["camid"]]) for n, r in named.items()]),
            named,
            sequence_of,
        )

    test = [r for r in rows if r["split"] in ("validation", "test", "val")]
    return Benchmark(
        layout,
        root,
        train=split([r for r in rows if r["split"] == "train"]),
        query=split([r for r in test if r["is_query"] in TRUE]),
        gallery=split([r for r in test if r["is_gallery"] in TRUE]),
        unlabelled=split([r for r in rows if r["split"] == "unlabelled"]),
        found=tuple(found),
        labels=_texts(pid_of),
        cameras=_texts(cam_of),
    )


def _texts(number_of: dict[str, int]) -> dict[int, str]:
    """Number -> text, for texts that differ from their number."""
    return {number: text for text, number in number_of.items() if text not in ("", str(number))}


def _numbers(words: set[str]) -> dict[str, int]:
    """A number per text: its value if all are whole numbers, else its index in sorted order."""
    told = sorted(words - {""})
    if all(w.isascii() and w.isdecimal() and len(w) < 19 for w in told) and len({int(w) for w in told}) == len(told):
        return {w: int(w) for w in told} | {"": UNKNOWN}
    return {w: i for i, w in enumerate(told)} | {"": UNKNOWN}


def _spelled(rows: list[Row], pictures: Path) -> list[Finding]:
    """Correct paths that exist under another spelling, in place. Returns a finding about them."""
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
    text = f"{count(len(put), 'image file has', 'image files have')} another spelling than in the table"
    return [Finding(NOTE, text, "the spelling of the file is used", shown(put))]


def _check_labels(path: Path, rows: list[Row]) -> None:
    """Check that an image has the same label in all rows."""
    first: dict[str, Row] = {}
    for row in (r for r in rows if r["label"]):
        other = first.setdefault(f"{row['path']} {read_box(row, str(path))}", row)
        if other["label"] != row["label"]:
            raise DataError(
                f"{path}, line {row['line']}: {row['path']!r} is {row['label']!r} here and {other['label']!r} in line "
                f"{other['line']}. An image has one identity: save a crop of each, or correct the label"
            )


def _pictures(root: Path) -> Path:
    """The folder to which paths are relative."""
    path = root / PICTURES
    if not path.exists():
        return root
    try:
        named = json.loads(read_text(path, "it must name the folder of the images"))["folder"]
        folder = root / str(named)
    except (json.JSONDecodeError, RecursionError, KeyError, TypeError) as e:
        raise DataError(f'{path}: cannot be read ({e}); must be {{"folder": "PATH OF THE IMAGES"}}') from e
    if not folder.is_dir():
        raise DataError(f"{path}: {named} is not a folder. If the images were moved, write the new path there")
    return folder


def _with_kinds(split: Split, row_of: dict[str, Row], sequence_of: dict[str, int]) -> Split:
    """Add domains, tracks and sequences if the table has these columns. An image without a domain has domain ''."""
    rows = [row_of[name] for name in split.names]
    if rows and "domain" in rows[0]:
        split = replace(split, domains=tuple(r["domain"] for r in rows))
    if rows and "track" in rows[0]:
        numbers = {t: i for i, t in enumerate(sorted({r["track"] for r in rows if r["track"]}))}
        split = replace(split, tracks=np.array([numbers.get(r["track"], UNKNOWN) for r in rows], np.int64))
    if rows and "sequence" in rows[0]:
        split = replace(split, sequences=np.array([sequence_of[r["sequence"]] for r in rows], np.int64))
    return split


def _read(path: Path) -> tuple[list[Row], list[Finding]]:
    """The rows, and findings about parts of the table that are not used.

    Raises:
        DataError: the file is missing or no CSV, a column is missing, or a row is wrong.
    """
    columns, raw = read_fields(path, f"layout table needs the columns {', '.join(WANTED)}")
    missing = [c for c in WANTED if c not in columns]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r}; it has {', '.join(map(repr, columns)) or 'none'}, needed are "
            f"{', '.join(WANTED)}, separated by commas"
        )
    rows, words = [], Counter[str]()
    for line, fields in raw:
        row = {"line": str(line), "camid": ""} | dict(zip(columns, [*fields, *[""] * len(columns)], strict=False))
        take_unknown(row, words)
        _check_row(row, f"{path}, line {line}")
        rows.append(row)
    return rows, find_not_read(columns, (*WANTED, *MORE, "image_id"), words, path)


def take_unknown(row: Row, words: Counter[str]) -> None:
    """Make a label, camera, domain, track or sequence empty, in place, if its word means unknown; count the words."""
    for column in ("label", *MORE):
        if column in row and row[column].casefold() in MISSING:
            words[f"{column} {row[column]!r}"] += bool(row[column])
            row[column] = ""


def read_fields(path: Path, wants: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header of a CSV file, and the other rows with their line numbers.

    Raises:
        DataError: the file is missing or no CSV; `wants` ends the message.
    """
    text = read_text(path, wants)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    begins = 1
    try:
        for fields in reader:
            rows.append((begins, [field.strip() for field in fields]))
            begins = reader.line_num + 1
    except csv.Error as e:
        raise DataError(f"{path}, line {begins}: not valid CSV ({e}); is a quote not closed? {wants}") from e
    columns = rows[0][1] if rows else []
    twice = [column for column, n in Counter(columns).items() if n > 1]
    if twice:
        raise DataError(f"{path}: column {twice[0]!r} occurs more than once; {wants}, each once")
    more = next(((line, fields) for line, fields in rows if len(fields) > len(columns)), None)
    if more is not None:
        raise DataError(
            f"{path}, line {more[0]}: {len(more[1])} fields, the header has {len(columns)}; quote fields with commas"
        )
    return columns, [(line, fields) for line, fields in rows[1:] if any(fields)]


def find_not_read(columns: Sequence[str], used: Sequence[str], words: Counter[str], path: Path) -> list[Finding]:
    """Findings about columns that are not used, and about words that mean unknown."""
    found = []
    idle = [repr(c) for c in columns if c not in (*used, *BOXES)]
    if idle:
        does = f"ignored; used are {', '.join(used)}"
        text = f"{path.name} has {count(len(idle), 'unknown column')}: {', '.join(idle)}"
        found.append(Finding(NOTE, text, does))
    if +words:
        told = ", ".join(f"{word} ({n:,})" for word, n in (+words).most_common(5))
        does = "the value is unknown for these images; if the word is a name, write another one"
        found.append(Finding(HURTS, f"{path.name} has words that mean 'unknown': {told}", does))
    return found


def _check_row(row: Row, where: str) -> None:
    row["split"] = row["split"].lower()
    if row["split"] not in ("train", "validation", "val", "test", "unlabelled"):
        raise DataError(f"{where}: split {row['split']!r}; must be train, validation (or val, test) or unlabelled")
    for flag in ("is_query", "is_gallery"):
        row[flag] = row[flag].lower()
        if row[flag] not in TRUE | FALSE:
            raise DataError(f"{where}: {flag} is {row[flag]!r}; must be true, false or empty")
    if row["split"] == "train" and not row["label"]:
        raise DataError(f"{where}: a train row without a label; add one, or set the split to 'unlabelled'")
    if row.get("image_id", "-") == "":
        raise DataError(f"{where}: no image_id; each image needs its own, or delete the column")
    read_box(row, where)
    check_path(row["path"], where)
    row["camid"] = row["camid"].removesuffix(".0")


def check_path(text: str, where: str) -> None:
    """Raise DataError unless a table's path is below its folder."""
    path = PurePosixPath(text.replace("\\", "/"))
    if not text or UNFIT.search(text) or path.is_absolute() or ".." in path.parts:
        raise DataError(f"{where}: path {text!r}; must be inside the folder of the table")
