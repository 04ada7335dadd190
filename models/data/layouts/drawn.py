"""The drawn people: Market-1501's folders, and one of images without identities."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from models.data.images import list_images
from models.data.layouts.market1501 import read_market1501
from models.data.split import UNKNOWN, Benchmark, make_split


def read_drawn(root: Path) -> Benchmark:
    """What `python -m models.data.drawn` wrote; its table of whom the unlabelled images show is for scoring alone."""
    truth, images = root / "unlabelled_ids.csv", list_images(root / "unlabelled")
    pids: dict[str, int] = {}
    if truth.is_file():
        with open(truth, encoding="utf-8", newline="") as file:
            pids = {row["name"]: int(row["pid"]) for row in csv.DictReader(file)}
    unlabelled = make_split([(path.name, path, pids.get(path.name, UNKNOWN), UNKNOWN) for path in images])
    return replace(read_market1501(root), name="drawn", unlabelled=unlabelled)
