"""Ranked lists on the CPU: sorted rows of distances, and exact lists of length K without full rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.compile import jit
from ensemble.kernels.topk import Floats, Ints, Real, kth_largest

Pointers = NDArray[np.int64]


@jit
def smallest(dist: Floats, k: int) -> tuple[Ints, Floats]:
    """The k smallest of each row of dist (B, G), ties by lower index: order (B, k) int32, value (B, k) float32."""
    rows, width = dist.shape
    order, value = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32)
    for i in range(rows):
        kept = np.arange(width) if k == width else np.flatnonzero(dist[i] <= np.partition(dist[i], k - 1)[k - 1])
        chosen = kept[np.argsort(dist[i][kept], kind="mergesort")]
        for p in range(k):
            order[i, p] = chosen[p]
            value[i, p] = dist[i, chosen[p]]
    return order, value


@jit
def _scaled(dist: Real, farthest: Real, power: int) -> Real:
    """(d / largest d)^power of one pair; 0 in a row of zeros."""
    if farthest <= 0:
        return np.float32(0)
    ratio = dist / farthest
    return ratio if power == 1 else ratio * ratio


@jit
def _mixed(s: Real, t: Real, lam: Real) -> Any:
    return s * lam + (np.float32(1) - lam) - (np.float32(1) - lam) * (t / (np.float32(2) - t))


@jit
def mix_rows(dist: Floats, farthest: Floats, indptr: Pointers, gallery: Ints, t: Floats, power: int, lam: Real) -> None:
    """Replace rows of distances (B, G) by (1 - lam) J + lam s in place; (indptr, gallery, t): overlaps, where J < 1."""
    rows, width = dist.shape
    overlap = np.zeros(width, np.float32)
    for q in range(rows):
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = t[e]
        for g in range(width):
            dist[q, g] = _mixed(_scaled(dist[q, g], farthest[q], power), overlap[g], lam)
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = 0


@jit
def mix_pairs(
    dist: Floats,
    asked_ptr: Pointers,
    asked: Ints,
    farthest: Floats,
    indptr: Pointers,
    gallery: Ints,
    t: Floats,
    power: int,
    lam: Real,
) -> None:
    """`mix_rows` for chosen gallery images asked[asked_ptr[q]:asked_ptr[q + 1]] of row q, dist (nnz,) in place."""
    overlap = np.zeros(max(asked.max() if asked.size else 0, gallery.max() if gallery.size else 0) + 1, np.float32)
    for q in range(farthest.size):
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = t[e]
        for p in range(asked_ptr[q], asked_ptr[q + 1]):
            dist[p] = _mixed(_scaled(dist[p], farthest[q], power), overlap[asked[p]], lam)
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = 0


@jit
def unlisted(
    near: Ints,
    near_dist: Floats,
    k: int,
    indptr: Pointers,
    gallery: Ints,
    t: Floats,
    farthest: Floats,
    power: int,
    lam: Real,
) -> tuple[Pointers, Pointers]:
    """Overlapping gallery images (indptr, gallery, t) that are not in near but may be in a query's first k.

    near (B, K) are the nearest images, K >= k. Other images are at least as far as the last of them, which bounds their
    final distance from below. The listed images bound the k-th distance from above.
    Returns (indptr (B + 1,), positions in gallery).
    """
    rows, wide = near.shape
    listed = np.full(near.max() + 1 if gallery.size == 0 else max(near.max(), gallery.max()) + 1, -1, np.int64)
    overlap = np.zeros(listed.size, np.float32)
    out_ptr, out, at = np.zeros(rows + 1, np.int64), np.empty(gallery.size, np.int64), 0
    for q in range(rows):
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = t[e]
        bar = np.float32(-1)
        for p in range(wide):
            g = near[q, p]
            listed[g] = q
            if p < k:
                bar = max(bar, _mixed(_scaled(near_dist[q, p], farthest[q], power), overlap[g], lam))
        edge = _scaled(near_dist[q, wide - 1], farthest[q], power)
        for e in range(indptr[q], indptr[q + 1]):
            if listed[gallery[e]] != q and _mixed(edge, t[e], lam) <= bar:
                out[at] = e
                at += 1
            overlap[gallery[e]] = 0
        out_ptr[q + 1] = at
    return out_ptr, out[:at].copy()


@jit
def merged(
    near: Ints,
    near_dist: Floats,
    k: int,
    indptr: Pointers,
    gallery: Ints,
    t: Floats,
    extra_ptr: Pointers,
    extra: Pointers,
    extra_dist: Floats,
    farthest: Floats,
    power: int,
    lam: Real,
) -> tuple[Ints, Floats, NDArray[np.bool_]]:
    """Final lists of length k from the nearest images and the extras.

    Returns order (B, k) int32, dist (B, k) float32, and sure (B,): whether no other image can be in the list.
    """
    rows, wide = near.shape
    overlap = np.zeros(near.max() + 1 if gallery.size == 0 else max(near.max(), gallery.max()) + 1, np.float32)
    order, dist, sure = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32), np.empty(rows, np.bool_)
    for q in range(rows):
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = t[e]
        count = wide + extra_ptr[q + 1] - extra_ptr[q]
        index, value = np.empty(count, np.int64), np.empty(count, np.float32)
        for p in range(wide):
            index[p] = near[q, p]
            value[p] = _mixed(_scaled(near_dist[q, p], farthest[q], power), overlap[index[p]], lam)
        for p in range(wide, count):
            e = extra_ptr[q] + p - wide
            index[p] = gallery[extra[e]]
            value[p] = _mixed(_scaled(extra_dist[e], farthest[q], power), overlap[index[p]], lam)
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = 0
        by_index = np.argsort(index)
        chosen = by_index[np.argsort(value[by_index], kind="mergesort")]
        for p in range(k):
            order[q, p] = index[chosen[p]]
            dist[q, p] = value[chosen[p]]
        edge = _scaled(near_dist[q, wide - 1], farthest[q], power)
        sure[q] = dist[q, k - 1] < _mixed(edge, np.float32(0), lam)
    return order, dist, sure


@jit
def _at_most(values: Floats, k: int) -> np.float32:
    """An upper bound on the k-th smallest value: the k-th smallest among the minima of runs."""
    run = max(1, values.size // (2 * k))
    runs = values.size // run
    least = np.empty(runs, np.float32)
    for r in range(runs):
        least[r] = -values[r * run]
        for p in range(1, run):
            least[r] = max(least[r], -values[r * run + p])
    return -kth_largest(least, k)


@jit
def weighed(
    indptr: Pointers, index: Ints, dist: Floats, weights: NDArray[np.float64], k: int, first: int, start: int, stop: int
) -> tuple[Ints, Floats, Floats]:
    """Rows start..stop of candidates (indptr, index ascending) under weights (M,) of the members' dist (M, C).

    Returns the k nearest of each row among index >= first, ties by lower index: order (B, k), -1 for missing entries;
    value (B, k) float32; and the largest distance of each row (B,).
    """
    order, value = np.full((stop - start, k), -1, np.int32), np.full((stop - start, k), np.inf, np.float32)
    farthest = np.full(stop - start, -np.inf, np.float32)
    for i in range(start, stop):
        a, b = indptr[i], indptr[i + 1]
        total = np.zeros(b - a)
        for m in range(weights.size):
            w = weights[m]
            if w != 0:
                part = dist[m, a:b]
                for e in range(b - a):
                    total[e] += w * part[e]
        summed = total.astype(np.float32)
        if b > a:
            farthest[i - start] = summed.max()
        begin = np.searchsorted(index[a:b], first)
        summed, listed = summed[begin:], index[a + begin : b]
        count = min(k, summed.size)
        if count == 0:
            continue
        bar = _at_most(summed, count)
        kept = np.flatnonzero(summed <= bar)
        by_value = kept[np.argsort(summed[kept], kind="mergesort")]
        for p in range(count):
            order[i - start, p] = listed[by_value[p]]
            value[i - start, p] = summed[by_value[p]]
    return order, value, farthest


@jit
def jaccards(
    indptr: Pointers, index: Ints, first: int, found_ptr: Pointers, gallery: Ints, t: Floats, start: int, stop: int
) -> Floats:
    """Jaccard distances 1 - t / (2 - t) of queries start..stop to their candidates: 1 for images before `first`.

    indptr, index: the candidates of every query; images from `first` on are the gallery.
    found_ptr, gallery, t: the overlaps of queries start..stop. Returns (indptr[stop] - indptr[start],) float32.
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

    member_dist, jaccard: (M, C) of every candidate. farthest: (M, Q) each row's largest distance, for s = (dist /
    farthest)^power. Returns gallery indices, ties by lower index. Every query needs k candidates from `first` on.
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
