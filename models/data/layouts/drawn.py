"""The drawn people: Market-1501's folders, and one of images without identities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.data.images import list_images
from models.data.layouts.market1501 import read_market1501
from models.data.split import UNKNOWN, Benchmark, make_split


def read_drawn(root: Path) -> Benchmark:
    """What `python -m models.data.drawn` wrote."""
    images = list_images(root / "unlabelled")
    unlabelled = make_split([(path.name, path, UNKNOWN, UNKNOWN) for path in images])
    return replace(read_market1501(root), name="drawn", unlabelled=unlabelled)
