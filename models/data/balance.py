"""The long tail cut, labels made contiguous, and identities with few images drawn more often."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.recipe import Resample
from models.data.split import Split


@dataclass(frozen=True)
class Training:
    """Images to train on: the split, labels (N,) in 0..K-1, and the pid that each label stands for, ascending.

    doubled: the labels whose images come twice in an epoch, ascending.
    """

    split: Split
    labels: NDArray[np.int64]
    pids: tuple[int, ...]
    doubled: tuple[int, ...] = ()


def balance(split: Split, min_images: int = 2, resample: Resample | None = None, seed: int = 0) -> Training:
    """Leave out identities with fewer than `min_images`, then number the rest in the order of their pids.

    In that order, so that no class is dead; sorted, so that it is the same in every run.

    Args:
        split: the training images; those of unknown identity are left out.
        resample: which identities are doubled, each by a draw of its own, once for the whole training.
        seed: of those draws.

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
    doubled = [] if resample is None else _doubled(counts[np.isin(pids, kept)], resample, seed)
    return Training(split.take(rows), np.searchsorted(kept, split.pids[rows]), tuple(kept.tolist()), tuple(doubled))


def _doubled(counts: NDArray[np.int64], resample: Resample, seed: int) -> list[int]:
    """The labels that the draw falls on; one is drawn for each, so that other bounds change no other's luck."""
    able = (counts > 1) & (counts < resample.fewer_than)
    return np.flatnonzero(able & (np.random.default_rng([seed, 0, 3]).random(len(counts)) < resample.p)).tolist()
