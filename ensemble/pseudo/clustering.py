"""Ways from a distance to groups: `clusters`, `dbscan`, and those of `nearest_label`. None makes an N x N array.

Every one gives (N,) int64 labels: groups numbered from 0 by their lowest image, -1 for an image without a group. The
distance of two images is the members' weighted mean of cosine distances, 0 to 2, whatever the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from configs.errors import ConfigError
from ensemble.kernels import reciprocal_sets
from ensemble.kernels.parallel import over_rows, spans
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import Features, source_of
from ensemble.pseudo.nearest_label import Labels, first_neighbours, loop_search, renumbered
from ensemble.rerank.k_reciprocal_encoding import KReciprocal, encode

Feats = NDArray | Sequence[NDArray]
MINI_BATCH_ABOVE = 50_000  # images; full k-means holds a copy of all features and passes over it some 300 times
BLOCK, PASSES = 4096, 10  # of the mini-batch form
FIRST = 3  # times as many images as groups, among which the first centres are chosen (k-means++)


def clusters(feats: Feats, groups: int = 1000, *, weights: Sequence[float] | None = None, seed: int = 0) -> Labels:
    """k-means with a set number of groups: too few mix identities, too many split them.

    On the members' rows scaled by sqrt(w_m) and laid side by side, where the squared distance is twice the cosine
    distance. Above MINI_BATCH_ABOVE images it is mini-batch k-means (Sculley, WWW 2010) of random rows.

    Args:
        feats: one (N, D) array or a sequence of (N, D_m), unit rows.
        groups: how many.
        weights: one a member; None is 1 each.
        seed: of the first centres and of the batches.

    Raises:
        ConfigError: fewer images than groups.
    """
    from sklearn.cluster import KMeans  # a second to import, which every start of a build and of its workers would pay

    source = source_of(feats, weights)
    if not isinstance(source, Features):
        raise ValueError("clusters needs features, not distance matrices")
    if not 1 <= groups <= source.n:
        raise ConfigError(
            f"clusters: {groups} groups of {source.n} images; take 1 to {source.n} (--groups; in a "
            "build --set ensemble.pseudo.groups=...)"
        )
    if source.n <= MINI_BATCH_ABOVE:
        return renumbered(KMeans(groups, n_init=1, random_state=seed).fit_predict(_side_by_side(source, slice(None))))
    return renumbered(_mini_batches(source, groups, seed))


def _mini_batches(source: Features, groups: int, seed: int) -> NDArray[np.int32]:
    """Batches of random rows: lists lie in the order of their identities, and a block of a list would hold a few."""
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

    The Jaccard distance is 1 off the support of the encoding, so the pairs within eps < 1 are found there, and the
    graph of them is sparse. It is the re-ranked distance with lambda 0.

    Args:
        neighbours: of all images, max(k1 + 1, k2) a row at least. feats, weights: what they were found with.
        eps: how far a neighbour may be, above 0 and below 1.
        least: images, itself among them, that a place must have within eps to be inside a group.
        k1, k2, power: of the re-ranking.

    Raises:
        ConfigError: eps out of bounds, or no place has so many images so near.
    """
    from sklearn.cluster import DBSCAN

    if not (0 < eps < 1 and least >= 2 and k1 >= 1 and k2 >= 1):
        raise ConfigError(
            f"dbscan: eps {eps:g}, least {least}, k1 {k1}, k2 {k2}; wanted eps above 0 and below 1, 2 images at least, "
            "and 1 neighbour at least"
        )
    graph = jaccard_graph(neighbours, feats, eps, weights=weights, k1=k1, k2=k2, power=power, n_jobs=n_jobs)
    labels = DBSCAN(eps=eps, min_samples=least, metric="precomputed").fit_predict(graph)
    if (labels < 0).all():
        raise ConfigError(
            f"dbscan with eps {eps:g} labels none of {len(labels)} images: no image has {least - 1} others so near; "
            "take a larger eps, with --eps, or fewer images, with --least (in a build --set ensemble.pseudo.eps=...)"
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
    """(N, N) sparse Jaccard distances of at most eps, each row's nearest first, every image at 0 from itself."""
    from sklearn.neighbors import sort_graph_by_row_values

    source, setting = source_of(feats, weights), KReciprocal(k1, k2, 0.0, power)
    n, need = source.n, setting.neighbours_read(source.n)
    if len(neighbours.order) != n or neighbours.order.shape[1] < need:
        raise ValueError(f"neighbours of shape {neighbours.order.shape} for {n} images: want {need} a row")
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
    graph = csr_matrix((np.concatenate((np.zeros(n), dist)), (rows, columns)), shape=(n, n))
    return sort_graph_by_row_values(graph, warn_when_not_sorted=False)


def _side_by_side(source: Features, rows: slice | NDArray[np.intp]) -> NDArray[np.float32]:
    pairs = zip(source.members, source.weights, strict=True)
    return np.concatenate([a[rows] * np.float32(w**0.5) for a, w in pairs if w], axis=1)


METHODS: dict[str, Callable[..., Labels]] = {
    "clusters": clusters,
    "loop_search": loop_search,
    "first_neighbours": first_neighbours,
    "dbscan": dbscan,
}
