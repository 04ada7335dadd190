"""Lists for the search of settings: members re-ranked each by itself and then summed, among candidates alone."""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.topk import Floats, Ints, Real, jit

Pointers = NDArray[np.int64]


@jit
def jaccards(
    indptr: Pointers, index: Ints, first: int, found_ptr: Pointers, gallery: Ints, t: Floats, start: int, stop: int
) -> Floats:
    """Jaccard distances 1 - t / (2 - t) of queries start..stop to their candidates: 1 for images before `first`.

    indptr, index: the candidates of every query, images first.. being the gallery. found_ptr, gallery, t: the overlaps
    of queries start..stop. Returns (indptr[stop] - indptr[start],) float32.
    """
    top = 0
    for e in range(indptr[start], indptr[stop]):
        top = max(top, index[e] - first)
    for e in range(gallery.size):
        top = max(top, gallery[e])
    overlap = np.zeros(top + 1, np.float32)
    out = np.ones(indptr[stop] - indptr[start], np.float32)
    for q in range(start, stop):
        for e in range(found_ptr[q - start], found_ptr[q - start + 1]):
            overlap[gallery[e]] = t[e]
        for e in range(indptr[q], indptr[q + 1]):
            if index[e] >= first:
                seen = overlap[index[e] - first]
                out[e - indptr[start]] = np.float32(1) - seen / (np.float32(2) - seen)
        for e in range(found_ptr[q - start], found_ptr[q - start + 1]):
            overlap[gallery[e]] = 0
    return out


@jit
def summed(
    indptr: Pointers,
    index: Ints,
    first: int,
    member_dist: Floats,
    farthest: Floats,
    jaccard: Floats,
    weights: Floats,
    lam: Real,
    power: int,
    k: int,
    start: int,
    stop: int,
) -> Ints:
    """The k nearest candidates by sum_m w_m ((1 - lam) J_m + lam s_m) of queries start..stop: (B, k) int32.

    member_dist, jaccard: (M, C) of every candidate; farthest: (M, Q) each row's largest distance, for s = (dist /
    farthest)^power. Places in the gallery, ties by lower index; every query must have k candidates from `first` on.
    """
    members = weights.size
    out = np.empty((stop - start, k), np.int32)
    for q in range(start, stop):
        low, high = indptr[q], indptr[q + 1]
        while low < high and index[low] < first:
            low += 1
        dist = np.zeros(high - low, np.float32)
        for m in range(members):
            if weights[m] == 0:
                continue
            largest = farthest[m, q]
            for e in range(low, high):
                ratio = member_dist[m, e] / largest if largest > 0 else np.float32(0)
                s = ratio if power == 1 else ratio * ratio
                dist[e - low] += weights[m] * ((np.float32(1) - lam) * jaccard[m, e] + lam * s)
        cut = np.partition(dist, k - 1)[k - 1] if k < dist.size else np.float32(np.inf)
        near = np.flatnonzero(dist <= cut)
        chosen = near[np.argsort(dist[near], kind="mergesort")]
        for p in range(k):
            out[q - start, p] = index[low + chosen[p]] - first
    return out
