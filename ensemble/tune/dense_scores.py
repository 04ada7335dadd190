"""Distances of every query to every gallery image under any mix, from kept products: for galleries small enough.

Each member's similarities are multiplied out once; another mix is then a weighted sum of them, and the overlaps of the
neighbours' sets taken off, as `ensemble/rerank/k_reciprocal_encoding.py` does it, and as
`ensemble/fusion/partitions.py` does it of a part: no list is cut and nothing is sorted, since scores count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.fusion.partitions import Part, plain
from ensemble.fusion.strategy import Mix
from ensemble.kernels import ranked_lists
from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.distance_blocks import distances
from ensemble.neighbours.distances import Feats
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import Features

Near = Callable[[tuple[float, ...]], Neighbours]
Found = Callable[[tuple[float, ...], Mix], "Overlaps"]
Overlap = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
Overlaps = list[tuple[slice, Overlap]]
Floats = NDArray[np.float32]


class Pairs:
    """dist (M, Q, U): cosine distances of the queries to what is searched, by each member.

    part: what that is of the gallery; None for all of it, image by image. far (M, Q, O): distances to the other images.
    """

    def __init__(
        self, source: Features, n_query: int, part: Part | None = None, feats: Sequence[Feats] = (), rows: int = 0
    ) -> None:
        """source: of what is searched. feats, rows: of all images, and how many are queries, where there is a part."""
        alone = [source.weighted(unit.tolist()) for unit in np.eye(len(source.members))]
        self.dist = np.stack([distances(one, slice(0, n_query), n_query, -1) for one in alone])
        self.part = part
        if part:
            self.others = part.others(len(feats[0]) - rows)
            found = [np.concatenate([d for _, d in plain([1.0], [a], part, self.others, rows, "cpu")]) for a in feats]
            self.far = np.stack(found)

    def whole(self, mix: Mix, near: Near, overlaps: Found) -> Floats:
        """(Q, G) final distances of a mix to the whole gallery; arguments as `mixed`'s."""
        own = self.mixed(mix, near, overlaps)
        if self.part is None:
            return own
        out = np.empty((len(own), len(self.part.gallery) + len(self.others)), np.float32)
        out[:, self.part.gallery] = own[:, np.repeat(np.arange(own.shape[1]), [len(unit) for unit in self.part.units])]
        out[:, self.others] = _summed(self.far, mix.weights) + own.max(axis=1, keepdims=True)
        return out

    def mixed(self, mix: Mix, near: Near, overlaps: Found) -> Floats:
        """(Q, U) final distances of a mix to what is searched.

        near: the neighbours under weights, for their row's largest distance. overlaps: of the sets under weights.
        """
        if mix.rerank == "none":
            return _summed(self.dist, mix.weights)
        if not mix.each:
            dist = _summed(self.dist, mix.weights)
            _rerank(dist, near(mix.weights), overlaps(mix.weights, mix), mix)
            return dist
        out = np.zeros_like(self.dist[0])
        for m, weight in enumerate(mix.weights):
            if weight:
                unit = tuple(float(i == m) for i in range(len(mix.weights)))
                dist = self.dist[m].copy()
                _rerank(dist, near(unit), overlaps(unit, mix), mix)
                dist *= np.float32(weight)
                out += dist
        return out


def _summed(dist: Floats, weights: Sequence[float]) -> Floats:
    """(Q, U) of (M, Q, U)."""
    out = np.zeros_like(dist[0])

    def work(rows: slice) -> None:
        for weight, one in zip(weights, dist, strict=True):
            if weight:
                out[rows] += np.float32(weight) * one[rows]

    over_rows(work, len(out), -1, most=256)
    return out


def _rerank(dist: Floats, near: Neighbours, overlaps: Overlaps, mix: Mix) -> None:
    """Distances become (1 - lam) J + lam s, in place."""

    def work(span: slice) -> None:
        for rows, found in overlaps[span]:
            ranked_lists.mix_rows(dist[rows], near.farthest[rows], *found, mix.power, np.float32(mix.lam))

    over_rows(work, len(overlaps), -1, most=1)
