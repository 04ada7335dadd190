"""Ranking by the weighted sum of the members' cosine distances, without re-ranking.

Full rows of distances come as a stream of blocks of queries.
Blocks are exact: float64 products, and a separate exact sum for each value whose rounding is in doubt.
Scores are cheaper (`Stream.facts`): float32 products decide for most images whether they rank before a right image.
Only the undecided images are measured exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ensemble.kernels import rank_counts, ranked_lists
from ensemble.kernels.device import choose
from ensemble.kernels.left_out import LeftOut
from ensemble.kernels.parallel import one_thread_products, over_rows, spans
from ensemble.neighbours.block_search import choose_block_precision, exact_rows
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.knn import NEAR_SHARE, check_lists, nearest_gallery
from ensemble.neighbours.similarity import Penalties, SimilaritySource, as_source, read_on_card
from ensemble.neighbours.without import Without, without

Block = tuple[slice, NDArray[np.float32]]
Ranked = tuple[NDArray[np.int32], NDArray[np.float32]]
Floats = NDArray[np.float32]
Pointers = NDArray[np.int64]
Pairs = Callable[[Pointers, NDArray[np.int32]], Floats]


@dataclass(frozen=True)
class Near:
    """Approximate distances of some queries to the whole gallery.

    Attributes:
        dist: (b, G) float32.
        bound: (b,) bound on the error of each row.
        pairs: function of indptr (b + 1,) and gallery images (nnz,); returns their exact distances (nnz,) float32.
    """

    dist: Floats
    bound: Floats
    pairs: Pairs


class Rows(Protocol):
    """Rows of distances from queries to the whole gallery: the source of a stream."""

    @property
    def n_query(self) -> int: ...

    @property
    def n_gallery(self) -> int: ...

    def exact(self, rows: slice) -> Floats:
        """Exact distances of some queries, (b, G)."""

    def near(self, rows: slice) -> Near:
        """Approximate distances of some queries, faster than `exact`."""


class Stream:
    """Distances of every query to the whole gallery, in blocks: (slice of queries, (b, G) float32).

    A stream can be read once: by iteration, or by one of its methods.
    """

    def __init__(self, source: Rows, block: int, n_jobs: int) -> None:
        self.source, self.n_jobs = source, n_jobs
        self.n_query, self.n_gallery = source.n_query, source.n_gallery
        self.spans = iter(spans(source.n_query, block))

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Block:
        rows = next(self.spans)
        return rows, self.source.exact(rows)

    def summed(self, others: Sequence[Stream], weights: Sequence[float], block: int = 256) -> Stream:
        """The weighted sum of this stream and others of the same queries and gallery.

        Args:
            others: the other streams.
            weights: this stream's weight first.
            block: most rows at a time.

        Raises:
            ValueError: the queries or galleries differ.
        """
        if any((s.n_query, s.n_gallery) != (self.n_query, self.n_gallery) for s in others):
            raise ValueError("the streams hold different queries or galleries")
        parts = tuple(stream.source for stream in (self, *others))
        return Stream(Summed(parts, tuple(weights)), block, self.n_jobs)

    def facts(
        self,
        group: Pointers,
        cams: Pointers,
        pid_ptr: Pointers,
        by_pid: Pointers,
        gallery_cams: Pointers,
        junk: bool,
        top_k: int,
    ) -> rank_counts.Facts:
        """`rank_counts.from_distances` of the exact rows of all queries."""
        gallery = pid_ptr, by_pid, gallery_cams, junk, top_k
        parts: list[rank_counts.Facts] = []
        for rows in self.spans:
            near, groups = self.source.near(rows), group[rows]
            known = np.where(groups >= 0, groups, 0)
            size = np.where(groups >= 0, pid_ptr[known + 1] - pid_ptr[known], 0)
            right_ptr = np.concatenate([[0], np.cumsum(size)])
            right = np.concatenate([by_pid[pid_ptr[g] : pid_ptr[g + 1]] for g in groups if g >= 0] or [by_pid[:0]])
            right = right.astype(np.int32)
            exact = near.pairs(right_ptr, right)

            def doubtful(part: slice, near: Near = near, ptr: Pointers = right_ptr, exact: Floats = exact) -> Any:
                own = ptr[part.start : part.stop + 1]
                return rank_counts.doubtful(near.dist[part], near.bound[part], own - own[0], exact[own[0] : own[-1]])

            found = over_rows(doubtful, len(groups), self.n_jobs)
            ptr = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(p) for p, _ in found]))])
            index = np.concatenate([i for _, i in found])
            near.dist[np.repeat(np.arange(len(groups)), np.diff(ptr)), index] = near.pairs(ptr, index)

            def count(part: slice, near: Near = near, rows: slice = rows) -> rank_counts.Facts:
                own = slice(rows.start + part.start, rows.start + part.stop)
                return rank_counts.from_distances(near.dist[part], group[own], cams[own], *gallery)

            parts += over_rows(count, len(groups), self.n_jobs)
        total, found_, first, last = (np.concatenate(column) for column in zip(*parts, strict=True))
        return total, found_, first, last

    def ranked(self, top_k: int | None) -> Ranked:
        """Sort each row, ties by lower index, and return the first top_k (None: all): order, dist."""
        return sorted_rows(self, top_k, self.n_jobs)

    def without(self, left_out: LeftOut, block: int = 256) -> Stream:
        """The same rows, with infinity where an image is left out."""
        return Stream(Without(self.source, left_out), block, self.n_jobs)


@dataclass(frozen=True)
class Plain:
    """Rows of the summed distance.

    Attributes:
        bound: error bound of the float32 distances.
    """

    feats: SimilaritySource
    n_query: int
    bound: float
    n_jobs: int

    @property
    def n_gallery(self) -> int:
        return self.feats.n - self.n_query

    def exact(self, rows: slice) -> Floats:
        """See `Rows`."""
        return exact_rows(self.feats, rows, slice(self.n_query, self.feats.n), self.n_jobs)

    def near(self, rows: slice) -> Near:
        """See `Rows`."""
        ids = np.arange(rows.start, rows.stop)

        def pairs(indptr: Pointers, index: NDArray[np.int32]) -> Floats:
            return exact_pairs(self.feats, ids, indptr, index + np.int32(self.n_query), self.n_jobs)

        bound = np.full(len(ids), self.bound, np.float32)
        return Near(distances(self.feats, rows, self.n_query, self.n_jobs), bound, pairs)


@dataclass(frozen=True)
class Summed:
    """Rows that are a weighted sum of other rows, added in float32 in the order of the members."""

    parts: tuple[Rows, ...]
    weights: tuple[float, ...]

    @property
    def n_query(self) -> int:
        return self.parts[0].n_query

    @property
    def n_gallery(self) -> int:
        return self.parts[0].n_gallery

    def exact(self, rows: slice) -> Floats:
        """See `Rows`."""
        return self._sum([part.exact(rows) for part in self.parts])

    def near(self, rows: slice) -> Near:
        """See `Rows`."""
        near = [part.near(rows) for part in self.parts]
        dist = self._sum([one.dist for one in near])
        rounding = np.abs(dist).max(initial=0, where=np.isfinite(dist)) * np.float32(4 * len(near) * 2.0**-24)

        def pairs(indptr: Pointers, index: NDArray[np.int32]) -> Floats:
            return self._sum([one.pairs(indptr, index) for one in near])

        bound = sum(w * one.bound for w, one in zip(self.weights, near, strict=True)) + rounding
        return Near(dist, np.asarray(bound, np.float32), pairs)

    def _sum(self, parts: Sequence[Floats]) -> Floats:
        out = np.zeros_like(parts[0])
        for weight, part in zip(self.weights, parts, strict=True):
            out += np.float32(weight) * part
        return out


def blocks(
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    left_out: LeftOut | None = None,
    device: str = "auto",
    n_jobs: int = -1,
    block: int = 256,
) -> Iterator[Block]:
    """Stream the distances sum_m w_m (1 - cos) as pairs (slice of query rows, (b, G) float32).

    Arguments and errors as in `ensemble.neighbours.nearest`; `block`: most rows at a time on a CPU. Images that
    are left out are at infinity.
    Blocks made on a CUDA device stay there for `ensemble.metrics.evaluate_blocks` and `ranked`. Iteration copies them
    to the host.
    """
    chosen = choose(device, feats)
    source = as_source(feats, weights, penalties, n_jobs, chosen)
    check_lists(n_query, source.n, None)
    if read_on_card(source, chosen):
        from ensemble.neighbours import on_card

        there = on_card.plain(source, n_query)
        return there.without(left_out) if left_out else there
    stream = Stream(Plain(source, n_query, product_error(source, n_jobs), n_jobs), block, n_jobs)
    return stream.without(left_out, block) if left_out else stream


def product_error(source: SimilaritySource, n_jobs: int) -> float:
    """Bound on the error of `distances`, with the subtraction."""
    return choose_block_precision(source, "float32", n_jobs).slack / 2 + 4 * 2.0**-24 * source.total


def distances(source: SimilaritySource, rows: slice, n_query: int, n_jobs: int) -> Floats:
    """Distances of some queries to the whole gallery by float32 products, (b, G), columns split over threads."""
    out = np.empty((rows.stop - rows.start, source.n - n_query), np.float32)

    def work(cols: slice) -> None:
        part = np.subtract(np.float32(source.total), source.block(rows, cols))
        np.maximum(part, 0, out=out[:, cols.start - n_query : cols.stop - n_query])

    with one_thread_products():
        over_rows(work, source.n, n_jobs, start=n_query, most=4096)
    return out


def exact_pairs(
    source: SimilaritySource, ids: Pointers, indptr: Pointers, index: NDArray[np.int32], n_jobs: int
) -> Floats:
    """`source.pairs`, rows split over threads."""

    def work(part: slice) -> Floats:
        own = indptr[part.start : part.stop + 1]
        return source.pairs(ids[part], own - own[0], index[own[0] : own[-1]])

    return np.concatenate(over_rows(work, len(ids), n_jobs))


def rank(
    feats: NDArray | Sequence[NDArray | DistanceMatrices] | SimilaritySource,
    n_query: int,
    *,
    weights: Sequence[float] | None = None,
    penalties: Penalties | None = None,
    top_k: int | None = None,
    left_out: LeftOut | None = None,
    device: str = "auto",
    n_jobs: int = -1,
) -> Ranked:
    """Rank the gallery for each query, nearest first, ties by lower index.

    Args:
        top_k: list length; None ranks the whole gallery.
        left_out: the images to leave out. Lists that have fewer images than the longest one end in -1.

    Other arguments and errors as in `ensemble.neighbours.nearest`.

    Returns:
        order (Q, K) int32 in 0..G-1, dist (Q, K) float32.
    """
    chosen = choose(device, feats)
    source = as_source(feats, weights, penalties, n_jobs, chosen)
    check_lists(n_query, source.n, top_k)
    wide = None if top_k is None else top_k + (left_out.most if left_out else 0)
    if wide is None or wide > NEAR_SHARE * (source.n - n_query):
        return ranked(blocks(source, n_query, device=chosen, n_jobs=n_jobs), top_k, n_jobs, left_out)
    order, dist = nearest_gallery(source, n_query, wide, device=chosen, n_jobs=n_jobs)
    return left_out.drop(order, dist, top_k) if left_out else (order, dist)


def ranked(stream: Iterable[Block], top_k: int | None, n_jobs: int = -1, left_out: LeftOut | None = None) -> Ranked:
    """Sort streamed distances, ties by lower index, and return the first top_k (None: all): order, dist.

    left_out: as in `rank`.
    """
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}: want at least 1, or None for the whole gallery")
    if left_out is not None:
        order, dist = ranked(without(stream, left_out), left_out.length(top_k), n_jobs)
        return np.where(np.isinf(dist), np.int32(-1), order), dist
    there = getattr(stream, "ranked", None)
    return there(top_k) if there is not None else sorted_rows(stream, top_k, n_jobs)


def sorted_rows(stream: Iterable[Block], top_k: int | None, n_jobs: int) -> Ranked:
    """`ranked` for blocks in host memory."""
    orders, dists = [], []
    for _, dist in stream:
        keep = dist.shape[1] if top_k is None else min(top_k, dist.shape[1])
        for order, value in over_rows(_sorter(dist, keep), len(dist), n_jobs):
            orders.append(order)
            dists.append(value)
    return np.concatenate(orders), np.concatenate(dists)


def _sorter(dist: Floats, keep: int) -> Callable[[slice], Ranked]:
    return lambda rows: ranked_lists.smallest(dist[rows], keep)


def summed(streams: Sequence[Iterable[Block]], weights: Sequence[float]) -> Iterator[Block]:
    """The weighted sum of several streams of the same queries, such as one re-ranked stream per member.

    Raises:
        ValueError: not one weight per stream, or streams with different blocks.
    """
    if len(streams) != len(weights) or not streams:
        raise ValueError(f"{len(weights)} weights for {len(streams)} streams: give one per stream, and at least one")
    kinds = {type(stream) for stream in streams}
    together = getattr(streams[0], "summed", None)
    if together is not None and len(kinds) == 1:
        return together(streams[1:], weights)
    return _summed(streams, weights)


def _summed(streams: Sequence[Iterable[Block]], weights: Sequence[float]) -> Iterator[Block]:
    for parts in zip(*streams, strict=True):
        if any(rows != parts[0][0] or dist.shape != parts[0][1].shape for rows, dist in parts):
            raise ValueError("the streams hold different queries or galleries")
        yield parts[0][0], sum(np.float32(w) * dist for w, (_, dist) in zip(weights, parts, strict=True))
