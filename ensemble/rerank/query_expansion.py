"""Query expansion and database augmentation: features are averaged with those of their nearest images.

Average query expansion: Chum, Philbin, Sivic, Isard & Zisserman, ICCV 2007.
alpha-QE, neighbours weighted by cos^alpha: Radenovic, Tolias & Chum, TPAMI 2019.
Database-side augmentation: Turcot & Lowe, ICCV workshops 2009; Arandjelovic & Zisserman, CVPR 2012.

An image's own weight is 1. For alpha > 0, a negative cosine has weight 0.
All members share one list of neighbours, by summed similarity. Each member is averaged and normalised separately.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.parallel import over_rows
from ensemble.neighbours.knn import check_lists, nearest, nearest_gallery
from ensemble.neighbours.similarity import MemberFeatures, SimilaritySource, as_source

Feats = NDArray[np.float32]


def queries(
    feats: NDArray | Sequence[NDArray],
    n_query: int,
    k: int,
    *,
    alpha: float = 0.0,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> list[Feats]:
    """Average each query with its k nearest gallery images. Returns (Q, D_m) unit rows per member.

    Args:
        feats, weights, device, n_jobs: as in `ensemble.neighbours.nearest`.
        k: gallery images to average with, at most G.
        alpha: a neighbour has weight cos^alpha, where cos is the summed similarity over W. 0: plain average.

    Raises:
        ValueError: k or alpha out of range, bad features, or a sum of features is zero.
    """
    source = as_source(feats, weights, None, n_jobs)
    check_lists(n_query, source.n, None)
    _check(k, alpha)
    order, dist = nearest_gallery(source, n_query, min(k, source.n - n_query), device=device, n_jobs=n_jobs)
    return _averaged(source, order + np.int32(n_query), _weights(dist, source.total, alpha), n_jobs)


def database(
    feats: NDArray | Sequence[NDArray],
    k: int,
    *,
    alpha: float = 0.0,
    weights: Sequence[float] | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> list[Feats]:
    """Average every image with its k nearest other images. Returns (N, D_m) unit rows per member.

    Neighbours come from the original features. Arguments and errors as in `queries`.
    """
    source = as_source(feats, weights, None, n_jobs)
    _check(k, alpha)
    k = min(k, source.n - 1)
    found = nearest(source, k + 1, device=device, n_jobs=n_jobs)
    others = found.order != np.arange(source.n)[:, None]
    others[others.all(axis=1), k] = False
    order, dist = found.order[others].reshape(-1, k), found.dist[others].reshape(-1, k)
    return _averaged(source, order, _weights(dist, source.total, alpha), n_jobs)


def _check(k: int, alpha: float) -> None:
    if k < 1:
        raise ValueError(f"k is {k}: want at least 1")
    if not (np.isfinite(alpha) and alpha >= 0):
        raise ValueError(f"alpha is {alpha}: want a finite number >= 0")


def _weights(dist: Feats, total: float, alpha: float) -> Feats:
    """The mean cosine to the power of alpha; 0 for a negative cosine."""
    if alpha == 0:
        return np.ones_like(dist)
    return np.maximum(1 - dist / np.float32(total), 0) ** np.float32(alpha)


def _averaged(source: SimilaritySource, order: NDArray[np.int32], weights: Feats, n_jobs: int) -> list[Feats]:
    """Rows 0.. of each member plus the weighted rows of `order` (R, k), scaled to length 1."""
    if not isinstance(source, MemberFeatures):
        raise ValueError("query expansion averages features: give features, not distance matrices")
    return [np.concatenate(over_rows(_sum(feats, order, weights), len(order), n_jobs)) for feats in source.members]


def _sum(feats: Feats, order: NDArray[np.int32], weights: Feats) -> Callable[[slice], Feats]:
    def work(rows: slice) -> Feats:
        out = feats[rows].astype(np.float64)
        for p in range(order.shape[1]):
            out += weights[rows, p, None] * feats[order[rows, p]]
        length = np.linalg.norm(out, axis=1, keepdims=True)
        if not (length > 0).all():
            raise ValueError(f"the sum of image {rows.start + int(np.argmin(length))} and its neighbours is zero")
        return (out / length).astype(np.float32)

    return work
