"""A part's lists of units as lists of the gallery's images: tracks written out, the images of other parts after them.

For the search of settings (`fast_scorer.py`). The other images stand in the order of equal weights whatever is
tried, where `ensemble/fusion/partitions.py` goes by the weights of the part: they are but the ends of lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.fusion import partitions
from ensemble.fusion.partitions import Part
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import Feats

Order = NDArray[np.int32]


@dataclass(frozen=True)
class Unroll:
    """images: gallery rows, unit by unit. start, size: (U,) of each unit among them. tail: (Q, T) the images after."""

    images: Order
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    tail: Order

    def __call__(self, order: Order) -> Order:
        """(Q, L) gallery rows of lists (Q, K) of units; of lists that are not of all units, the first K images."""
        if (self.size == 1).all():
            own = self.images[order]
        else:
            length = len(self.images) if order.shape[1] == len(self.size) else order.shape[1]
            own = np.stack([self._row(row)[:length] for row in order])
        return np.concatenate([own, self.tail], axis=1)

    def _row(self, units: Order) -> Order:
        size = self.size[units]
        begins = np.cumsum(size) - size
        out: Order = self.images[np.repeat(self.start[units] - begins, size) + np.arange(size.sum())]
        return out


def unroll(feats: Sequence[Feats], part: Part, n_query: int, length: int) -> Unroll:
    """How lists of a part's units become lists of `length` images, as far as there are so many.

    feats, n_query: of all images, as `parts.blocks` takes them.
    """
    size = np.array([len(unit) for unit in part.units], np.int64)
    images = part.gallery.astype(np.int32)
    others = part.others(len(feats[0]) - n_query)
    wanted = min(len(others), max(0, length - len(images)))
    tail: Order = np.empty((len(part.query), 0), np.int32)
    if wanted:
        equal = [1.0] * len(feats)
        order, _ = distance_blocks.ranked(partitions.plain(equal, feats, part, others, n_query, "cpu"), wanted)
        tail = others[order].astype(np.int32)
    return Unroll(images, np.cumsum(size) - size, size, tail)
