"""Rescoring on the CPU: exact similarities of chosen pairs, and the best of each row."""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.cpu import Floats, Ints, Real, fast, jit

Pointers = NDArray[np.int64]
Sums = NDArray[np.float64]
UNIT_TOLERANCE = 1e-3


def not_unit(bad: NDArray[np.intp], norm: NDArray[np.float64]) -> str:
    """What to say of rows `bad` that are not of unit length; norm: of all rows."""
    shown = ", ".join(f"{i} (norm {norm[i]:.4g})" for i in bad[:5])
    more = f" and {bad.size - 5} more" if bad.size > 5 else ""
    return f"rows not of unit length: {shown}{more}; L2-normalise the features first"


@fast
def _four_dots(a: Floats, b: Floats, c: Floats, d: Floats, e: Floats, out: Sums) -> None:
    """Products of a with b, c, d and e, summed in float64; each sum in the same order as its neighbours."""
    t0 = t1 = t2 = t3 = 0.0
    for k in range(a.size):
        x = np.float64(a[k])
        t0 += x * np.float64(b[k])
        t1 += x * np.float64(c[k])
        t2 += x * np.float64(d[k])
        t3 += x * np.float64(e[k])
    out[0], out[1], out[2], out[3] = t0, t1, t2, t3


@fast
def _square(row: Floats) -> float:
    total = 0.0
    for d in range(row.size):
        total += np.float64(row[d]) * np.float64(row[d])
    return total


@jit
def squares(feats: Floats, start: int, stop: int) -> Sums:
    """Squared length of rows start..stop, (B,) float64; NaN where the row holds one."""
    out = np.empty(stop - start)
    for i in range(start, stop):
        out[i - start] = _square(feats[i])
    return out


@jit
def add_dots(feats: Floats, rows: Pointers, indptr: Pointers, index: Ints, weight: float, out: Sums) -> None:
    """Add weight * <feats[rows[i]], feats[j]> to out (nnz,) float64 for each j of row i's index[indptr[i]:...]."""
    four = np.empty(4)
    for i in range(rows.size):
        a = feats[rows[i]]
        end = indptr[i + 1]
        for e in range(indptr[i], end, 4):
            b, c = index[e], index[min(e + 1, end - 1)]
            d, f = index[min(e + 2, end - 1)], index[min(e + 3, end - 1)]
            _four_dots(a, feats[b], feats[c], feats[d], feats[f], four)
            for p in range(min(4, end - e)):
                out[e + p] += weight * four[p]


@jit
def best(indptr: Pointers, index: Ints, value: Floats, k: int) -> tuple[Ints, Floats]:
    """The k of each row with the largest value, ties by lower index: order (R, k), -1 where a row has fewer, sim."""
    rows = indptr.size - 1
    order = np.full((rows, k), -1, np.int32)
    sim = np.full((rows, k), -np.inf, np.float32)
    for r in range(rows):
        start, n = indptr[r], indptr[r + 1] - indptr[r]
        by_index = np.argsort(index[start : start + n])
        signed = np.empty(n, np.float32)
        for p in range(n):
            signed[p] = -value[start + by_index[p]]
        by_value = np.argsort(signed, kind="mergesort")
        for p in range(min(k, n)):
            e = start + by_index[by_value[p]]
            order[r, p] = index[e]
            sim[r, p] = value[e]
    return order, sim


@jit
def least(indptr: Pointers, value: Floats) -> Floats:
    """The smallest value of each row, +inf for an empty one."""
    out = np.full(indptr.size - 1, np.inf, np.float32)
    for r in range(out.size):
        for e in range(indptr[r], indptr[r + 1]):
            out[r] = min(out[r], value[e])
    return out


@jit
def sift(sim: Floats, col0: int, k: int, slack: Real) -> tuple[Pointers, Ints, Pointers, Ints]:
    """Whole rows sim (B, C): columns within slack of the k-th largest, and within slack of the smallest.

    Returns (indptr, index) of the first and (indptr, index) of the second; index counts from col0.
    """
    height, width = sim.shape
    bars = np.empty((height, 2), np.float32)
    tops, lows = np.zeros(height + 1, np.int64), np.zeros(height + 1, np.int64)
    for i in range(height):
        bars[i, 0] = -np.partition(-sim[i], min(k, width) - 1)[min(k, width) - 1] - slack
        bars[i, 1] = sim[i].min() + slack
        tops[i + 1] = tops[i] + np.sum(sim[i] >= bars[i, 0])
        lows[i + 1] = lows[i] + np.sum(sim[i] <= bars[i, 1])
    top, low = np.empty(tops[-1], np.int32), np.empty(lows[-1], np.int32)
    for i in range(height):
        at, low_at = tops[i], lows[i]
        for j in range(width):
            if sim[i, j] >= bars[i, 0]:
                top[at] = col0 + j
                at += 1
            if sim[i, j] <= bars[i, 1]:
                low[low_at] = col0 + j
                low_at += 1
    return tops, top, lows, low


@jit
def penalise(sim: Floats, row0: int, col0: int, labels: NDArray[np.int64], amount: Real) -> None:
    """Take amount off sim (B, C) wherever two different images share a label; a label below 0 is shared by none."""
    for i in range(sim.shape[0]):
        label = labels[row0 + i]
        if label >= 0:
            for j in range(sim.shape[1]):
                if labels[col0 + j] == label and row0 + i != col0 + j:
                    sim[i, j] -= amount
