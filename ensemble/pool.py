"""Candidates of every image's neighbours under several weightings of the members, and a bound on all other images.

A search under one weighting, an anchor, leaves candidates, and a proof of how similar anything else can be under it.
Each member's similarity to every candidate is kept, exact, so that `ensemble/reweigh.py` can try other weights on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble.bill import default_superblock
from ensemble.kernels import lists
from ensemble.neighbours import Progress, Search
from ensemble.parallel import one_thread_products, over_rows, workers
from ensemble.search import Pools, Sides, choose_filter, runs, whole_rows
from ensemble.source import Features, source_of

LOWEST = 32
Floats = NDArray[np.float32]
Bounds = NDArray[np.float64]
Keys = list[NDArray[np.int64]]


@dataclass(frozen=True)
class Pool:
    """Candidates of N images under A anchors.

    n_query, k, top_k: what lists it serves. indptr (N + 1,), index (C,) int32: a row's candidates, ascending.
    sim (M, C) float32: each member's similarity to them. anchors (A, M).
    most, least (A, N): between these lies every similarity under the anchor to what is no candidate; near_most (A, Q):
    the first among gallery images alone. quick: sim is of float32 products, a few 1e-7 off, and no proof holds.
    """

    n_query: int
    k: int
    top_k: int
    indptr: NDArray[np.int64]
    index: NDArray[np.int32]
    sim: Floats
    anchors: Bounds
    most: Bounds
    least: Bounds
    near_most: Bounds
    quick: bool = False

    @property
    def n(self) -> int:
        return len(self.indptr) - 1

    def recall(
        self, rows: NDArray[np.int64], indptr: NDArray[np.int64], index: NDArray[np.int32], weights: Sequence[float]
    ) -> NDArray[np.float64]:
        """See `ensemble.source.Memory`."""
        asked = np.asarray(rows, np.int64), np.asarray(indptr, np.int64), np.asarray(index, np.int32)
        return lists.remembered(*asked, self.indptr, self.index, self.sim, np.array(weights, np.float64))


def features(feats: NDArray | Sequence[NDArray] | Features, n_jobs: int) -> Features:
    """What a caller gave, checked; ValueError for penalties, and for distances in the place of features."""
    source = source_of(feats, None, None, n_jobs)
    if not isinstance(source, Features) or source.penalties:
        raise ValueError("other weights are for features without penalties: distance matrices have no members")
    return source


def with_anchors(
    pool: Pool, source: Features, wanted: Sequence[Sequence[float]], n_jobs: int, progress: Progress | None
) -> Pool:
    """The pool with what searches under the wanted weightings find."""
    n = pool.n
    old = np.repeat(np.arange(n), np.diff(pool.indptr)) * n + pool.index
    found, bounds = [old], []
    for done, weights in enumerate(wanted, 1):
        keys, *bound = _under(pool, source.weighted(weights), n_jobs)
        found += keys
        bounds.append(bound)
        if progress:
            progress(done, len(wanted))
    every = distinct(np.concatenate(found))
    index, indptr = (every % n).astype(np.int32), np.searchsorted(every, np.arange(n + 1) * n)
    kept = np.searchsorted(every, old)
    fresh = np.ones(every.size, bool)
    fresh[kept] = False
    sim = np.empty((len(pool.sim), every.size), np.float32)
    sim[:, kept] = pool.sim
    pointers = np.concatenate([[0], np.cumsum(fresh)])[indptr]
    work = products if pool.quick else similarities
    sim[:, fresh] = work(source, range(len(sim)), pointers, index[fresh], n_jobs)
    most, least, near_most = (
        np.vstack([a, *b])
        for a, b in zip((pool.most, pool.least, pool.near_most), zip(*bounds, strict=True), strict=True)
    )
    anchors = np.vstack([pool.anchors, np.asarray(wanted, float)])
    return Pool(pool.n_query, pool.k, pool.top_k, indptr, index, sim, anchors, most, least, near_most, pool.quick)


def distinct(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each number once, ascending. `np.unique` hashes, which takes tens of times as long as a sort here."""
    keys.sort()
    kept = np.ones(keys.size, bool)
    np.not_equal(keys[1:], keys[:-1], out=kept[1:])
    return keys[kept]


