"""Neighbour search on the CPU: scan blocks of similarities and keep the candidates.

A block of similarities may be approximate. If each is within e of the exact value, then all of a row's k nearest are
within 2 e of the row's k-th largest approximation. `slack` is 2 e.
A row's least similarity is found the same way, from negated values. All kernels release the interpreter lock.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.compile import inlined, jit

RUN = 32
LEAST_CAPACITY = 32
Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Real = float | np.float32
Whole = int | np.int32


class TopKBuffer(NamedTuple):
    """Candidates of R rows.

    Attributes:
        value, where: (R, C) similarities and images.
        held: (R,) number of candidates, -1 if they did not fit.
        bar: (R,) threshold: values below it cannot be among the row's k largest.
    """

    value: Floats
    where: Ints
    held: Ints
    bar: Floats


Flat = tuple[Ints, Floats, Floats, Ints]


def empty_buffer(rows: int, capacity: int) -> TopKBuffer:
    """An empty buffer."""
    shape, bar = (rows, capacity), np.full(rows, -np.inf, np.float32)
    return TopKBuffer(np.empty(shape, np.float32), np.empty(shape, np.int32), np.zeros(rows, np.int32), bar)


def rows_of(p: TopKBuffer, rows: slice | None) -> TopKBuffer:
    """A view of some rows of a buffer; None: all."""
    some = rows or slice(None)
    return TopKBuffer(p.value[some], p.where[some], p.held[some], p.bar[some])


def capacity(k: int) -> int:
    """Capacity for a row's k largest, those within slack, and some more before the next selection."""
    return 3 * k + 64


@jit
def kth_largest(values: Floats, k: int) -> np.float32:
    """The k-th largest value (Hoare's selection). Reorders `values`."""
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
def _tighten(p: TopKBuffer, r: int, k: int, slack: Real) -> int:
    """Raise row r's threshold to its k-th largest minus slack, drop lower values, and return how many stay."""
    n = p.held[r]
    if n < k:
        return n
    p.bar[r] = max(p.bar[r], kth_largest(p.value[r, :n].copy(), k) - slack)
    kept = 0
    for e in range(n):
        if p.value[r, e] >= p.bar[r]:
            p.value[r, kept] = p.value[r, e]
            p.where[r, kept] = p.where[r, e]
            kept += 1
    p.held[r] = kept
    return kept


@jit
def _crowded(p: TopKBuffer, r: int, v: Real, j: int, k: int, slack: Real) -> None:
    """Add v to row r's full buffer."""
    if _tighten(p, r, k, slack) == p.value.shape[1]:
        p.held[r], p.bar[r] = -1, np.inf
    if v >= p.bar[r]:
        n = p.held[r]
        p.value[r, n], p.where[r, n], p.held[r] = v, j, n + 1


@inlined
def _hits(run: Floats, bar: Real, low: Real, bars: Floats, lows: Floats) -> Whole:
    """How many of RUN similarities pass the thresholds of the row or of their columns."""
    hits = np.int32(0)
    for j in range(RUN):
        v = run[j]
        hits += np.int32((v >= bar) | (v >= bars[j]) | (-v >= low) | (-v >= lows[j]))
    return hits


class Side(NamedTuple):
    """The buffers for one side of a block: of the k largest, and of the k_low largest negated values.

    first: the side's first row in the buffers.
    """

    top: TopKBuffer
    low: TopKBuffer
    k: int
    first: int
    k_low: int = 1


@jit
def seed(sim: Floats, height: int, width: int, rows: Side, cols: Side, slack: Real) -> None:
    """Set the thresholds of rows and columns that have none yet, from this block alone.

    The k-th largest of some columns is at most that of all columns. Without a threshold, a row accepts every value.
    """
    if rows.k <= width:
        for i in range(height):
            if rows.top.bar[rows.first + i] == -np.inf:
                rows.top.bar[rows.first + i] = kth_largest(sim[i, :width].copy(), rows.k) - slack
    if 0 < cols.k <= height:
        some = np.empty((16, height), np.float32)
        for j0 in range(0, width, 16):
            count = min(16, width - j0)
            for i in range(height):
                for j in range(count):
                    some[j, i] = sim[i, j0 + j]
            for j in range(count):
                if cols.top.bar[cols.first + j0 + j] == -np.inf:
                    cols.top.bar[cols.first + j0 + j] = kth_largest(some[j], cols.k) - slack


