"""Exact distances of chosen pairs on the CPU, in float64, and the nearest of each row."""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.compile import fast, jit
from ensemble.kernels.topk import Floats, Ints, Real

Pointers = NDArray[np.int64]
Sums = NDArray[np.float64]
Prints = NDArray[np.uint64]
UNIT_TOLERANCE = 1e-3


def not_unit(bad: NDArray[np.intp], norm: NDArray[np.float64]) -> str:
    """Message for rows `bad` that are not unit length; norm: of all rows."""
    shown = ", ".join(f"{i} (norm {norm[i]:.4g})" for i in bad[:5])
    more = f" and {bad.size - 5} more" if bad.size > 5 else ""
    return f"rows not of unit length: {shown}{more}; L2-normalise the features first"


@fast
def _four_dots(a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, out: Sums) -> None:
    """Products of a with b, c, d and e, summed in float64, all in the same order."""
    t0 = t1 = t2 = t3 = 0.0
    for k in range(a.size):
        x = np.float64(a[k])
        t0 += x * np.float64(b[k])
        t1 += x * np.float64(c[k])
        t2 += x * np.float64(d[k])
        t3 += x * np.float64(e[k])
    out[0], out[1], out[2], out[3] = t0, t1, t2, t3


@jit
def _print(bits: NDArray[np.uint32]) -> np.uint64:
    """A hash of a row of floats, from integer sums, so it is equal for any summation order and device."""
    total = np.uint64(0)
    for d in range(bits.size):
        total += np.uint64(bits[d]) * (np.uint64(2 * d + 1) * np.uint64(0x9E3779B97F4A7C15))
    return total


@jit
def measured(feats: Floats, start: int, stop: int) -> tuple[Sums, Prints]:
    """Squared lengths (B,) float64 and hashes (B,) of rows start..stop. A row with NaN has length NaN."""
    squares, prints, four = np.empty(stop - start), np.empty(stop - start, np.uint64), np.empty(4)
    for i in range(start, stop):
        row = feats[i]
        _four_dots(row, row, row, row, row, four)
        squares[i - start] = four[0]
        prints[i - start] = _print(row.view(np.uint32))
    return squares, prints


@jit
def add_distances(
    feats: Floats, squares: Sums, rows: Pointers, indptr: Pointers, index: Ints, weight: float, out: Sums
) -> None:
    """Add weight * (1 - cos(feats[rows[i]], feats[j])) to out (nnz,) for each j of row i's index[indptr[i]:...].

    squares: squared lengths from `measured`. The distance of a row to a copy of itself is exactly 0.
    """
    four = np.empty(4)
    for i in range(rows.size):
        a, own = feats[rows[i]], squares[rows[i]]
        end = indptr[i + 1]
        for e in range(indptr[i], end, 4):
            b, c = index[e], index[min(e + 1, end - 1)]
            d, f = index[min(e + 2, end - 1)], index[min(e + 3, end - 1)]
            _four_dots(a, feats[b], feats[c], feats[d], feats[f], four)
            for p in range(min(4, end - e)):
                out[e + p] += weight * (1.0 - four[p] / np.sqrt(own * squares[index[e + p]]))


@jit
def best(indptr: Pointers, index: Ints, value: Floats, k: int) -> tuple[Ints, Floats]:
    """The k smallest values of each row, ties by lower index: order (R, k), -1 for missing entries; value (R, k)."""
    rows = indptr.size - 1
    order = np.full((rows, k), -1, np.int32)
    out = np.full((rows, k), np.inf, np.float32)
    for r in range(rows):
        start, n = indptr[r], indptr[r + 1] - indptr[r]
        by_index = np.argsort(index[start : start + n])
        sorted_value = np.empty(n, np.float32)
        for p in range(n):
            sorted_value[p] = value[start + by_index[p]]
        by_value = np.argsort(sorted_value, kind="mergesort")
        for p in range(min(k, n)):
            e = start + by_index[by_value[p]]
            order[r, p] = index[e]
            out[r, p] = value[e]
    return order, out


@jit
def greatest(indptr: Pointers, value: Floats) -> Floats:
    """The largest value of each row, -inf for an empty one."""
    out = np.full(indptr.size - 1, -np.inf, np.float32)
    for r in range(out.size):
        for e in range(indptr[r], indptr[r + 1]):
            out[r] = max(out[r], value[e])
    return out


@jit
def rounded(dist: Sums, bound: float) -> tuple[Floats, Pointers, Ints]:
    """Round distances (B, C), each within `bound` of the exact value, to float32 >= 0.

    Returns (B, C) float32, and (indptr (B + 1,), columns) of values whose exact value may round to another number.
    """
    rows, width = dist.shape
    out, indptr = np.empty((rows, width), np.float32), np.zeros(rows + 1, np.int64)
    for i in range(rows):
        doubts = np.int32(0)
        for j in range(width):
            low, high = np.float32(max(0.0, dist[i, j] - bound)), np.float32(max(0.0, dist[i, j] + bound))
            out[i, j] = low
            doubts += np.int32(low != high)
        indptr[i + 1] = indptr[i] + doubts
    index, at = np.empty(indptr[rows], np.int32), 0
    for i in range(rows):
        if indptr[i + 1] == indptr[i]:
            continue
        for j in range(width):
            if out[i, j] != np.float32(max(0.0, dist[i, j] + bound)):
                index[at] = j
                at += 1
    return out, indptr, index


@jit
def penalise(sim: Floats, row0: int, col0: int, labels: NDArray[np.int64], amount: Real) -> None:
    """Subtract amount from sim (B, C) for pairs of different images with the same label >= 0."""
    for i in range(sim.shape[0]):
        label = labels[row0 + i]
        if label >= 0:
            for j in range(sim.shape[1]):
                if labels[col0 + j] == label and row0 + i != col0 + j:
                    sim[i, j] -= amount
