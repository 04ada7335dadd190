"""Batches of P identities x K images: a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """The sampling of batches.

    Attributes:
        labels: (N,) from 0, contiguous.
        identities, images: P and K of a batch.
        doubled: labels whose images come twice in an epoch.
    """

    labels: NDArray[np.int64]
    identities: int
    images: int
    seed: int
    doubled: Collection[int] = ()

    @property
    def batch(self) -> int:
        """Images per batch."""
        return self.identities * self.images

    def rows(self, epoch: int) -> NDArray[np.int64]:
        """The batches of an epoch: (batches, P * K) rows of `labels`."""
        return pk_batches(self.labels, self.identities, self.images, seed=self.seed, epoch=epoch, doubled=self.doubled)


def pk_batches(
    labels: NDArray[np.int64],
    identities: int,
    images: int,
    *,
    seed: int,
    epoch: int,
    doubled: Collection[int] = (),
) -> NDArray[np.int64]:
    """The batches of one epoch (sampling of Hermans et al. 2017, as in Luo et al. 2019).

    The images of every identity are shuffled and divided into groups of K.
    The last group is filled with other images of the identity. An image is twice in a group only if there are fewer
    than K.
    A batch has one group from each of P identities: those with the most groups left, ties at random.
    So a long-tailed set is used evenly. Groups that cannot fill a batch are not used in this epoch.

    Args:
        labels: (N,) from 0, contiguous.
        identities, images: P and K.
        doubled: labels whose images all come twice in an epoch.

    Returns:
        (batches, P * K) rows of `labels`, the images of an identity side by side.

    Raises:
        ConfigError: P is larger than the number of identities.
    """
    classes = np.unique(labels)
    check_identities(identities, len(classes))
    rng = np.random.default_rng([seed, epoch, 0])
    by_class = np.split(np.argsort(labels, kind="stable"), np.searchsorted(np.sort(labels), classes[1:]))
    twice = np.isin(classes, list(doubled))
    hands = [_deal(rows, images, rng, 2 if t else 1) for rows, t in zip(by_class, twice, strict=True)]
    left = np.array([len(h) for h in hands])
    batches = []
    while np.count_nonzero(left) >= identities:
        most = np.where(left > 0, left + rng.random(len(left)), 0)
        chosen = rng.permutation(np.sort(np.argpartition(-most, identities - 1)[:identities]))
        left[chosen] -= 1
        batches.append(np.concatenate([hands[c][left[c]] for c in chosen]))
    return np.stack(batches)


def check_identities(identities: int, there: int) -> None:
    """Raise ConfigError if a batch needs more identities than there are."""
    if identities > there:
        raise ConfigError(
            f"identities_per_batch {identities} is more than the {there} training identities; "
            f"--set recipe.identities_per_batch={there} or less"
        )


def _deal(rows: NDArray[np.intp], images: int, rng: np.random.Generator, times: int) -> NDArray[np.intp]:
    """(groups, K): every row `times` times. The last group is filled with the first rows again."""
    first = dealt = rng.permutation(rows)
    for _ in range(times - 1):
        dealt = np.concatenate((dealt, _others_first(rng.permutation(rows), dealt, images)))
    missing = -len(dealt) % images
    if missing:
        dealt = np.concatenate((dealt, np.resize(_others_first(first, dealt, images), missing)))
    return dealt.reshape(-1, images)


def _others_first(rows: NDArray[np.intp], dealt: NDArray[np.intp], images: int) -> NDArray[np.intp]:
    """The rows in their order, with those that are already in the unfinished group at the end."""
    held = np.isin(rows, dealt[len(dealt) // images * images :])
    return np.concatenate((rows[~held], rows[held]))
