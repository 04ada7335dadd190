"""Training images: identities with few images dropped or sampled twice, labels made contiguous."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DataError
from configs.recipe import Resample
from models.data.split import Split


@dataclass(frozen=True)
class Training:
    """Images to train on.

    Attributes:
        split: the N images.
        labels: (N,) in 0..K-1.
        pids: the pid of each label, ascending.
        doubled: labels whose images come twice in an epoch, ascending.
    """

    split: Split
    labels: NDArray[np.int64]
    pids: tuple[int, ...]
    doubled: tuple[int, ...] = ()

    @property
    def counts(self) -> list[int]:
        """The number of images of each label."""
        return np.bincount(self.labels, minlength=len(self.pids)).tolist()


def balance(split: Split, min_images: int = 2, resample: Resample | None = None, seed: int = 0) -> Training:
    """Drop identities with fewer than `min_images` images, then number the rest in the order of their pids.

    Numbering comes after dropping, so every class has images.

    Args:
        split: the training images. Images of unknown identity are dropped.
        resample: which identities are doubled. Each is drawn once for the whole training.
        seed: of those draws.

    Raises:
        DataError: fewer than two identities remain.
    """
    pids, counts = np.unique(split.pids, return_counts=True)
    kept = pids[(counts >= min_images) & (pids >= 0)]
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} of {len(pids)} training identities have {min_images} images or more; at least 2 identities "
            "are needed. Add images, or lower recipe.min_images"
        )
    rows = np.flatnonzero(np.isin(split.pids, kept))
    doubled = [] if resample is None else _doubled(counts[np.isin(pids, kept)], resample, seed)
    return Training(split.take(rows), np.searchsorted(kept, split.pids[rows]), tuple(kept.tolist()), tuple(doubled))


def _doubled(counts: NDArray[np.int64], resample: Resample, seed: int) -> list[int]:
    """The doubled labels. One number is drawn per label, so a change of the bounds changes no other draw."""
    able = (counts > 1) & (counts < resample.fewer_than)
    return np.flatnonzero(able & (np.random.default_rng([seed, 0, 3]).random(len(counts)) < resample.p)).tolist()
