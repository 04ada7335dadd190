"""Ranked lists on the CPU: rows of distances sorted, and exact first-K lists that never see a whole row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.cpu import Floats, Ints, Real, jit, kth_largest

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
def _scaled(sim: Real, least: Real, total: Real, power: int) -> Real:
    """(d / largest d)^power of one pair; 0 in a row of zeros."""
    largest = max(np.float32(0), total - least)
    if largest == 0:
        return np.float32(0)
    ratio = max(np.float32(0), total - sim) / largest
    return ratio if power == 1 else ratio * ratio


@jit
def _mixed(s: Real, t: Real, lam: Real) -> Any:
    return s * lam + (np.float32(1) - lam) - (np.float32(1) - lam) * (t / (np.float32(2) - t))


@jit
def unlisted(
    near: Ints,
    near_sim: Floats,
    indptr: Pointers,
    gallery: Ints,
    t: Floats,
    least: Floats,
    total: Real,
    power: int,
    lam: Real,
) -> tuple[Pointers, Pointers]:
    """Of the gallery images that overlap with a query (indptr, gallery, t), those that may enter its list unlisted.

    near (B, K) are its nearest by s. What is not among them is no nearer than the last of them, so that its final
    distance has a lower bound; K listed ones have an upper. Returns (indptr (B + 1,), positions in gallery).
    """
    rows, k = near.shape
    listed = np.full(near.max() + 1 if gallery.size == 0 else max(near.max(), gallery.max()) + 1, -1, np.int64)
    overlap = np.zeros(listed.size, np.float32)
    out_ptr, out, at = np.zeros(rows + 1, np.int64), np.empty(gallery.size, np.int64), 0
    for q in range(rows):
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = t[e]
        farthest = np.float32(-1)
        for p in range(k):
            g = near[q, p]
            listed[g] = q
            farthest = max(farthest, _mixed(_scaled(near_sim[q, p], least[q], total, power), overlap[g], lam))
        edge = _scaled(near_sim[q, k - 1], least[q], total, power)
        for e in range(indptr[q], indptr[q + 1]):
            if listed[gallery[e]] != q and _mixed(edge, t[e], lam) <= farthest + np.float32(1e-6):
                out[at] = e
                at += 1
            overlap[gallery[e]] = 0
        out_ptr[q + 1] = at
    return out_ptr, out[:at].copy()


@jit
def merged(
    near: Ints,
    near_sim: Floats,
    indptr: Pointers,
    gallery: Ints,
    t: Floats,
    extra_ptr: Pointers,
    extra: Pointers,
    extra_sim: Floats,
    least: Floats,
    total: Real,
    power: int,
    lam: Real,
) -> tuple[Ints, Floats]:
    """Final first-K lists from the nearest by s and the unlisted extras: order (B, K) int32, dist (B, K) float32."""
    rows, k = near.shape
    overlap = np.zeros(near.max() + 1 if gallery.size == 0 else max(near.max(), gallery.max()) + 1, np.float32)
    order, dist = np.empty((rows, k), np.int32), np.empty((rows, k), np.float32)
    for q in range(rows):
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = t[e]
        count = k + extra_ptr[q + 1] - extra_ptr[q]
        index, value = np.empty(count, np.int64), np.empty(count, np.float32)
        for p in range(k):
            index[p] = near[q, p]
            value[p] = _mixed(_scaled(near_sim[q, p], least[q], total, power), overlap[index[p]], lam)
        for p in range(k, count):
            e = extra_ptr[q] + p - k
            index[p] = gallery[extra[e]]
            value[p] = _mixed(_scaled(extra_sim[e], least[q], total, power), overlap[index[p]], lam)
        for e in range(indptr[q], indptr[q + 1]):
            overlap[gallery[e]] = 0
        by_index = np.argsort(index)
        chosen = by_index[np.argsort(value[by_index], kind="mergesort")]
        for p in range(k):
            order[q, p] = index[chosen[p]]
            dist[q, p] = value[chosen[p]]
    return order, dist


@jit
def _at_most(values: Floats, k: int) -> np.float32:
    """A number that the k-th smallest of values does not exceed: the k-th smallest of the least of each run of them."""
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
    indptr: Pointers, index: Ints, sim: Floats, weights: NDArray[np.float64], k: int, first: int, start: int, stop: int
) -> tuple[Ints, Floats, Floats]:
    """Rows start..stop of candidates (indptr, index ascending) under weights (M,) of the members' sim (M, C).

    Returns the k of each row that are most similar among index >= first, ties by lower index: order (B, k), -1 where a
    row has fewer, and value (B, k) float32; and the smallest similarity of each row (B,).
    """
    order, value = np.full((stop - start, k), -1, np.int32), np.full((stop - start, k), -np.inf, np.float32)
    least = np.full(stop - start, np.inf, np.float32)
    for i in range(start, stop):
        a, b = indptr[i], indptr[i + 1]
        total = np.zeros(b - a)
        for m in range(weights.size):
            w = weights[m]
            if w != 0:
                part = sim[m, a:b]
                for e in range(b - a):
                    total[e] += w * part[e]
        signed = -total.astype(np.float32)
        if b > a:
            least[i - start] = -signed.max()
        begin = np.searchsorted(index[a:b], first)
        signed, listed = signed[begin:], index[a + begin : b]
        count = min(k, signed.size)
        if count == 0:
            continue
        bar = _at_most(signed, count)
        kept = np.flatnonzero(signed <= bar)
        by_value = kept[np.argsort(signed[kept], kind="mergesort")]
        for p in range(count):
            order[i - start, p] = listed[by_value[p]]
            value[i - start, p] = -signed[by_value[p]]
    return order, value, least


@jit
def remembered(
    rows: Pointers,
    asked_ptr: Pointers,
    asked: Ints,
    indptr: Pointers,
    index: Ints,
    sim: Floats,
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The weighted similarity of row rows[i] to each of asked[asked_ptr[i]:...], NaN where it is no candidate.

    indptr, index, sim: as `weighed`'s.
    """
    out = np.full(asked.size, np.nan)
    for i in range(rows.size):
        start, stop = indptr[rows[i]], indptr[rows[i] + 1]
        listed = index[start:stop]
        for e in range(asked_ptr[i], asked_ptr[i + 1]):
            at = np.searchsorted(listed, asked[e])
            if at < listed.size and listed[at] == asked[e]:
                out[e] = 0.0
                for m in range(weights.size):
                    out[e] += weights[m] * sim[m, start + at]
    return out
