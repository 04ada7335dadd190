"""The rival: k-reciprocal re-ranking as published ports do it, with dense N x N arrays and a Python loop a row.

Written from the definition (Zhong, Zheng, Cao & Li, CVPR 2017) in the ports' own manner and at their cost in memory;
partial sorting instead of whole sorts is the kinder of the two forms in use.
"""

import numpy as np
from numpy.typing import NDArray


def distances(feats: NDArray[np.float32], n_query: int) -> tuple[NDArray, NDArray, NDArray]:
    """Cosine distances that the ports want: query-gallery, query-query, gallery-gallery, float32."""
    query, gallery = feats[:n_query], feats[n_query:].copy()
    return 1 - query @ gallery.T, 1 - query @ query.copy().T, 1 - gallery @ gallery.copy().T


def rerank(qg: NDArray, qq: NDArray, gg: NDArray, k1: int = 20, k2: int = 6, lam: float = 0.3) -> NDArray[np.float32]:
    """(Q, G) final distances."""
    n_query, n = len(qq), len(qq) + len(gg)
    original = np.concatenate([np.concatenate([qq, qg], axis=1), np.concatenate([qg.T, gg], axis=1)], axis=0)
    original = np.power(original, 2).astype(np.float32)
    original = np.transpose(1.0 * original / np.max(original, axis=0))
    v = np.zeros_like(original, dtype=np.float32)
    rank = np.argpartition(original, range(1, k1 + 1))
    for i in range(n):
        reciprocal = _reciprocal(rank, i, k1)
        expanded = reciprocal
        for candidate in reciprocal:
            half = _reciprocal(rank, candidate, int(np.around(k1 / 2)))
            if len(np.intersect1d(half, reciprocal)) > 2 / 3 * len(half):
                expanded = np.append(expanded, half)
        expanded = np.unique(expanded)
        weight = np.exp(-original[i, expanded])
        v[i, expanded] = weight / np.sum(weight)
    original = original[:n_query]
    if k2 != 1:
        averaged = np.zeros_like(v, dtype=np.float32)
        for i in range(n):
            averaged[i] = np.mean(v[rank[i, :k2]], axis=0)
        v = averaged
    del rank
    columns = [np.where(v[:, i] != 0)[0] for i in range(n)]
    jaccard = np.zeros_like(original, dtype=np.float32)
    for i in range(n_query):
        least = np.zeros((1, n), np.float32)
        support = np.where(v[i] != 0)[0]
        for j in support:
            least[0, columns[j]] += np.minimum(v[i, j], v[columns[j], j])
        jaccard[i] = 1 - least / (2.0 - least)
    final = jaccard * (1 - lam) + original * lam
    return final[:n_query, n_query:]


def _reciprocal(rank: NDArray, i: int, k: int) -> NDArray:
    forward = rank[i, : k + 1]
    backward = rank[forward, : k + 1]
    return forward[np.where(backward == i)[0]]
