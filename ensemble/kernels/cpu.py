"""Neighbour search on the CPU: scan blocks of similarities, keep candidates, rescore them.

A block of similarities may be approximate. If each is within e of the truth, everything that belongs to a row's k
nearest lies within 2 e of the row's k-th largest approximation; `slack` is that 2 e. A `Pool` keeps such candidates for
each of R rows, and likewise for the row's least similarity. Rescoring sums float32 products in float64, in one order
for all pairs, so that copies of an image tie exactly whatever the blocks, the workers or the device.

All kernels release the interpreter lock. This file alone names numba.
"""

from typing import NamedTuple

import numba
import numpy as np
from numba import types  # noqa: F401  (for the kernels that are written in machine code)
from numba.extending import intrinsic  # noqa: F401
from numpy.typing import NDArray

jit = numba.njit(nogil=True, cache=True)
fast = numba.njit(nogil=True, cache=True, fastmath=True)

LOW_CAPACITY = 32


class Pool(NamedTuple):
    """Candidates of R rows: value and index (R, C), count (R,), -1 where they did not fit; lower than bar is out.

    The same for the row's minimum: low_value, low_index (R, LOW_CAPACITY), low_count, low_bar.
    """

    value: NDArray[np.float32]
    index: NDArray[np.int32]
    count: NDArray[np.int32]
    bar: NDArray[np.float32]
    low_value: NDArray[np.float32]
    low_index: NDArray[np.int32]
    low_count: NDArray[np.int32]
    low_bar: NDArray[np.float32]


def pool(rows: int, k: int) -> Pool:
    """An empty pool with room for three times k and some."""
    top, low = (rows, 3 * k + 64), (rows, LOW_CAPACITY)
    bars = np.full(rows, -np.inf, np.float32), np.full(rows, np.inf, np.float32)
    counts = np.zeros(rows, np.int32), np.zeros(rows, np.int32)
    return Pool(
        np.empty(top, np.float32), np.empty(top, np.int32), counts[0], bars[0],
        np.empty(low, np.float32), np.empty(low, np.int32), counts[1], bars[1],
    )  # fmt: skip


@jit
def _kth_largest(values, k):
    """The k-th largest of values, which it reorders (Hoare's selection)."""
    low, high, want = 0, values.size - 1, k - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if want <= j:
            high = j
        elif want >= i:
            low = i
        else:
            break
    return values[want]


@jit
def _tighten(p, r, k, slack):
    """Raise row r's bar to its k-th largest less slack and drop what is below; how many stay."""
    n = p.count[r]
    if n < k:
        return n
    p.bar[r] = max(p.bar[r], _kth_largest(p.value[r, :n].copy(), k) - slack)
    kept = 0
    for e in range(n):
        if p.value[r, e] >= p.bar[r]:
            p.value[r, kept] = p.value[r, e]
            p.index[r, kept] = p.index[r, e]
            kept += 1
    p.count[r] = kept
    return kept


@jit
def _offer(p, r, v, j, k, slack):
    """Put v, which is not below row r's bar, among its candidates."""
    n = p.count[r]
    if n == p.value.shape[1]:
        n = _tighten(p, r, k, slack)
        if n == p.value.shape[1]:
            p.count[r] = -1
            p.bar[r] = np.inf
        if v < p.bar[r]:
            return
    p.value[r, n] = v
    p.index[r, n] = j
    p.count[r] = n + 1


@jit
def _tighten_low(p, r):
    kept = 0
    for e in range(p.low_count[r]):
        if p.low_value[r, e] <= p.low_bar[r]:
            p.low_value[r, kept] = p.low_value[r, e]
            p.low_index[r, kept] = p.low_index[r, e]
            kept += 1
    p.low_count[r] = kept
    return kept


@jit
def _offer_low(p, r, v, j, slack):
    p.low_bar[r] = min(p.low_bar[r], v + slack)
    n = p.low_count[r]
    if n == p.low_value.shape[1]:
        n = _tighten_low(p, r)
        if n == p.low_value.shape[1]:
            p.low_count[r] = -1
            p.low_bar[r] = -np.inf
            return
    p.low_value[r, n] = v
    p.low_index[r, n] = j
    p.low_count[r] = n + 1


RUN = 32


@jit
def _hits(run, bar, low, bars, lows):
    """How many of RUN similarities pass a row's bars, or their columns'."""
    hits = np.int32(0)
    for j in range(RUN):
        v = run[j]
        hits += np.int32((v >= bar) | (v >= bars[j]) | (v <= low) | (v <= lows[j]))
    return hits