def _under(pool: Pool, source: Features, n_jobs: int) -> tuple[Keys, Bounds, Bounds, Bounds]:
    """One anchor: its candidates as row * N + column, and what bounds the rest: most, least (N,), near_most (Q,)."""
    n, q = pool.n, pool.n_query
    chosen, k, top_k = choose_filter(source, "auto", n_jobs), min(n, 3 * pool.k), 2 * pool.top_k
    search = Search(source, k, q, top_k, chosen, n_jobs, LOWEST)
    search.all_pairs(default_superblock(n, workers(n_jobs)), None)
    slack = np.float32(chosen.slack)
    keys, most, least = _candidates(source, search.own, slack, chosen.scale**2, search.own_sides)
    near_keys, near_most, near_least = _candidates(source, search.near, slack, chosen.scale**2, search.near_sides)
    most[:q], least[:q] = np.maximum(most[:q], near_most), np.minimum(least[:q], near_least)
    return keys + near_keys, most, least, near_most


def _candidates(
    source: Features, pools: Pools, slack: np.float32, unit: float, sides: Sides
) -> tuple[Keys, Bounds, Bounds]:
    """What the pools hold, and bounds on what they do not: it was below a bar, or misjudged by half the slack."""
    (held, bar, _, top), (low_held, low_bar, _, low) = pools.flattened(slack)
    rows = np.arange(pools.rows)
    keys = [np.repeat(rows, np.maximum(h, 0)) * source.n + w for h, w in ((held, top), (low_held, low))]
    most, least = (bar.astype(np.float64) + slack / 2) / unit, -(low_bar.astype(np.float64) + slack / 2) / unit
    for run, cols in runs(np.flatnonzero((held < 0) | (low_held < 0)), sides):
        order, sim, lowest = whole_rows(source, run, pools.k, cols)
        keys.append((rows[run, None] * source.n + order)[order >= 0])
        most[run], least[run] = sim[:, -1], lowest
    return keys, most, least


def similarities(
    source: Features, members: Sequence[int], indptr: NDArray[np.int64], index: NDArray[np.int32], n_jobs: int
) -> Floats:
    """Each of these members' similarities of row i to index[indptr[i]:indptr[i + 1]]: (members, C)."""
    out = np.empty((len(members), index.size), np.float32)
    for row, m in zip(out, members, strict=True):
        alone = Features((source.members[m],), (1.0,))

        def fill(rows: slice, row: Floats = row, alone: Features = alone) -> None:
            part = slice(indptr[rows.start], indptr[rows.stop])
            pointers = indptr[rows.start : rows.stop + 1] - part.start
            row[part] = alone.pairs(np.arange(rows.start, rows.stop), pointers, index[part])

        over_rows(fill, source.n, n_jobs)
    return out


def products(
    source: Features, members: Sequence[int], indptr: NDArray[np.int64], index: NDArray[np.int32], n_jobs: int
) -> Floats:
    """The same from float32 products of whole rows: where a tenth of all pairs is asked for, in half the time."""
    out = np.empty((len(members), index.size), np.float32)
    with one_thread_products():
        for row, m in zip(out, members, strict=True):
            alone = Features((source.members[m],), (1.0,))

            def fill(rows: slice, row: Floats = row, alone: Features = alone) -> None:
                part = slice(indptr[rows.start], indptr[rows.stop])
                block = alone.block(rows, slice(0, source.n))
                row[part] = block[
                    np.repeat(np.arange(len(block)), np.diff(indptr[rows.start : rows.stop + 1])), index[part]
                ]

            over_rows(fill, source.n, n_jobs, most=256)
    return out
