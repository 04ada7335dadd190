"""Folds: training identities in K parts, so that each image can be seen by a network that was not trained on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError


def split_folds(pids: NDArray[np.int64], alike: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """(N,) the fold of each image, 0 to count - 1: a function of its arguments alone.

    An identity is in one fold as a whole. Identities with near-duplicates of each other are in the same fold.
    In random order each such group goes to the fold that has the fewest images so far.

    Args:
        pids: (N,) identities.
        alike: (P, 2) rows of near-duplicates of different identities.
        seed: of the order.

    Raises:
        DataError: a fold would have fewer than two identities.
    """
    persons, which, sizes = np.unique(pids, return_inverse=True, return_counts=True)
    group = join_groups(len(persons), which[alike])
    weight = np.bincount(group, sizes, minlength=len(persons))
    fold_of, filled = np.zeros(len(persons), np.int64), np.zeros(count)
    for one in np.random.default_rng([seed, 0, 7]).permutation(np.unique(group)):
        fold_of[group == one] = filled.argmin()
        filled[filled.argmin()] += weight[one]
    least = np.bincount(fold_of, minlength=count).min()
    if least < 2:
        joined = len(persons) - len(np.unique(group))
        because = f"; near-duplicates keep {joined} of them with others" if joined else ""
        raise DataError(
            f"--folds {count}: {len(persons)} training identities give a fold of {least}{because}; at least 2 are "
            "needed in each. Take fewer folds"
        )
    folds: NDArray[np.int64] = fold_of[which]
    return folds


def join_groups(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(count,) the smallest number that each of 0 to count - 1 is connected with by these pairs (P, 2)."""
    least = np.arange(count)
    while True:
        before = least.copy()
        for side in (0, 1):
            np.minimum.at(least, pairs[:, side], before[pairs[:, 1 - side]])
        least = np.minimum(least, least[least])
        if (least == before).all():
            return least
