"""Ranks of the right images by counting in rows of distances, without sorting.

The facts of a query are four numbers over its right images found: the sum of k / rank_k, their number, the first rank
and the last rank. Ranks start at 1 and do not count junk. An image at distance infinity is not in the list.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.compile import jit
from ensemble.kernels.topk import Real, Whole

FEW = 48
SHARE, WIDE = 8, 128
Ints = NDArray[np.int64]
Facts = tuple[NDArray[np.float64], Ints, Ints, Ints]


@jit
def _nearer_and_equal(row: NDArray[np.float32], c: Real, d: Real) -> tuple[Whole, Whole, Whole, Whole]:
    """Count the values of a row below c and equal to c, and the same for d, in one pass.

    Sums have 32 bits: a register holds twice as many as with 64.
    """
    nearer, equal, nearer2, equal2 = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
    for g in range(row.size):
        v = row[g]
        nearer = np.int32(nearer + np.int32(v < c))
        equal = np.int32(equal + np.int32(v == c))
        nearer2 = np.int32(nearer2 + np.int32(v < d))
        equal2 = np.int32(equal2 + np.int32(v == d))
    return nearer, equal, nearer2, equal2


@jit
def _before(row: NDArray[np.float32], target: int) -> int:
    count = 0
    for g in range(target):
        count += row[g] == row[target]
    return count


@jit
def _ranks_one_by_one(row: NDArray[np.float32], targets: Ints) -> Ints:
    out = np.empty(targets.size, np.int64)
    for p in range(0, targets.size, 2):
        q = min(p + 1, targets.size - 1)
        nearer, equal, nearer2, equal2 = _nearer_and_equal(row, row[targets[p]], row[targets[q]])
        out[p] = nearer + 1 + (_before(row, targets[p]) if equal > 1 else 0)
        out[q] = nearer2 + 1 + (_before(row, targets[q]) if equal2 > 1 else 0)
    return out


@jit
def has_nan(row: NDArray[np.float32]) -> bool:
    """Whether a row holds NaN."""
    count = np.int32(0)
    for g in range(row.size):
        count = np.int32(count + np.int32(row[g] != row[g]))
    return bool(count > 0)


@jit
def _ranks_together(row: NDArray[np.float32], targets: Ints) -> Ints:
    """`ranks` for many targets: bisection finds each image's position among them."""
    by_dist = targets[np.argsort(row[targets], kind="mergesort")]
    counts = np.zeros(targets.size + 1, np.int64)
    for g in range(row.size):
        low, high = 0, targets.size
        while low < high:
            middle = (low + high) // 2
            t = by_dist[middle]
            if row[t] < row[g] or (row[t] == row[g] and t <= g):
                low = middle + 1
            else:
                high = middle
        counts[low] += 1
    rank_of = np.empty(row.size, np.int64)
    before = 0
    for p in range(targets.size):
        before += counts[p]
        rank_of[by_dist[p]] = before + 1
    return rank_of[targets]


@jit
def _ranks_in(row: NDArray[np.float32], targets: Ints) -> Ints:
    return _ranks_one_by_one(row, targets) if targets.size <= FEW else _ranks_together(row, targets)


@jit
def ranks(row: NDArray[np.float32], targets: Ints) -> Ints:
    """Rank from 1 of each target column, ascending, in a row of distances (G,), ties by lower index.

    Images beyond the farthest target do not matter: if few remain, only these are counted.
    For a row with NaN, all ranks are -1.
    """
    bar = row[targets].max() if targets.size else np.float32(-np.inf)
    near, count = np.empty(row.size // SHARE + WIDE, np.int64), 0
    for start in range(0, row.size, WIDE):
        stop, hits = min(row.size, start + WIDE), np.int32(0)
        for v in row[start:stop]:
            hits = np.int32(hits + np.int32(not (v > bar)))
        if hits == 0:
            continue
        if count + WIDE > near.size:
            return np.full(targets.size, -1) if has_nan(row) else _ranks_in(row, targets)
        for g in range(start, stop):
            if not (row[g] > bar):
                near[count] = g
                count += 1
    some = near[:count]
    if has_nan(row[some]):
        return np.full(targets.size, -1)
    return _ranks_in(row[some], np.searchsorted(some, targets))


@jit
def doubtful(
    dist: NDArray[np.float32], bound: NDArray[np.float32], right_ptr: Ints, right: NDArray[np.float32]
) -> tuple[Ints, NDArray[np.int32]]:
    """Images whose approximate distance does not decide whether they rank before a right image.

    Rows (B, G) are within bound (B,) of the exact distances. Row i's right images have the exact distances
    right[right_ptr[i]:right_ptr[i + 1]]. Returns (indptr, columns).
    """
    rows, width = dist.shape
    indptr = np.zeros(rows + 1, np.int64)
    index = np.empty(max(64, width), np.int32)
    at = 0
    for i in range(rows):
        targets = np.sort(right[right_ptr[i] : right_ptr[i + 1]])
        targets = targets[: np.searchsorted(targets, np.float32(np.inf))]
        if targets.size:
            row = dist[i]
            reach = np.float32(bound[i] * 1.0001 + 5e-7 * max(1.0, abs(targets[targets.size - 1])))  # own rounding
            first, last = targets[0] - reach, targets[targets.size - 1] + reach
            for start in range(0, width, WIDE):
                stop, hits = min(width, start + WIDE), np.int32(0)
                for v in row[start:stop]:
                    hits = np.int32(hits + np.int32((v <= last) & (v >= first)))
                if hits == 0:
                    continue
                for g in range(start, stop):
                    v = row[g]
                    if not (first <= v <= last):
                        continue
                    p = np.searchsorted(targets, v)
                    above = p < targets.size and targets[p] - v <= reach
                    below = p > 0 and v - targets[p - 1] <= reach
                    if above or below:
                        if at == index.size:
                            grown = np.empty(2 * at, np.int32)
                            grown[:at] = index
                            index = grown
                        index[at] = g
                        at += 1
        indptr[i + 1] = at
    return indptr, index[:at].copy()


@jit
def from_distances(
    dist: NDArray[np.float32],
    group: Ints,
    cams: Ints,
    pid_ptr: Ints,
    by_pid: Ints,
    gallery_cams: Ints,
    junk: bool,
    top_k: int,
) -> Facts:
    """Facts of rows of distances (B, G), as for sorted rows with ties by lower index; NaN for a row with NaN."""
    rows = len(dist)
    total, found = np.zeros(rows), np.zeros(rows, np.int64)
    first, last = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    for q in range(rows):
        if group[q] < 0:
            total[q] = np.nan if has_nan(dist[q]) else 0.0
            continue
        listed = by_pid[pid_ptr[group[q]] : pid_ptr[group[q] + 1]]
        targets = listed[dist[q][listed] != np.float32(np.inf)]
        if targets.size == 0:
            total[q] = np.nan if has_nan(dist[q]) else 0.0
            continue
        rank = ranks(dist[q], targets)
        if rank[0] < 0:
            total[q] = np.nan
            continue
        by_rank = np.argsort(rank)
        removed = 0
        for e in by_rank:
            if junk and gallery_cams[targets[e]] == cams[q]:
                removed += 1
            elif rank[e] - removed <= top_k:
                last[q] = rank[e] - removed
                found[q] += 1
                total[q] += found[q] / last[q]
                if found[q] == 1:
                    first[q] = last[q]
    return total, found, first, last
