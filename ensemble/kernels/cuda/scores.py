"""Full rows of distances on a CUDA device, made in blocks of queries, and sorted or counted there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels.cuda import card
from ensemble.kernels.cuda.features import CardFeatures
from ensemble.kernels.cuda.rerank import SCRATCH_BYTES, Encoded, Setting, mix, overlaps
from ensemble.kernels.cuda.search import Lists, sorted_rows

BLOCK_BYTES = 1 << 30  # of a block of rows, at 24 bytes a distance while it is made
Blocks = Iterator[tuple[slice, Any]]
Facts = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class Pairs(Protocol):
    """What is left out, as `ensemble.neighbours.LeftOut` says it."""

    def pairs(self, rows: slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows, counted from rows.start, and columns."""


class CardStream:
    """Distances of every query to the whole gallery, made in blocks on the device.

    Iteration copies them to the host as (slice of queries, (b, G) float32), like a CPU stream. `ranked` and `facts`
    leave them on the device. A stream can be read once.
    """

    def __init__(self, blocks: Blocks, n_query: int, n_gallery: int) -> None:
        self.blocks, self.n_query, self.n_gallery = blocks, n_query, n_gallery
        self.device = card.current()

    def __iter__(self) -> CardStream:
        return self

    def __next__(self) -> tuple[slice, NDArray[np.float32]]:
        with card.on(self.device):
            rows, dist = next(self.blocks)
            return rows, card.download(dist)

    def ranked(self, top_k: int | None) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Each row in order, ties by lower index, the first top_k of it (None: all): order, dist."""
        keep = self.n_gallery if top_k is None else min(top_k, self.n_gallery)
        order, dist = np.empty((self.n_query, keep), np.int32), np.empty((self.n_query, keep), np.float32)
        with card.on(self.device):
            for rows, block in self.blocks:
                found = sorted_rows(block, keep)
                order[rows], dist[rows] = (card.download(a) for a in found)
        return order, dist

    def summed(self, others: Sequence[CardStream], weights: Sequence[float]) -> CardStream:
        """The weighted sum of this stream and others of the same queries and gallery; weights: this one's first.

        Raises:
            ValueError: streams of other queries or galleries.
        """
        streams = [self, *others]
        if any((s.n_query, s.n_gallery) != (self.n_query, self.n_gallery) for s in others):
            raise ValueError("the streams hold different queries or galleries")

        def blocks() -> Blocks:
            for parts in zip(*(s.blocks for s in streams), strict=True):
                yield parts[0][0], sum(np.float32(w) * dist for w, (_, dist) in zip(weights, parts, strict=True))

        return CardStream(blocks(), self.n_query, self.n_gallery)

    def without(self, left_out: Pairs) -> CardStream:
        """The same rows, with infinity where an image is left out of the query's list."""

        def blocks() -> Blocks:
            for rows, dist in self.blocks:
                pairs = left_out.pairs(rows)
                if pairs[0].size:
                    dist[tuple(card.upload(a) for a in pairs)] = np.inf
                yield rows, dist

        return CardStream(blocks(), self.n_query, self.n_gallery)

    def facts(
        self,
        group: NDArray[np.int64],
        cams: NDArray[np.int64],
        pid_ptr: NDArray[np.int64],
        by_pid: NDArray[np.int64],
        gallery_cams: NDArray[np.int64],
        junk: bool,
        top_k: int,
    ) -> Facts:
        """What `ensemble.kernels.rank_counts.from_distances` gives, of all queries; NaN for a row with NaN."""
        with card.on(self.device):
            return self._facts(group, cams, (pid_ptr, by_pid, gallery_cams), junk, top_k)

    def _facts(
        self, group: NDArray[np.int64], cams: NDArray[np.int64], gallery: tuple[NDArray, ...], junk: bool, top_k: int
    ) -> Facts:
        xp, n = card.xp, self.n_query
        groups, cameras = card.upload(group), card.upload(cams)
        labels = tuple(card.upload(np.ascontiguousarray(a, np.int64)) for a in gallery)
        most = int(np.diff(gallery[0]).max(initial=1))
        out = xp.empty(n, np.float64), *(xp.empty(n, np.int64) for _ in range(3))
        need = 24 * most
        scratch, step = None, n
        if need > card.shared_memory():
            step = max(1, SCRATCH_BYTES // need)
            scratch = xp.empty(step * 3 * most, np.uint64)
        for rows, block in self.blocks:
            for start in range(rows.start, rows.stop, step):
                some = slice(start, min(rows.stop, start + step))
                dist = block[some.start - rows.start : some.stop - rows.start]
                given = dist, self.n_gallery, groups[some], cameras[some], *labels, junk, top_k, scratch, most
                mine = (a[some] for a in out)
                shared = 0 if scratch is not None else need
                card.launch("rank_facts", len(dist), *given, *mine, shared=shared)
        total, found, first, last = (card.download(a) for a in out)
        return total, found, first, last


def plain(feats: CardFeatures, n_query: int) -> CardStream:
    """sum_m w_m (1 - cos)."""
    return _stream(feats, n_query, lambda dist, queries: None)


def reranked(v: Encoded, lists: Lists, feats: CardFeatures, n_query: int, setting: Setting) -> CardStream:
    """(1 - lam) J + lam s."""
    found = overlaps(v, feats.n, n_query)
    return _stream(feats, n_query, lambda dist, queries: mix(found, lists, setting, dist, queries))


def _stream(feats: CardFeatures, n_query: int, turn: Callable[[Any, Any], None]) -> CardStream:
    n_gallery = feats.n - n_query

    def blocks() -> Blocks:
        step = max(1, BLOCK_BYTES // (24 * n_gallery))
        for start in range(0, n_query, step):
            rows = slice(start, min(n_query, start + step))
            ids = np.arange(rows.start, rows.stop)
            dist = feats.exact(ids, slice(n_query, feats.n))
            turn(dist, card.upload(ids))
            yield rows, dist

    return CardStream(blocks(), n_query, n_gallery)
