"""The long tail cut, and labels made contiguous."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from models.data.split import Split


@dataclass(frozen=True)
class Training:
    """Images to train on: the split, labels (N,) in 0..K-1, and the pid that each label stands for, ascending."""

    split: Split
    labels: NDArray[np.int64]
    pids: tuple[int, ...]


def balance(split: Split, min_images: int = 2) -> Training:
    """Leave out identities with fewer than `min_images`, then number the rest in the order of their pids.

    In that order, so that no class is dead; sorted, so that it is the same in every run.

    Raises:
        DataError: fewer than two identities remain.
    """
    pids, counts = np.unique(split.pids, return_counts=True)
    kept = pids[(counts >= min_images) & (pids >= 0)]
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} of {len(pids)} training identities have {min_images} images or more; at least 2 are needed. "
            "Add images, or lower recipe.min_images"
        )
    rows = np.flatnonzero(np.isin(split.pids, kept))
    return Training(split.take(rows), np.searchsorted(kept, split.pids[rows]), tuple(int(p) for p in kept))
