"""k-reciprocal re-ranking on a CUDA device, with lists and features on the device.

The steps are those of `ensemble/rerank/k_reciprocal_encoding.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ensemble.kernels.cuda import card
from ensemble.kernels.cuda.features import CardFeatures
from ensemble.kernels.cuda.search import EXACT_BYTES, Lists, sorted_rows, split
from ensemble.kernels.reciprocal_sets import UNIT

SCRATCH_BYTES = 1 << 30
SET_ROOM, GAP_ROOM, EXTRA_ROOM = 64, 32, 64  # guesses per row or query; too small a guess costs a second pass
ROW_THREADS = 64  # per block, for one row's set


class Setting(Protocol):
    """k1, k2, lam and power, as `ensemble.rerank.KReciprocal` checks them."""

    @property
    def k1(self) -> int: ...

    @property
    def k2(self) -> int: ...

    @property
    def lam(self) -> float: ...

    @property
    def power(self) -> int: ...


@dataclass(frozen=True)
class Encoded:
    """Rows of V: row i holds members[start[i]:start[i] + size[i]] with weights in units of 2^-30."""

    start: Any
    size: Any
    members: Any
    weights: Any

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Arguments for kernels."""
        return self.start, self.size, self.members, self.weights

    def take(self, rows: Any) -> Encoded:
        """These rows, in this order."""
        return Encoded(self.start[rows], self.size[rows], self.members, self.weights)


def encode(lists: Lists, feats: CardFeatures, setting: Setting) -> Encoded:
    """The weighted expanded reciprocal sets, V, after query expansion (the paper's eqs. 4, 7 and 11)."""
    n, xp = feats.n, card.xp
    k2 = min(n, setting.k2)
    start, size, members, dist, largest = _expanded(lists, feats, setting)
    weights = xp.empty(len(members), np.uint32)
    settings = lists.farthest, setting.power, UNIT / k2
    card.launch("weigh", n, start, size, dist, *settings, weights, threads=ROW_THREADS)
    if k2 == 1:
        return Encoded(start, size, members, weights)
    room = int(size[lists.order[:, :k2]].sum())
    out = xp.empty(n, np.int64), xp.empty(n, np.int32), xp.empty(room, np.int32), xp.empty(room, np.uint32)
    slots, total = _slots(min(n, k2 * largest)), xp.zeros(1, np.uint64)
    for first, count, scratch, shared in _turns(n, 8 * slots, np.int32):
        rows = first, lists.order, lists.order.shape[1], k2, start, size, members, weights, slots, scratch, total
        card.launch("average", count, *rows, *out, shared=shared, threads=ROW_THREADS)
    return Encoded(*out)


def _expanded(lists: Lists, feats: CardFeatures, setting: Setting) -> tuple[Any, Any, Any, Any, int]:
    """Start and size of every row's set, the members and their distances, and the largest set's size."""
    n, xp, order = feats.n, card.xp, lists.order
    stride, k = order.shape[1], order.shape[1]
    counts = min(n, setting.k1 + 1), min(n, round(setting.k1 / 2) + 1)
    sets: list[Any] = []
    for c in counts:
        members, size = xp.empty((n, c), np.int32), xp.empty(n, np.int32)
        card.launch("reciprocal", n, order, stride, c, members, size, threads=32)
        sets += [members, size, c]
    slots = _slots(min(n, k + counts[0] * counts[1]))
    room, gap_room = n * SET_ROOM, n * GAP_ROOM
    while True:
        totals, start, size = xp.zeros(3, np.uint64), xp.empty(n, np.int64), xp.empty(n, np.int32)
        members, dist = xp.empty(room, np.int32), xp.empty(room, np.float32)
        gaps = xp.empty(gap_room, np.int32), xp.empty(gap_room, np.int32), xp.empty(gap_room, np.int64)
        for first, count, scratch, shared in _turns(n, 8 * slots + 4 * counts[0], np.int32):
            given = first, order, lists.dist, stride, k, *sets, slots, scratch
            out = totals, room, gap_room, start, size, members, dist, *gaps
            card.launch("expand", count, *given, *out, shared=shared, threads=ROW_THREADS)
        held, missing, largest = (int(x) for x in card.download(totals))
        if held <= room and missing <= gap_room:
            break
        room, gap_room = max(room, held), max(gap_room, missing)
    feats.fill(gaps[0], gaps[1], totals[1:2], missing, gaps[2], dist)
    return start, size, members, dist, largest


@dataclass(frozen=True)
class Overlaps:
    """V, its gallery rows by column, and room in which blocks of threads add up overlaps with the whole gallery."""

    v: Encoded
    columns: tuple[Any, Any, Any]
    n_query: int
    n_gallery: int
    t: Any
    touched: Any

    @property
    def arrays(self) -> tuple[Any, ...]:
        """Arguments for kernels."""
        return *self.v.arrays, *self.columns


