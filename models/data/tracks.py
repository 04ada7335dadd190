"""Findings: gallery tracks with several identities. A track should show one identity."""

from __future__ import annotations

import numpy as np

from models.data.doctor.finding import HURTS, Finding
from models.data.split import UNKNOWN, Benchmark, Split

HINT = "if track numbers restart for each person or camera, put the person or camera in front of them"


def mixed_tracks(gallery: Split) -> list[tuple[str, str]]:
    """For each track with several known identities, two images of different identities."""
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
    """A finding if gallery tracks show several identities."""
    mixed = mixed_tracks(benchmark.gallery)
    if not mixed:
        return []
    text = f"{len(mixed):,} of {_count(benchmark.gallery):,} gallery tracks show several identities"
    does = f"ensemble.tracks=mean, which ranks whole tracks, is not possible; {HINT}"
    return [Finding(HURTS, text, does, tuple(f"{a} and {b}" for a, b in mixed[:3]))]


def _count(gallery: Split) -> int:
    return len({*([] if gallery.tracks is None else gallery.tracks.tolist())} - {UNKNOWN})
