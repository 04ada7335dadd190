"""Confidence intervals of scores and score differences: the paired bootstrap over queries.

Q queries are drawn with replacement, and the mean is computed for each draw. Intervals are percentiles (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
Two submissions are compared on the same draws, so queries that are hard for both do not widen the interval (Koehn,
EMNLP 2004, section 4).
Queries of one person are correlated. With `groups`, whole persons are drawn: the intervals are wider and safer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 5000
CELLS = 4_000_000  # per block of draws


@dataclass(frozen=True)
class Interval:
    """A mean, and the bounds that contain a share `level` of the draws."""

    mean: float
    low: float
    high: float
    level: float

    @property
    def beyond_zero(self) -> bool:
        """Whether zero is outside the bounds: a difference is then significant."""
        return self.low > 0 or self.high < 0


def interval(
    values: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The confidence interval of a mean over queries.

    Args:
        values: (Q,) one number per query. NaN marks a skipped query; it is left out.
        groups: (Q,) queries of one group, such as an identity, are drawn together. None: each query separately.
        level: share of the draws inside the interval, in (0, 1).
        draws: number of draws.
        seed: of the draws.

    Raises:
        ValueError: no values, or arguments out of range.
    """
    numbers = np.asarray(values, np.float64).ravel()
    kept = ~np.isnan(numbers)
    if not kept.any():
        raise ValueError("every query is NaN: want at least one number")
    if groups is not None and np.size(groups) != numbers.size:
        raise ValueError(f"{np.size(groups)} groups for {numbers.size} queries: want one per query")
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
    """The confidence interval of mean(ours - theirs) over the same queries.

    A query that is NaN in either is left out of both. Other arguments as in `interval`.

    Raises:
        ValueError: as in `interval`, or different numbers of queries.
    """
    a, b = (np.asarray(x, np.float64).ravel() for x in (ours, theirs))
    if a.shape != b.shape:
        raise ValueError(f"{a.size} and {b.size} queries: a paired comparison needs the same queries")
    return interval(a - b, groups=groups, level=level, draws=draws, seed=seed)


def _grouped(
    values: NDArray[np.float64], groups: NDArray | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Sum and size of each unit that is drawn; no sizes if each unit is one query."""
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
