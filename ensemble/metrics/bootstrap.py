"""How far a score or a difference of two could be by the luck of the queries: the paired bootstrap over queries.

Queries are drawn again with replacement, as many as there are, and the mean is taken each time (Efron & Tibshirani,
An Introduction to the Bootstrap, 1993, chapter 13: percentile intervals). Two submissions are compared on the same
draws, so what makes a query hard for both does not widen the difference (Koehn, EMNLP 2004, section 4). Queries of one
person resemble each other: with `groups` whole persons are drawn, which is the more careful answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 5000
CELLS = 4_000_000  # of a block of draws


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds that `level` of the draws lie within. beyond_zero: zero lies outside them."""

    mean: float
    low: float
    high: float
    level: float

    @property
    def beyond_zero(self) -> bool:
        """Whether chance alone is an unlikely cause of a difference."""
        return self.low > 0 or self.high < 0


def interval(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The interval of a mean over queries.

    Args:
        values: (Q,) one number a query; NaN where it was skipped, and left out.
        groups: (Q,) whose queries are drawn together, such as identities; None draws queries one by one.
        level: share of the draws that the interval holds, in (0, 1).
        seed: of the draws.

    Raises:
        ValueError: nothing to draw from, or settings out of range.
    """
    numbers = np.asarray(values, np.float64).ravel()
    kept = ~np.isnan(numbers)
    if not kept.any():
        raise ValueError("no query has a number: nothing to draw from")
    if groups is not None and np.size(groups) != numbers.size:
        raise ValueError(f"{np.size(groups)} groups for {numbers.size} queries: want one each")
    if not 0 < level < 1 or draws < 1:
        raise ValueError(f"level is {level} and draws {draws}: want a share between 0 and 1, and at least 1 draw")
    sums, counts = _grouped(numbers[kept], None if groups is None else np.asarray(groups).ravel()[kept])
    means = _means(sums, counts, draws, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numbers[kept].mean()), float(low), float(high), level)


def difference(
    ours: ArrayLike,
    theirs: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The interval of mean(ours - theirs) over the same queries; one skipped in either is left out of both.

    Raises:
        ValueError: as `interval`, or the two are of different queries.
    """
    a, b = (np.asarray(x, np.float64).ravel() for x in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"{a.size} and {b.size} queries: a paired comparison wants the same ones")
    return interval(a - b, groups=groups, level=level, draws=draws, seed=seed)


def _grouped(
    values: NDArray[np.float64], groups: NDArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Sums and sizes of what is drawn as one; no sizes where each is a single query."""
    if groups is None:
        return values, None
    _, which = np.unique(groups, return_inverse=True)
    return np.bincount(which, values).astype(np.float64), np.bincount(which).astype(np.float64)


def _means(
    sums: NDArray[np.float64], counts: NDArray[np.float64] | None, draws: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(draws,) means of resampled units."""
    step = max(1, CELLS // sums.size)
    means = []
    for start in range(0, draws, step):
        drawn = rng.integers(0, sums.size, (min(step, draws - start), sums.size), dtype=np.int32)
        total = sums[drawn].sum(axis=1)
        means.append(total / (sums.size if counts is None else counts[drawn].sum(axis=1)))
    return np.concatenate(means)