@jit
def scan(sim, height, width, row0, col0, rows, r0, k_rows, cols, c0, k_cols, both, slack):
    """Offer sim[:height, :width] of images row0.. by col0.. to the rows' pool and, if `both`, to the columns' too.

    Row i of the block is row r0 + i of `rows`, column j is row c0 + j of `cols`. A run of a row is tested as a whole,
    without branches, before any of its elements is.
    """
    if both:
        bars, lows = cols.bar[c0 : c0 + width], cols.low_bar[c0 : c0 + width]
    else:
        bars, lows = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    room, low_room = rows.value.shape[1], rows.low_value.shape[1]
    col_room, col_low_room = cols.value.shape[1], cols.low_value.shape[1]
    for i in range(height):
        r = r0 + i
        for j0 in range(0, width, RUN):
            bar, low = rows.bar[r], rows.low_bar[r]
            j1 = min(width, j0 + RUN)
            if j1 - j0 == RUN and _hits(sim[i, j0:j1], bar, low, bars[j0:j1], lows[j0:j1]) == 0:
                continue
            for j in range(j0, j1):
                v = sim[i, j]
                if v >= bar:
                    n = rows.count[r]
                    if n < room:
                        rows.value[r, n], rows.index[r, n], rows.count[r] = v, col0 + j, n + 1
                    else:
                        _offer(rows, r, v, col0 + j, k_rows, slack)
                        bar = rows.bar[r]
                if v <= low:
                    n = rows.low_count[r]
                    if n < low_room:
                        low = min(low, v + slack)
                        rows.low_value[r, n], rows.low_index[r, n] = v, col0 + j
                        rows.low_count[r], rows.low_bar[r] = n + 1, low
                    else:
                        _offer_low(rows, r, v, col0 + j, slack)
                        low = rows.low_bar[r]
                if v >= bars[j]:
                    c = c0 + j
                    n = cols.count[c]
                    if n < col_room:
                        cols.value[c, n], cols.index[c, n], cols.count[c] = v, row0 + i, n + 1
                    else:
                        _offer(cols, c, v, row0 + i, k_cols, slack)
                if v <= lows[j]:
                    c = c0 + j
                    n = cols.low_count[c]
                    if n < col_low_room:
                        cols.low_value[c, n], cols.low_index[c, n] = v, row0 + i
                        cols.low_count[c], lows[j] = n + 1, min(lows[j], v + slack)
                    else:
                        _offer_low(cols, c, v, row0 + i, slack)


@jit
def flattened(p, k, slack):
    """Tightened candidates as (count, value, index) and (low_count, low_value, low_index), rows one after another."""
    rows = p.count.size
    total = low_total = 0
    for r in range(rows):
        if p.count[r] > 0:
            total += _tighten(p, r, k, slack)
        if p.low_count[r] > 0:
            low_total += _tighten_low(p, r)
    value, index = np.empty(total, np.float32), np.empty(total, np.int32)
    low_value, low_index = np.empty(low_total, np.float32), np.empty(low_total, np.int32)
    at = low_at = 0
    for r in range(rows):
        for e in range(p.count[r]):
            value[at], index[at] = p.value[r, e], p.index[r, e]
            at += 1
        for e in range(p.low_count[r]):
            low_value[low_at], low_index[low_at] = p.low_value[r, e], p.low_index[r, e]
            low_at += 1
    return p.count.copy(), value, index, p.low_count.copy(), low_value, low_index


@jit
def merge(p, first, flat, k, slack):
    """Offer flattened candidates of rows first.. to pool p."""
    count, value, index, low_count, low_value, low_index = flat
    at = low_at = 0
    for i in range(count.size):
        r = first + i
        if count[i] < 0:
            p.count[r], p.bar[r] = -1, np.inf
        if low_count[i] < 0:
            p.low_count[r], p.low_bar[r] = -1, -np.inf
        for _ in range(count[i]):
            if value[at] >= p.bar[r]:
                _offer(p, r, value[at], index[at], k, slack)
            at += 1
        for _ in range(low_count[i]):
            if low_value[low_at] <= p.low_bar[r]:
                _offer_low(p, r, low_value[low_at], low_index[low_at], slack)
            low_at += 1
        if p.count[r] >= k:
            _tighten(p, r, k, slack)
