"""Neighbours of an image's own group and of other groups on the CPU: blocks taken apart, sets, and expansion.

CKRNNs and CLQE of Chen, Fan, Chen & Zhu (CVPR 2024). Labels are int32, -1 for unknown, which no two images share.
An image is of its own group. Lists end in -1 where an image has fewer neighbours of that kind.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.compile import inlined, jit
from ensemble.kernels.reciprocal_sets import Pointers, Rows, Wholes
from ensemble.kernels.topk import Floats, Ints, Whole


@jit
def taken_apart(
    sim: Floats, height: int, width: int, row0: int, col0: int, rows: Ints, cols: Ints, same: Floats, other: Floats
) -> None:
    """Copy sim[:height, :width] to `same` and `other`, with NaN for pairs of the other kind, which `topk.scan` skips.

    rows, cols: labels of the images row0.. and col0...
    """
    nan = np.float32(np.nan)
    for i in range(height):
        label = rows[i] if rows[i] >= 0 else np.int32(-2)
        for j in range(width):
            alike = cols[j] == label
            same[i, j] = sim[i, j] if alike else nan
            other[i, j] = nan if alike else sim[i, j]
        j = row0 + i - col0
        if 0 <= j < width:
            same[i, j], other[i, j] = sim[i, j], nan


@jit
def pairs_of(labels: Ints, row0: int, row1: int, col0: int, col1: int) -> NDArray[np.bool_]:
    """Whether two images are of one group, (B, C), of images row0..row1 by col0..col1."""
    out = np.empty((row1 - row0, col1 - col0), np.bool_)
    for i in range(row0, row1):
        for j in range(col0, col1):
            out[i - row0, j - col0] = i == j or (labels[i] >= 0 and labels[i] == labels[j])
    return out


@inlined
def _has(order: Ints, j: Whole, c: int, i: Whole) -> bool:
    """Whether i is among the first c of row j."""
    q = 0
    while q < c and order[j, q] != i:
        q += 1
    return q < c


@jit
def mutual(
    intra: Ints, intra_dist: Floats, c: int, inter: Ints, inter_dist: Floats, d: int, start: int, stop: int
) -> tuple[Pointers, Ints, Floats]:
    """CKRNNs of rows start..stop: the reciprocal ones among the first c of the own group and the first d of others.

    intra, inter: (N, k) lists with their distances. Returns (indptr (B + 1,), members (nnz,), their distances (nnz,)).
    """
    indptr = np.zeros(stop - start + 1, np.int64)
    members, dist, at = np.empty((stop - start) * (c + d), np.int32), np.empty((stop - start) * (c + d), np.float32), 0
    for i in range(start, stop):
        for p in range(c):
            j = intra[i, p]
            if j < 0:
                break
            if _has(intra, j, c, i):
                members[at], dist[at] = j, intra_dist[i, p]
                at += 1
        for p in range(d):
            j = inter[i, p]
            if j < 0:
                break
            if _has(inter, j, d, i):
                members[at], dist[at] = j, inter_dist[i, p]
                at += 1
        indptr[i - start + 1] = at
    return indptr, members[:at].copy(), dist[:at].copy()


@jit
def average(indptr: Pointers, members: Ints, weights: Wholes, listed: Ints, start: int, stop: int) -> Rows:
    """The mean of the sparse rows (indptr, members, weights) of each row's listed images (N, k), -1 for none.

    Sums are of integers, divided once, so they are equal in any order. Returns the same three arrays for rows
    start..stop.
    """
    n, k = listed.shape
    mark, place, total = np.full(n, -1, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    indptr_out = np.zeros(stop - start + 1, np.int64)
    room = 0
    for i in range(start, stop):
        for p in range(k):
            j = listed[i, p]
            room += indptr[j + 1] - indptr[j] if j >= 0 else 0
    members_out, weights_out = np.empty(room, np.int32), np.empty(room, np.uint32)
    at = 0
    for i in range(start, stop):
        begin, count = at, 0
        for p in range(k):
            j = listed[i, p]
            if j < 0:
                continue
            count += 1
            for e in range(indptr[j], indptr[j + 1]):
                c = members[e]
                if mark[c] != i:
                    mark[c], place[c], total[at - begin] = i, at - begin, 0
                    members_out[at] = c
                    at += 1
                total[place[c]] += np.int64(weights[e])
        for e in range(begin, at):
            weights_out[e] = np.uint32((total[e - begin] + count // 2) // count)
        indptr_out[i - start + 1] = at
    return indptr_out, members_out[:at].copy(), weights_out[:at].copy()
