"""Tracks of a gallery held against its identities: a track is of one person, or its number begins anew somewhere."""

from __future__ import annotations

import numpy as np

from models.data.doctor.finding import HURTS, Finding
from models.data.split import UNKNOWN, Benchmark, Split

HINT = "where track numbers begin anew for each person or camera, write these in front of them"


def mixed_tracks(gallery: Split) -> list[tuple[str, str]]:
    """Of each track that shows several known identities two images, one of either."""
    if gallery.tracks is None:
        return []
    first: dict[int, int] = {}
    mixed: dict[int, tuple[str, str]] = {}
    for row in np.flatnonzero((gallery.tracks != UNKNOWN) & (gallery.pids != UNKNOWN)).tolist():
        track = int(gallery.tracks[row])
        other = first.setdefault(track, row)
        if gallery.pids[other] != gallery.pids[row]:
            mixed.setdefault(track, (gallery.names[other], gallery.names[row]))
    return list(mixed.values())


def find_mixed_tracks(benchmark: Benchmark) -> list[Finding]:
    """A finding where tracks of the gallery show several people."""
    mixed = mixed_tracks(benchmark.gallery)
    if not mixed:
        return []
    text = f"{len(mixed):,} of {_count(benchmark.gallery):,} gallery tracks show several identities"
    does = f"ensemble.tracks=mean, which finds a track as one, is refused; {HINT}"
    return [Finding(HURTS, text, does, tuple(f"{a} and {b}" for a, b in mixed[:3]))]


def _count(gallery: Split) -> int:
    return len({*([] if gallery.tracks is None else gallery.tracks.tolist())} - {UNKNOWN})