def overlaps(v: Encoded, n: int, n_query: int) -> Overlaps:
    """What is needed to find overlaps of queries with gallery images."""
    xp, n_gallery = card.xp, n - n_query
    counts = xp.zeros(n + 1, np.int32)
    card.launch("count_columns", n_gallery, v.start, v.size, v.members, n_query, counts[1:], threads=ROW_THREADS)
    columns = xp.cumsum(counts, dtype=np.int64)
    held = int(columns[-1])
    rows, values = xp.empty(held, np.int32), xp.empty(held, np.uint32)
    cursor = columns.astype(np.uint64)
    card.launch("fill_columns", n_gallery, *v.arrays, n_query, cursor, rows, values, threads=ROW_THREADS)
    blocks = max(1, min(n_query, card.resident_blocks() // 2, SCRATCH_BYTES // (8 * n_gallery)))
    t, touched = xp.zeros((blocks, n_gallery), np.uint32), xp.empty((blocks, n_gallery), np.int32)
    return Overlaps(v, (columns, rows, values), n_query, n_gallery, t, touched)


def first_k(
    v: Encoded, lists: Lists, near: Lists, feats: CardFeatures, n_query: int, setting: Setting, k: int
) -> tuple[Any, Any]:
    """The k nearest gallery images of each query by (1 - lam) J + lam s: order, dist (Q, k).

    near: each query's nearest gallery images, at least k; with more, little is left in doubt.
    """
    found, xp = overlaps(v, feats.n, n_query), card.xp
    listed = near.order, near.dist, near.order.shape[1], near.order.shape[1], k
    complete = near.order.shape[1] == found.n_gallery
    if setting.lam == 0:  # all that overlap with nothing are at distance 1, so the first of them by index are listed
        order = xp.zeros((n_query, k), np.int32) + xp.arange(k, dtype=np.int32)
        listed, complete = (order, xp.zeros((n_query, k), np.float32), k, k, k), True
    rest = lists.farthest, setting.power, setting.lam
    near_t, extras, most = _extras(found, listed, rest)
    start, size, query, image, t, totals, held = extras
    dist = xp.empty(max(1, held), np.float32)
    feats.fill(query, image + np.int32(n_query), totals[:1], held, None, dist)
    out = xp.empty((n_query, k), np.int32), xp.empty((n_query, k), np.float32), xp.empty(n_query, np.int32)
    wide = listed[3]
    for first, count, scratch, shared in _turns(n_query, 8 * (wide + most), np.uint64):
        given = first, *listed, near_t, start, size, image, dist, t, *rest, scratch, wide + most
        card.launch("merge_lists", count, *given, *out, shared=shared)
    doubtful = np.flatnonzero(card.download(out[2]) == 0) if not complete else np.empty(0, np.int64)
    for some in split(doubtful, EXACT_BYTES // (24 * found.n_gallery)):
        where = card.upload(some)
        rows = feats.exact(some, slice(n_query, feats.n))
        mix(found, lists, setting, rows, where)
        out[0][where], out[1][where] = sorted_rows(rows, k)
    return out[0], out[1]


def _extras(found: Overlaps, listed: tuple[Any, ...], rest: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], int]:
    """Overlaps of the listed images, those that may enter unlisted, and the most of one query."""
    n_query, xp = found.n_query, card.xp
    near_t, room = xp.empty((n_query, listed[3]), np.uint32), n_query * EXTRA_ROOM
    while True:
        totals, start, size = xp.zeros(2, np.uint64), xp.empty(n_query, np.int64), xp.empty(n_query, np.int32)
        query, image, t = xp.empty(room, np.int32), xp.empty(room, np.int32), xp.empty(room, np.uint32)
        given = n_query, found.n_gallery, *found.arrays, *listed, *rest, found.t, found.touched, near_t
        card.launch("overlap_lists", len(found.t), *given, totals, room, start, size, query, image, t, threads=256)
        held, most = (int(x) for x in card.download(totals))
        if held <= room:
            return near_t, (start, size, query, image, t, totals, held), most
        room = held


def mix(found: Overlaps, lists: Lists, setting: Setting, dist: Any, queries: Any) -> None:
    """Whole rows of distances (B, G) of some queries, (B,) int64, become the final ones in place."""
    rest = lists.farthest, setting.power, setting.lam, found.t, found.touched
    given = dist, len(dist), found.n_gallery, queries, *found.arrays, *rest
    card.launch("mixed_rows", min(len(dist), len(found.t)), *given, threads=256)


def _slots(held: int) -> int:
    """Places of a hash table for so many keys: a power of two, twice as many at least."""
    return 1 << (2 * max(1, held) - 1).bit_length()


def _turns(rows: int, need: int, dtype: type) -> Iterator[tuple[int, int, Any, int]]:
    """First row, how many, scratch, bytes of a block's own memory: at once where `need` bytes a row fit a block."""
    if need <= card.shared_memory():
        yield 0, rows, None, need
        return
    step = max(1, min(rows, SCRATCH_BYTES // need))
    scratch = card.xp.empty(step * need // np.dtype(dtype).itemsize, dtype)
    for first in range(0, rows, step):
        yield first, min(step, rows - first), scratch, 0
