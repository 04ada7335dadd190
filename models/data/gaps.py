"""What some images of a list lack though others have it: identities and cameras; and what that does to a score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from models.data.doctor.finding import HURTS, Finding, count, shown
from models.data.split import UNKNOWN, Benchmark, Split

NAMELESS = {
    "query": "it is answered, and no score counts it",
    "gallery": "it is never a right answer, nor junk",
}


def find_gaps(benchmark: Benchmark) -> list[Finding]:
    """A finding a list where some have an identity, or a camera, and others none."""
    found: list[Finding] = []
    for part, split in benchmark.lists().items():
        if part in NAMELESS and benchmark.scorable:
            found += _lacking(split, split.pids, part, "identity", NAMELESS[part])
        if part != "unlabelled":
            found += _lacking(split, split.camids, part, "camera", "its camera is unknown, and shared by no image")
    return found


def _lacking(split: Split, values: NDArray[np.int64], part: str, what: str, does: str) -> Iterator[Finding]:
    rows = np.flatnonzero(values == UNKNOWN)
    if 0 < len(rows) < len(split):
        text = f"{count(len(rows), 'image')} of {len(split):,} in {part} without {what}"
        yield Finding(HURTS, text, does, shown(split.names[i] for i in rows))
