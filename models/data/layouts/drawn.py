"""Drawn people: Market-1501's folders, and a folder of unlabelled images."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from configs.errors import DataError
from models.data.images import list_images
from models.data.layouts.lists import read_text, whole_number
from models.data.layouts.market1501 import read_market1501
from models.data.split import UNKNOWN, Benchmark, make_split


def read_drawn(root: Path) -> Benchmark:
    """A folder from `python -m models.data.drawn`. The identities of unlabelled images are used for scoring only."""
    truth, images = root / "unlabelled_ids.csv", list_images(root / "unlabelled")
    pids: dict[str, int] = {}
    if truth.is_file():
        wants = "it must have the columns name,pid"
        try:
            rows = list(csv.DictReader(io.StringIO(read_text(truth, wants), newline="")))
            pids = {row["name"]: whole_number(row["pid"] or "", "the pid", str(truth)) for row in rows}
        except (csv.Error, KeyError) as e:
            raise DataError(f"{truth}: cannot be read ({e}); {wants}") from e
    unlabelled = make_split([(path.name, path, pids.get(path.name, UNKNOWN), UNKNOWN) for path in images])
    return replace(read_market1501(root), name="drawn", unlabelled=unlabelled)