@jit
def scan(sim: Floats, height: int, width: int, row0: int, col0: int, rows: Side, cols: Side, slack: Real) -> None:
    """Offer sim[:height, :width] of images row0.. by col0.. to the buffers of rows and columns.

    A run of a row is first tested as a whole, without branches. Columns with k = 0 take nothing.
    """
    tv, tw, th, tb = rows.top
    lv, lw, lh, lb = rows.low
    ctv, ctw, cth, ctb = cols.top
    clv, clw, clh, clb = cols.low
    bars, lows = np.full(width, np.inf, np.float32), np.full(width, np.inf, np.float32)
    if cols.k > 0:
        bars, lows = ctb[cols.first : cols.first + width], clb[cols.first : cols.first + width]
    for i in range(height):
        r = rows.first + i
        for j0 in range(0, width, RUN):
            j1 = min(width, j0 + RUN)
            if j1 - j0 == RUN and _hits(sim[i, j0:j1], tb[r], lb[r], bars[j0:j1], lows[j0:j1]) == 0:
                continue
            for j in range(j0, j1):
                v, c = sim[i, j], cols.first + j
                if v >= tb[r]:
                    n = th[r]
                    if n < tv.shape[1]:
                        tv[r, n], tw[r, n], th[r] = v, col0 + j, n + 1
                    else:
                        _crowded(rows.top, r, v, col0 + j, rows.k, slack)
                if -v >= lb[r]:
                    if rows.k_low == 1:
                        lb[r] = max(lb[r], -v - slack)
                    n = lh[r]
                    if n < lv.shape[1]:
                        lv[r, n], lw[r, n], lh[r] = -v, col0 + j, n + 1
                    else:
                        _crowded(rows.low, r, -v, col0 + j, rows.k_low, slack)
                if v >= bars[j]:
                    n = cth[c]
                    if n < ctv.shape[1]:
                        ctv[c, n], ctw[c, n], cth[c] = v, row0 + i, n + 1
                    else:
                        _crowded(cols.top, c, v, row0 + i, cols.k, slack)
                if -v >= lows[j]:
                    if cols.k_low == 1:
                        lows[j] = max(lows[j], -v - slack)
                    n = clh[c]
                    if n < clv.shape[1]:
                        clv[c, n], clw[c, n], clh[c] = -v, row0 + i, n + 1
                    else:
                        _crowded(cols.low, c, -v, row0 + i, cols.k_low, slack)


@jit
def flattened(p: TopKBuffer, k: int, slack: Real) -> Flat:
    """The reduced candidates as (held (R,), bar (R,), value, where), rows concatenated."""
    total = 0
    for r in range(p.held.size):
        if p.held[r] > 0:
            total += _tighten(p, r, k, slack)
    value, where = np.empty(total, np.float32), np.empty(total, np.int32)
    at = 0
    for r in range(p.held.size):
        for e in range(p.held[r]):
            value[at], where[at] = p.value[r, e], p.where[r, e]
            at += 1
    return p.held.copy(), p.bar.copy(), value, where


@jit
def merge(p: TopKBuffer, first: int, flat: Flat, k: int, slack: Real) -> None:
    """Offer flattened candidates of rows first.. to buffer p; its thresholds rise at least to theirs."""
    held, bar, value, where = flat
    at, room = 0, p.value.shape[1]
    for i in range(held.size):
        r = first + i
        p.bar[r] = max(p.bar[r], bar[i])
        if held[i] < 0:
            p.held[r] = -1
        for _ in range(held[i]):
            n = p.held[r]
            if value[at] >= p.bar[r] and n < room:
                p.value[r, n], p.where[r, n], p.held[r] = value[at], where[at], n + 1
            elif value[at] >= p.bar[r]:
                _crowded(p, r, value[at], where[at], k, slack)
            at += 1
