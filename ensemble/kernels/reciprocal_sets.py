"""Set operations of k-reciprocal re-ranking on the CPU (Zhong, Zheng, Cao & Li, CVPR 2017), for a range of rows.

As sparse algebra: A is the N x N 0/1 matrix of the k1 + 1 nearest, and A_h that of the half sets.
R = A o A^T, R_h = A_h o A_h^T, inter = R o (R R_h^T), E = [inter > 2/3 |R_h|].
The expanded sets are the pattern of R + E R_h. With P the first-k2 matrix divided by k2, query expansion is P V.
Each function returns arrays for rows start..stop only.

Weights are integers in units of 2^-30, so their sums are equal in any order and on any device.
"""

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.compile import jit
from ensemble.kernels.topk import Floats, Ints

Pointers = NDArray[np.int64]
Wholes = NDArray[np.uint32]
Rows = tuple[Pointers, Ints, Wholes]
UNIT = 2.0**30


@jit
def reciprocal(order: Ints, c: int, start: int, stop: int) -> tuple[Ints, Ints]:
    """Each row's c-reciprocal neighbours: the j among its first c that have i among theirs.

    Returns members (stop - start, c) int32 in the list's order, and the number of valid ones (stop - start,).
    """
    members = np.empty((stop - start, c), np.int32)
    size = np.zeros(stop - start, np.int32)
    for i in range(start, stop):
        for p in range(c):
            j = order[i, p]
            for q in range(c):
                if order[j, q] == i:
                    members[i - start, size[i - start]] = j
                    size[i - start] += 1
                    break
    return members, size


@jit
def expanded(full: Ints, full_size: Ints, half: Ints, half_size: Ints, start: int, stop: int) -> tuple[Pointers, Ints]:
    """Reciprocal sets, expanded by the half sets of which more than two thirds are in them.

    Returns (indptr (B + 1,) int64, members (nnz,) int32), the set's own members first.
    """
    n = full.shape[0]
    mark = np.full(n, -1, np.int64)
    bound = min(n, full.shape[1] * (1 + half.shape[1]))
    out = np.empty((stop - start) * bound, np.int32)
    indptr = np.zeros(stop - start + 1, np.int64)
    at = 0
    for i in range(start, stop):
        for p in range(full_size[i]):
            mark[full[i, p]] = 2 * i
            out[at] = full[i, p]
            at += 1
        for p in range(full_size[i]):
            j = full[i, p]
            shared = 0
            for q in range(half_size[j]):
                if mark[half[j, q]] == 2 * i:
                    shared += 1
            if 3 * shared > 2 * half_size[j]:
                for q in range(half_size[j]):
                    c = half[j, q]
                    if mark[c] < 2 * i:
                        mark[c] = 2 * i + 1
                        out[at] = c
                        at += 1
        indptr[i - start + 1] = at
    return indptr, out[:at].copy()


@jit
def known(indptr: Pointers, members: Ints, order: Ints, dist: Floats, start: int, stop: int) -> Floats:
    """Distances of the members that are in the row's own list; NaN for the others. Shapes as in `expanded`."""
    n, k = order.shape
    mark = np.full(n, -1, np.int64)
    place = np.empty(n, np.int32)
    out = np.empty(members.size, np.float32)
    for i in range(start, stop):
        for p in range(k):
            mark[order[i, p]] = i
            place[order[i, p]] = p
        for e in range(indptr[i - start], indptr[i - start + 1]):
            out[e] = dist[i, place[members[e]]] if mark[members[e]] == i else np.nan
    return out


@jit
def weighed(indptr: Pointers, dist: Floats, farthest: Floats, power: int, unit: float) -> Wholes:
    """Weights of the members of some rows: exp(-s) over the row's sum, times unit, rounded: (nnz,) uint32.

    dist: (nnz,) distances. farthest: (B,) of each row. s = (dist / farthest)^power.
    exp(1/2 - s) is computed by its series, for s from 0 to 1 with error below 1.3e-11. It needs only sums and products,
    which all devices round alike.
    """
    out = np.empty(dist.size, np.uint32)
    whole = np.empty(dist.size, np.int64)
    for i in range(indptr.size - 1):
        row = 0
        for e in range(indptr[i], indptr[i + 1]):
            s = np.float32(0)
            if farthest[i] > 0:
                s = dist[e] / farthest[i]
                s = s if power == 1 else s * s
            x = 0.5 - np.float64(s)
            p = 1.0 / 3628800.0
            p = p * x + 1.0 / 362880.0
            p = p * x + 1.0 / 40320.0
            p = p * x + 1.0 / 5040.0
            p = p * x + 1.0 / 720.0
            p = p * x + 1.0 / 120.0
            p = p * x + 1.0 / 24.0
            p = p * x + 1.0 / 6.0
            p = p * x + 0.5
            p = p * x + 1.0
            whole[e] = np.int64((p * x + 1.0) * 4294967296.0 + 0.5)
            row += whole[e]
        for e in range(indptr[i], indptr[i + 1]):
            out[e] = np.uint32(np.float64(whole[e]) * unit / np.float64(row) + 0.5)
    return out


