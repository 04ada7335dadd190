"""P identities x K images a batch: a pure function of (seed, epoch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError


def pk_batches(labels: NDArray[np.int64], identities: int, images: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """The batches of one epoch (sampling of Hermans et al. 2017, as in Luo et al. 2019).

    The images of every identity are shuffled and dealt into hands of K; the last hand is filled by repeating some of
    its own identity. A batch takes one hand each of P identities, chosen at random among those with the most hands
    left, so that a long-tailed set is used up evenly; hands that cannot fill a batch wait for another epoch.

    Args:
        labels: (N,) in 0..K-1.
        identities, images: P and K.

    Returns:
        (batches, P * K) rows of `labels`, an identity's images side by side.

    Raises:
        ConfigError: P is larger than the number of identities.
    """
    classes = np.unique(labels)
    if identities > len(classes):
        raise ConfigError(
            f"identities_per_batch {identities} is more than the {len(classes)} training identities; "
            f"--set recipe.identities_per_batch={len(classes)} or less"
        )
    rng = np.random.default_rng([seed, epoch, 0])
    hands = {int(c): _deal(np.flatnonzero(labels == c), images, rng) for c in classes}
    batches = []
    while sum(map(bool, hands.values())) >= identities:
        there = [c for c, left in hands.items() if left]
        most = np.array([len(hands[c]) for c in there]) + rng.random(len(there))
        chosen = rng.permutation(np.array(there)[np.argsort(-most)[:identities]])
        batches.append(np.concatenate([hands[int(c)].pop() for c in chosen]))
    return np.stack(batches)


def _deal(rows: NDArray[np.intp], images: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    rows = rng.permutation(rows)
    short = -len(rows) % images
    if short:
        rows = np.concatenate((rows, rng.choice(rows, short, replace=short > len(rows))))
    return list(rows.reshape(-1, images))
