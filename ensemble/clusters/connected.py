"""Connected parts of the pairs within a threshold (single linkage), where known identities never join."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ensemble.clusters.options import check_threshold
from ensemble.clusters.pair_graph import Labels, PairGraph, renumbered, start_groups


@dataclass(frozen=True)
class Connected:
    """Images joined by a chain of pairs within the threshold.

    With known identities, pairs are taken nearest first, ties by the lower images, and a pair that would join two known
    identities is passed over. So an unknown image goes to the identity that it reaches by the shortest steps.

    Attributes:
        threshold: largest distance of a pair, 0 to below 1.
    """

    threshold: float = 0.5

    def __post_init__(self) -> None:
        check_threshold(self.threshold)

    def labels(self, graph: PairGraph, known: ArrayLike | None = None) -> Labels:
        """See `Method`."""
        near = graph.within(self.threshold)
        groups, anchored = start_groups(graph.n, known)
        if not anchored.any():
            ones = np.ones(near.first.size, bool)
            return renumbered(
                connected_components(coo_matrix((ones, (near.first, near.second)), (graph.n, graph.n)), directed=False)[
                    1
                ]
            )
        root, held = list(range(anchored.size)), anchored.tolist()

        def top(a: int) -> int:
            while root[a] != a:
                root[a] = a = root[root[a]]
            return a

        ascending = np.argsort(near.dist, kind="stable")  # the graph's pairs ascend, so ties do
        ends = groups[near.first[ascending]].tolist(), groups[near.second[ascending]].tolist()
        for one, other in zip(*ends, strict=True):
            a, b = top(one), top(other)
            if a != b and not (held[a] and held[b]):
                root[b], held[a] = a, held[a] or held[b]
        return renumbered(np.array([top(group) for group in range(anchored.size)], np.int64)[groups])