@jit
def average(indptr: Pointers, members: Ints, weights: Wholes, order: Ints, k2: int, start: int, stop: int) -> Rows:
    """The sum of the sparse rows (indptr, members, weights) of each row's first k2 neighbours, itself included.

    weights: already divided by k2. Returns the same three arrays for rows start..stop.
    """
    n = order.shape[0]
    mark = np.full(n, -1, np.int64)
    place = np.empty(n, np.int64)
    indptr_out = np.zeros(stop - start + 1, np.int64)
    room = 0
    for i in range(start, stop):
        for p in range(k2):
            room += indptr[order[i, p] + 1] - indptr[order[i, p]]
    members_out = np.empty(room, np.int32)
    weights_out = np.empty(room, np.uint32)
    at = 0
    for i in range(start, stop):
        for p in range(k2):
            j = order[i, p]
            for e in range(indptr[j], indptr[j + 1]):
                c = members[e]
                if mark[c] != i:
                    mark[c] = i
                    place[c] = at
                    members_out[at] = c
                    weights_out[at] = 0
                    at += 1
                weights_out[place[c]] += weights[e]
        indptr_out[i - start + 1] = at
    return indptr_out, members_out[:at].copy(), weights_out[:at].copy()


@jit
def inverted(indptr: Pointers, members: Ints, weights: Wholes, first: int) -> Rows:
    """Columns of the sparse rows from `first` on: for each c the rows i - first with V(i, c) > 0, ascending."""
    n = indptr.size - 1
    start = np.zeros(n + 1, np.int64)
    for e in range(indptr[first], indptr[n]):
        start[members[e] + 1] += 1
    for c in range(n):
        start[c + 1] += start[c]
    fill = start[:-1].copy()
    rows = np.empty(start[n], np.int32)
    value = np.empty(start[n], np.uint32)
    for i in range(first, n):
        for e in range(indptr[i], indptr[i + 1]):
            c = members[e]
            rows[fill[c]] = i - first
            value[fill[c]] = weights[e]
            fill[c] += 1
    return start, rows, value


@jit
def overlap(
    indptr: Pointers,
    members: Ints,
    weights: Wholes,
    inv_start: Pointers,
    inv_rows: Ints,
    inv_value: Wholes,
    n_gallery: int,
    start: int,
    stop: int,
) -> tuple[Pointers, Ints, Floats]:
    """t = sum_c min(V(q, c), V(g, c)) of queries start..stop with every gallery image for which it is not zero.

    Returns (indptr (B + 1,), gallery (nnz,) int32, t (nnz,) float32, 1 for equal rows).
    """
    t = np.zeros(n_gallery, np.uint32)
    touched = np.empty(n_gallery, np.int32)
    out_ptr = np.zeros(stop - start + 1, np.int64)
    gallery = np.empty(1024, np.int32)
    value = np.empty(1024, np.float32)
    at = 0
    for q in range(start, stop):
        count = 0
        for e in range(indptr[q], indptr[q + 1]):
            c, v = members[e], weights[e]
            for f in range(inv_start[c], inv_start[c + 1]):
                g, shared = inv_rows[f], min(v, inv_value[f])
                if shared == 0:
                    continue
                if t[g] == 0:
                    touched[count] = g
                    count += 1
                t[g] += shared
        if at + count > gallery.size:
            grown = max(2 * gallery.size, at + count)
            gallery_new, value_new = np.empty(grown, np.int32), np.empty(grown, np.float32)
            gallery_new[:at], value_new[:at] = gallery[:at], value[:at]
            gallery, value = gallery_new, value_new
        for p in range(count):
            gallery[at + p] = touched[p]
            value[at + p] = np.float32(t[touched[p]]) * np.float32(1 / UNIT)
            t[touched[p]] = 0
        at += count
        out_ptr[q - start + 1] = at
    return out_ptr, gallery[:at].copy(), value[:at].copy()
