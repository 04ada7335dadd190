"""Findings: images of a list without an identity or camera, where other images have one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.data.doctor.finding import HURTS, Finding, count, shown
from models.data.split import UNKNOWN, Benchmark, Split

NAMELESS = {
    "query": "it gets a ranking and counts in no score",
    "gallery": "it is never a correct match, nor junk",
}


def find_gaps(benchmark: Benchmark) -> list[Finding]:
    """A finding per list where some images lack an identity or a camera."""
    found: list[Finding] = []
    for part, split in benchmark.lists().items():
        if part in NAMELESS and benchmark.scorable:
            found += _lacking(split, split.pids, part, "identity", NAMELESS[part])
        if part != "unlabelled":
            found += _lacking(split, split.camids, part, "camera", "its camera counts as different from all others")
    return found


def _lacking(split: Split, values: NDArray[np.int64], part: str, what: str, does: str) -> Iterator[Finding]:
    rows = np.flatnonzero(values == UNKNOWN)
    if 0 < len(rows) < len(split):
        text = f"{count(len(rows), 'image')} of {len(split):,} in {part} without {what}"
        yield Finding(HURTS, text, does, shown(split.names[i] for i in rows))
