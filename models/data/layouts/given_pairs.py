"""Given pairs, as Kaggle asks for them: a row each in `pairs.csv` or `test.csv`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from configs.errors import DataError
from models.data.layouts.lists import read_text

PAIRS = "pairs.csv"
OTHER = "test.csv"
HEADER = ["row_id", "query", "gallery"]
HEADERS = (HEADER, ["row_id", "query_image", "gallery_image"])


def pairs_file(root: Path) -> Path:
    """`pairs.csv`, or `test.csv` if there is no other and it begins as one."""
    try:
        if not (root / PAIRS).exists() and (root / OTHER).is_file():
            with open(root / OTHER, encoding="utf-8-sig") as file:
                if file.readline().strip().split(",") in HEADERS:
                    return root / OTHER
    except (OSError, UnicodeDecodeError):
        pass
    return root / PAIRS


def read_pairs(root: Path) -> tuple[tuple[str, str, str], ...]:
    """Its rows.

    Raises:
        DataError: it is not there, or is not so.
    """
    path = pairs_file(root)
    try:
        text = read_text(path, f"pairs_csv wants columns {','.join(HEADER)} there")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as e:
        raise DataError(f"{path}: cannot be read ({e}); pairs_csv wants columns {','.join(HEADER)} there") from e
    if not rows or rows[0] not in HEADERS:
        raise DataError(f"{path}: begins with {rows[:1]}; wanted the columns {','.join(HEADER)}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3:
            raise DataError(f"{path}, line {number}: {len(row)} fields; wanted {','.join(HEADER)}")
    return tuple((row[0], row[1], row[2]) for row in rows[1:])
