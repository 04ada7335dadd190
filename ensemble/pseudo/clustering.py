"""Clustering methods: `clusters` (k-means) and `dbscan`. Others are in `nearest_label`. None makes an N x N array.

All return (N,) int64 labels. Groups are numbered from 0 by their lowest image; -1 is no group.
The distance of two images is the weighted mean of the members' cosine distances, 0 to 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from configs.errors import ConfigError
from ensemble.clusters.density import dense_parts
from ensemble.clusters.pair_graph import renumbered
from ensemble.kernels import reciprocal_sets
from ensemble.kernels.parallel import over_rows, spans
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import MemberFeatures, as_source
from ensemble.pseudo.nearest_label import Labels, first_neighbours, loop_search
from ensemble.rerank.k_reciprocal_encoding import KReciprocal, encode

Feats = NDArray | Sequence[NDArray]
MINI_BATCH_ABOVE = 50_000  # images; full k-means copies all features and reads them about 300 times
BLOCK, PASSES = 4096, 10  # of mini-batch k-means
FIRST = 3  # k-means++ chooses the first centres among FIRST times as many images as groups


def clusters(feats: Feats, groups: int = 1000, *, weights: Sequence[float] | None = None, seed: int = 0) -> Labels:
    """k-means with a given number of groups. Too few groups mix identities; too many split them.

    The features are the concatenated members, each scaled by sqrt(w_m): the squared distance is twice the cosine
    distance. Above MINI_BATCH_ABOVE images, mini-batch k-means (Sculley, WWW 2010) with random rows is used.

    Args:
        feats: one (N, D) array or a sequence of (N, D_m), unit rows.
        groups: number of groups.
        weights: one per member. None: 1 each.
        seed: for the first centres and the batches.

    Raises:
        ConfigError: fewer images than groups.
    """
    from sklearn.cluster import KMeans  # imported here: it takes a second

    source = as_source(feats, weights)
    if not isinstance(source, MemberFeatures):
        raise ValueError("clusters needs features, not distance matrices")
    if not 1 <= groups <= source.n:
        raise ConfigError(
            f"clusters: {groups} groups of {source.n} images; take 1 to {source.n} (--groups; in a "
            "build --set ensemble.pseudo.groups=...)"
        )
    if source.n <= MINI_BATCH_ABOVE:
        return renumbered(KMeans(groups, n_init=1, random_state=seed).fit_predict(_side_by_side(source, slice(None))))
    return renumbered(_mini_batches(source, groups, seed))


def _mini_batches(source: MemberFeatures, groups: int, seed: int) -> NDArray[np.int32]:
    """Mini-batch k-means. Batches are random rows, since consecutive rows have few identities."""
    from sklearn.cluster import MiniBatchKMeans

    rng, size = np.random.default_rng(seed), max(BLOCK, groups)
    means = MiniBatchKMeans(groups, n_init=1, init_size=FIRST * groups, compute_labels=False, random_state=seed)
    means.partial_fit(_side_by_side(source, np.sort(rng.permutation(source.n)[: max(size, FIRST * groups)])))
    for _ in range(PASSES):
        order = rng.permutation(source.n)
        for batch in spans(source.n, size):
            means.partial_fit(_side_by_side(source, np.sort(order[batch])))
    return np.concatenate([means.predict(_side_by_side(source, block)) for block in spans(source.n, size)])


def dbscan(
    neighbours: Neighbours,
    feats: Feats,
    eps: float = 0.6,
    *,
    least: int = 4,
    weights: Sequence[float] | None = None,
    k1: int = 30,
    k2: int = 6,
    power: int = 2,
    n_jobs: int = -1,
) -> Labels:
    """DBSCAN (Ester et al., KDD 1996) on the re-ranking's Jaccard distance, as in Ge et al. 2020 (SpCL) and later work.

    The Jaccard distance is the re-ranked distance with lambda 0. It is 1 for pairs without overlap, so the graph of
    pairs within eps < 1 is sparse.

    Args:
        neighbours: of all images, at least max(k1 + 1, k2) per image.
        feats, weights: the same as for the neighbours.
        eps: radius of a neighbourhood, above 0 and below 1.
        least: min_samples: images within eps, the image itself included, that make a core image.
        k1, k2, power: of the re-ranking.

    Raises:
        ConfigError: a parameter out of range, or no core image.
    """
    if not (0 < eps < 1 and least >= 2 and k1 >= 1 and k2 >= 1):
        raise ConfigError(
            f"dbscan: eps {eps:g}, least {least}, k1 {k1}, k2 {k2}; wanted eps above 0 and below 1, least 2 or more, "
            "and k1 and k2 1 or more"
        )
    graph = jaccard_graph(neighbours, feats, eps, weights=weights, k1=k1, k2=k2, power=power, n_jobs=n_jobs)
    labels = dense_parts(graph, eps, least)
    if (labels < 0).all():
        raise ConfigError(
            f"dbscan with eps {eps:g} labels none of {len(labels)} images: no image has {least - 1} others within eps; "
            "use a larger --eps or a smaller --least (in a build --set ensemble.pseudo.eps=...)"
        )
    return renumbered(labels)


def jaccard_graph(
    neighbours: Neighbours,
    feats: Feats,
    eps: float,
    *,
    weights: Sequence[float] | None = None,
    k1: int,
    k2: int,
    power: int,
    n_jobs: int = -1,
) -> csr_matrix:
    """(N, N) sparse Jaccard distances up to eps, with zeros on the diagonal."""
    source, setting = as_source(feats, weights), KReciprocal(k1, k2, 0.0, power)
    n, need = source.n, setting.neighbours_read(source.n)
    if len(neighbours.order) != n or neighbours.order.shape[1] < need:
        raise ValueError(f"neighbours of shape {neighbours.order.shape} for {n} images: want {need} per image")
    v = encode(neighbours, source, setting, n_jobs)
    inverse = reciprocal_sets.inverted(v.indptr, v.members, v.weights, 0)

    def near(rows: slice) -> tuple[NDArray, NDArray, NDArray]:
        indptr, other, t = reciprocal_sets.overlap(v.indptr, v.members, v.weights, *inverse, n, rows.start, rows.stop)
        own = np.repeat(np.arange(rows.start, rows.stop), np.diff(indptr))
        dist = np.maximum(1 - t / (2 - t), 0)
        keep = (dist <= eps) & (own != other)
        return own[keep], other[keep], dist[keep]

    parts = over_rows(near, n, n_jobs)
    own, other, dist = (np.concatenate(column) for column in zip(*parts, strict=True))
    itself = np.arange(n)
    rows, columns = np.concatenate((itself, own)), np.concatenate((itself, other))
    return csr_matrix((np.concatenate((np.zeros(n), dist)), (rows, columns)), shape=(n, n))


def _side_by_side(source: MemberFeatures, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
    pairs = zip(source.members, source.weights, strict=True)
    return np.concatenate([a[rows] * np.float32(w**0.5) for a, w in pairs if w], axis=1)


METHODS: dict[str, Callable[..., Labels]] = {
    "clusters": clusters,
    "loop_search": loop_search,
    "first_neighbours": first_neighbours,
    "dbscan": dbscan,
}
