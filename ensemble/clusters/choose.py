"""A threshold chosen on labelled images, cross-fitted over identities.

The identities are split into two halves. The threshold that is best for one half is scored on the other, and the
reverse: that is the honest score. The looked-at score has the threshold that is best for all identities, on the same
halves. Clusters are always made of all images; only the images that are scored differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.clusters.pair_graph import Labels
from ensemble.tune.cross_fitting import split_persons

GRID = tuple(float(x) for x in np.round(np.arange(0.025, 1, 0.025), 3))
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """A chosen threshold.

    Attributes:
        threshold: best for all identities.
        looked_at: mean score of the halves with that threshold.
        honest: mean score of the halves, each with the other half's threshold.
        halves: thresholds that are best for the first half and for the second.
        curve: threshold -> score of all identities.
    """

    threshold: float
    looked_at: float
    honest: float
    halves: tuple[float, float]
    curve: dict[float, float]


def choose_threshold(
    clusters: Callable[[float], Labels],
    score: Callable[[Labels, Mask], float],
    pids: NDArray[np.int64],
    counted: Mask,
    seed: int = 0,
    grid: tuple[float, ...] = GRID,
) -> Choice:
    """Try every threshold of the grid.

    Args:
        clusters: threshold -> (N,) clusters.
        score: clusters, and (N,) which images to score -> a figure; NaN counts as the worst.
        pids: (N,) identities.
        counted: (N,) images to score, of known identity.
        seed: of the halves.

    Raises:
        DataError: too few identities.
    """
    parts = split_persons(pids, counted, seed)
    found = np.array([[score(labels, part) for part in (*parts, counted)] for labels in map(clusters, grid)])
    one, other, whole = (_best(column) for column in found.T)
    return Choice(
        grid[whole],
        float(found[whole, :2].mean()),
        float((found[other, 0] + found[one, 1]) / 2),
        (grid[one], grid[other]),
        dict(zip(grid, found[:, 2].tolist(), strict=True)),
    )


def _best(scores: NDArray[np.float64]) -> int:
    """The place of the best score; of equal ones, the middle."""
    told = np.where(np.isnan(scores), -np.inf, scores)
    equal = np.flatnonzero(told == told.max())
    return int(equal[len(equal) // 2])
