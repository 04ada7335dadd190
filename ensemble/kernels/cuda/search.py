"""Neighbour search on a CUDA device: half-precision products, candidates by a proved bound, exact lists.

The same bound as on the CPU decides which pairs are measured exactly in float64, so the lists are those of
`ensemble/neighbours/block_search.py`, ties by index.
Products are made for one block of rows at a time, against all images, or against parts if the features do not fit.
A row with more candidates than its buffer holds (hundreds of copies) is computed again from exact products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import topk
from ensemble.kernels.cuda import card
from ensemble.kernels.cuda.features import CardFeatures, FeatureBlock, padded
from ensemble.kernels.error_bounds import product_bound

# Tensor cores truncate where IEEE adders round, with at least float32's digits (Fasi, Higham, Mikaitis & Pranesh 2021).
SUM_ERROR = 2.0**-22
BLOCK_BYTES = 1 << 30  # of similarities at a time, at most
BLOCK_ROWS = 4096
ALIGNED = 64  # columns of a block of similarities are a multiple of it, for the products' sake
MOST_GROUPS = 8192  # of a row's columns: their largest and least lie in a block's own memory
EXACT_BYTES = 1 << 29  # of exact products at a time
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Lists:
    """On the device: order (R, k) int32, dist (R, k), farthest (R,) float32, as of `ensemble.neighbours.Neighbours`."""

    order: Any
    dist: Any
    farthest: Any

    @classmethod
    def empty(cls, rows: int, k: int) -> Lists:
        xp = card.xp
        order, dist = xp.full((rows, k), -1, np.int32), xp.full((rows, k), np.inf, np.float32)
        return cls(order, dist, xp.full(rows, -np.inf, np.float32))


@dataclass(frozen=True)
class HalfRows:
    """A part's features in half precision: the members concatenated, each times sqrt(weight) and `scale`.

    bits: (R, D), padded with rows of zeros to a multiple of `ALIGNED`.
    """

    part: FeatureBlock
    bits: Any


class Search:
    """One search: its request, the error bound, and the lists."""

    def __init__(self, feats: CardFeatures, k: int, n_query: int, top_k: int, memory: int | None = None) -> None:
        self.feats, self.q = feats, n_query
        self.block_bytes = BLOCK_BYTES if memory is None else min(BLOCK_BYTES, memory // 4)
        self.scale = float(2.0 ** np.floor(np.log2(1024 / np.sqrt(feats.total))))
        self.own, self.near = Lists.empty(feats.n, k), Lists.empty(n_query, min(top_k, feats.n - n_query))
        self.again = card.xp.zeros(feats.n, bool)  # rows whose candidates did not fit
        self.near_again = card.xp.zeros(n_query, bool)
        self.made: dict[int, HalfRows] = {}
        lost = max(self._halved(feats.part(span))[1] for span in feats.spans)
        bound = product_bound(feats, lost**0.5 / self.scale, SUM_ERROR, feats.deviation)
        self.slack = 2.01 * bound * self.scale**2  # twice the bound on a product's error

    def _halved(self, part: FeatureBlock) -> tuple[HalfRows, float]:
        """A part in half precision, and the largest squared rounding error of a row."""
        rows, xp = part.stop - part.start, card.xp
        bits = xp.zeros((-(-rows // ALIGNED) * ALIGNED, padded([a.shape[1] for a in part.feats])), np.uint16)
        lost, at = xp.zeros(rows), 0
        for array, weight in zip(part.feats, self.feats.weights, strict=True):
            dims = array.shape[1]
            to = bits[:, at:]
            card.launch("halve", rows, array, dims, self.scale * weight**0.5, to, bits.shape[1], lost)
            at += padded([dims])
        made = HalfRows(part, bits)
        self.made = {part.start: made, **dict(list(self.made.items())[:1])}
        return made, float(lost.max())

    def _half(self, span: slice) -> HalfRows:
        return self.made.get(span.start) or self._halved(self.feats.part(span))[0]

    def run(self, rows: slice, progress: Progress | None = None) -> None:
        """Fill the lists of images rows.start..stop."""
        blocks = [(left, right) for left in self.feats.spans for right in self.feats.spans]
        blocks = [(a, b) for a, b in blocks if a.start < rows.stop and rows.start < a.stop]
        done, every = 0, len(self.feats.spans) * (rows.stop - rows.start)
        for left, right in blocks:
            mine, theirs = self._half(left), self._half(right)
            span = slice(max(rows.start, left.start), min(rows.stop, left.stop))
            width = len(theirs.bits)
            step = max(1, min(BLOCK_ROWS, self.block_bytes // (4 * width)))
            step = max(step // 128 * 128, min(step, 128))
            buffer = card.xp.empty((min(step, span.stop - span.start), width), np.float32)
            for start in range(span.start, span.stop, step):
                some = slice(start, min(span.stop, start + step))
                self._block(mine, theirs, some, buffer)
                done += some.stop - some.start
                if progress:
                    progress(done, every)
        self._crowded(rows)

    def _block(self, mine: HalfRows, theirs: HalfRows, rows: slice, buffer: Any) -> None:
        """Offer some rows all columns of a part."""
        feats, part, count = self.feats, theirs.part, rows.stop - rows.start
        sim, width = buffer[:count], part.stop - part.start
        local = slice(rows.start - mine.part.start, rows.stop - mine.part.start)
        card.half_product(mine.bits[local], theirs.bits, sim)
        for label, amount in zip(feats.labels, feats.amounts, strict=True):
            amount = amount * self.scale**2
            card.launch("penalise", count, sim, sim.shape[1], width, rows.start, part.start, label, amount)
        if self.own.order.shape[1]:
            self._take(
                mine.part, part, rows, slice(part.start, part.stop), sim, self.own, self.again, 0, part.start > 0
            )
        queries, gallery = slice(rows.start, min(rows.stop, self.q)), slice(max(part.start, self.q), part.stop)
        if self.near.order.shape[1] and queries.start < queries.stop and gallery.start < gallery.stop:
            first = part.start <= self.q
            self._take(mine.part, part, queries, gallery, sim, self.near, self.near_again, self.q, not first)

    def _take(
        self,
        left: FeatureBlock,
        right: FeatureBlock,
        rows: slice,
        cols: slice,
        sim: Any,
        lists: Lists,
        again: Any,
        base: int,
        more: bool,
    ) -> None:
        """Candidates of some rows among some columns, exactly, into their lists.

        base: the image that lists call 0. more: whether the lists hold some already.
        """
        xp, count, width, k = card.xp, rows.stop - rows.start, cols.stop - cols.start, lists.order.shape[1]
        room, low_room = topk.capacity(k), topk.LEAST_CAPACITY
        groups, floors = grouped(width, k), None
        if 8 * groups > card.shared_memory():
            again[rows] = True
            return
        if more:
            reached = np.float32(self.feats.total) - lists.dist[rows, k - 1]
            floors = reached * np.float32(self.scale**2) - np.float32(self.slack)
        where, low = xp.empty((count, room), np.int32), xp.empty((count, low_room), np.int32)
        held, low_held = xp.empty(count, np.int32), xp.empty(count, np.int32)
        values = sim[:, cols.start - right.start :]
        tops = floors, room, low_room, where, held, low, low_held
        settings = sim.shape[1], width, groups, min(k, width), self.slack
        card.launch("select_rows", count, values, *settings, *tops, shared=8 * groups)
        again[rows] |= xp.minimum(held, low_held) < 0
        tables = self.feats.of(left, right)
        places = rows.start - left.start, cols.start - right.start, rows.start, cols.start
        dists, low_dists = xp.empty(where.shape, np.float32), xp.empty(low.shape, np.float32)
        card.launch("rescore", count, *tables, *places, where, held, room, dists)
        card.launch("rescore", count, *tables, *places, low, low_held, low_room, low_dists)
        needs = 8 * (room + k)
        scratch = xp.empty((count, room + k), np.uint64) if needs > card.shared_memory() else None
        mine = lists.order[rows], lists.dist[rows], lists.order.shape[1], lists.farthest[rows]
        found = where, dists, held, room, low_dists, low_held, low_room, cols.start - base, more, k
        shared = 0 if scratch is not None else needs
        card.launch("keep_best", count, *found, *mine, scratch, room + k, shared=shared)

    def _crowded(self, rows: slice) -> None:
        """Compute rows with too many candidates again, from exact products."""
        every = slice(0, self.feats.n), slice(self.q, self.feats.n)
        for lists, again, cols in ((self.own, self.again, every[0]), (self.near, self.near_again, every[1])):
            if not lists.order.shape[1]:
                continue
            ids = np.flatnonzero(card.download(again[rows])) + rows.start
            for some in split(ids, EXACT_BYTES // (24 * (cols.stop - cols.start))):
                exact, where = self.feats.exact(some, cols), card.upload(some)
                lists.order[where], lists.dist[where] = sorted_rows(exact, lists.order.shape[1])
                lists.farthest[where] = exact.max(axis=1)


def grouped(width: int, k: int) -> int:
    """The number of groups of a row's columns: several per each of the k, with at most 32 columns if possible."""
    groups = width
    while groups > MOST_GROUPS or (groups > 16 * k and width < 32 * groups):
        groups = -(-groups // 2)
    groups = max(groups, min(k, width))
    return min(width, -(-groups // card.THREADS) * card.THREADS)


def split(ids: NDArray[np.int64], most: int) -> list[NDArray[np.int64]]:
    """Some rows at a time."""
    most = max(1, most)
    return [ids[a : a + most] for a in range(0, len(ids), most)]


def sorted_rows(dist: Any, k: int) -> tuple[Any, Any]:
    """The first k of whole rows (B, C), nearest first, ties by lower index: order, dist (B, k)."""
    xp, (count, width) = card.xp, dist.shape
    keys = xp.empty((count, width), np.uint64)
    card.launch("row_keys", count, dist, width, keys)
    keys = xp.sort(keys, axis=1)
    k = min(k, width)
    order, out = xp.empty((count, k), np.int32), xp.empty((count, k), np.float32)
    card.launch("split_keys", count, keys, width, k, order, out)
    return order, out
