"""Given pairs to compare, as Kaggle asks for them: `pairs.csv` in a data set, `row_id,query,gallery`."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path

from configs.errors import DataError

PAIRS = "pairs.csv"
HEADER = ["row_id", "query", "gallery"]


def read_pairs(root: Path) -> tuple[tuple[str, str, str], ...]:
    """Its rows.

    Raises:
        DataError: it is not there, or is not so.
    """
    path = root / PAIRS
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise DataError(f"{path}: cannot be read ({e}); pairs_csv wants columns {','.join(HEADER)} there") from e
    if not rows or rows[0] != HEADER:
        raise DataError(f"{path}: begins with {rows[:1]}; wanted the columns {','.join(HEADER)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3:
            raise DataError(f"{path}, line {number}: {len(row)} fields; wanted {','.join(HEADER)}")
    return tuple((row[0], row[1], row[2]) for row in rows[1:])


def check_pairs(root: Path, query: Collection[str], gallery: Collection[str]) -> None:
    """Every pair is of images that the data set has.

    Raises:
        DataError: it is not; or as `read_pairs`.
    """
    there = set(query), set(gallery)
    for row, q, g in read_pairs(root):
        if q not in there[0] or g not in there[1]:
            side, name = ("query", q) if q not in there[0] else ("gallery", g)
            raise DataError(f"{root / PAIRS}, row {row!r}: {name!r} is not in the {side} list of the data set")
