"""DBSCAN (Ester et al., KDD 1996) on a sparse graph of distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from ensemble.clusters.options import check_threshold
from ensemble.clusters.pair_graph import Labels, PairGraph, renumbered


def dense_parts(matrix: csr_matrix, eps: float, least: int) -> NDArray[np.int64]:
    """DBSCAN's labels (N,), -1 for noise, of a sparse matrix of distances with a stored 0 on the diagonal."""
    from sklearn.cluster import DBSCAN  # imported here: it takes a second
    from sklearn.neighbors import sort_graph_by_row_values

    ordered = sort_graph_by_row_values(matrix, warn_when_not_sorted=False)
    labels: NDArray[np.int64] = DBSCAN(eps=eps, min_samples=least, metric="precomputed").fit_predict(ordered)
    return labels


@dataclass(frozen=True)
class Dbscan:
    """DBSCAN. Noise is in the answer too: each such image is a cluster of its own.

    Attributes:
        threshold: eps, above 0 and below 1.
        least: min_samples: images within eps, the image itself included, that make a core image.
    """

    threshold: float = 0.5
    least: int = 2

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.threshold == 0 or self.least < 2:
            raise ValueError(f"threshold {self.threshold:g}, least {self.least}: want above 0, and 2 or more")

    def labels(self, graph: PairGraph, known: ArrayLike | None = None) -> Labels:
        """See `Method`."""
        if known is not None:
            raise ValueError("dbscan takes no known identities: it could join two of them; take average or connected")
        found = dense_parts(graph.within(self.threshold).matrix(), self.threshold, self.least)
        return renumbered(np.where(found < 0, graph.n + np.arange(graph.n), found))
