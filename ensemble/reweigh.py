"""Neighbours under other member weights, without a new search: a pool of candidates, and bounds on all the rest.

A search under a few weightings, the anchors, leaves for each image candidates, and a proof of how similar anything else
can be under that anchor. Each member's similarity to every candidate is kept, so that other weights w cost a weighted
sum a candidate. What is no candidate is bounded: where a is an anchor and each member alone is one too, for any c >= 0

    <w, s> = c <a, s> + <w - c a, s> <= c most(a) + sum_m max(0, w_m - c a_m) most(m) - max(0, c a_m - w_m) least(m),

and a list whose last entry is above that is proved to be exact (the threshold algorithm of Fagin, Lotem & Naor, PODS
2001, is the case c = 0). Rows that are not proved are searched again, or named. Weights near an anchor's are mostly
proved; far ones become anchors themselves (`extended`). A member added costs the search of that member alone.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ensemble import neighbours
from ensemble.kernels import dots, lists
from ensemble.neighbours import Neighbours, Progress, check_lists
from ensemble.parallel import one_thread_products, over_rows
from ensemble.pool import Bounds, Floats, Pool, features, similarities, with_anchors
from ensemble.search import choose_filter
from ensemble.source import Features, checked_weights

ROUNDING = 1e-6
AGAIN = 0.1  # a larger share of rows not proved is searched as a whole


def gather(
    feats: NDArray | Sequence[NDArray] | Features,
    k: int,
    n_query: int,
    top_k: int,
    *,
    anchors: Sequence[Sequence[float]] | None = None,
    quick: bool = False,
    n_jobs: int = -1,
    progress: Progress | None = None,
) -> Pool:
    """Search under each anchor, and keep what other weights may need: the cost of as many searches, and more.

    Args:
        feats, n_jobs: as `neighbours.nearest`'s; on the CPU, without penalties.
        k, n_query, top_k: the lists to serve: k nearest of all, each query's top_k in the gallery.
        anchors: (A, M) weightings. Each member alone is always one; None adds equal weights.
        quick: similarities a few 1e-7 off, in less time: what `nearest` says is proved is then nearly so.
        progress: called with anchors done and anchors in all.

    Raises:
        ValueError: bad features, weights or sizes; penalties, or distances in the place of features.
    """
    source = features(feats, n_jobs)
    check_lists(n_query, source.n, top_k)
    if k < 1:
        raise ValueError(f"k is {k}: want at least 1")
    members, n = len(source.members), source.n
    wanted = [*np.eye(members), *([np.ones(members)] if anchors is None else anchors)]
    sizes = {"most": (0, n), "least": (0, n), "near_most": (0, n_query), "anchors": (0, members)}
    pool = Pool(
        n_query, min(k, n), min(top_k, n - n_query), np.zeros(n + 1, np.int64), np.empty(0, np.int32),
        np.empty((members, 0), np.float32), quick=quick, **{name: np.empty(shape) for name, shape in sizes.items()},
    )  # fmt: skip
    return with_anchors(pool, source, wanted, n_jobs, progress)


def extended(
    pool: Pool, feats: NDArray | Sequence[NDArray] | Features, weights: Sequence[float], *, n_jobs: int = -1
) -> Pool:
    """A pool with one more anchor, or with one more member.

    Where feats hold one member more than the pool, the last, its search alone is made for it: weights that are zero
    but for that member are the natural anchor. The other arguments are as `gather`'s.
    """
    source = features(feats, n_jobs)
    if len(source.members) == len(pool.sim) + 1:
        alone = np.eye(len(source.members))[-1]
        wanted = [alone] if np.array_equal(np.asarray(weights, float), alone) else [alone, weights]
        anchors = np.pad(pool.anchors, ((0, 0), (0, 1)))
        sim = np.vstack([pool.sim, similarities(source, [-1], pool.indptr, pool.index, n_jobs)])
        pool = Pool(**vars(pool) | {"anchors": anchors, "sim": sim})
    else:
        wanted = [weights]
    if (source.n, len(source.members)) != (pool.n, len(pool.sim)):
        raise ValueError(
            f"features of {source.n} images by {len(source.members)} members; "
            f"this pool is of {pool.n} by {len(pool.sim)}, and takes one member more at a time"
        )
    return with_anchors(pool, source, wanted, n_jobs, None)


def remembering(pool: Pool, feats: NDArray | Sequence[NDArray] | Features, weights: Sequence[float]) -> Features:
    """The features under these weights, for `ensemble.rerank`: it reads what the pool keeps, and computes the rest."""
    return replace(features(feats, -1).weighted(weights), memory=pool)


def nearest(
    pool: Pool, weights: Sequence[float], feats: NDArray | Sequence[NDArray] | Features | None = None, n_jobs: int = -1
) -> tuple[Neighbours, NDArray[np.bool_]]:
    """Neighbours under these weights, and which rows (N,) are proved to be exact.

    With the features, rows that are not are searched again, and all of it is exact (similarities to 1e-6 of the sum of
    the weights); without, they hold the best of the candidates, which are seldom wrong.
    """
    w = np.array(checked_weights(weights, len(pool.sim)))
    n, q, total = pool.n, pool.n_query, float(w.sum())
    most, least, near_most = _bounds(pool, w)
    own = _chosen(pool, w, pool.k, slice(0, n), 0, n_jobs)
    near = _chosen(pool, w, pool.top_k, slice(0, q), q, n_jobs)
    proved = (own[1][:, -1] > most + ROUNDING * total) & (own[2] <= least + ROUNDING * total)
    proved[:q] &= near[1][:, -1] > near_most + ROUNDING * total
    if feats is not None and not proved.all():
        source = replace(features(feats, n_jobs).weighted(weights), memory=None)
        if (~proved).mean() > AGAIN:
            found = neighbours.nearest(
                source, pool.k, n_query=q, top_k=pool.top_k, near_share=1, device="cpu", n_jobs=n_jobs
            )
            return found, np.ones(n, bool)
        _search_again(source, np.flatnonzero(~proved), q, own, near, n_jobs)
        proved[:] = True
    order, sim, lowest = own
    return Neighbours(order, sim, lowest, total, near[0] - np.int32(q), near[1]), proved


def _bounds(pool: Pool, w: Bounds) -> tuple[Bounds, Bounds, Bounds]:
    """For every row the least upper and the greatest lower bound under w that the anchors prove: see the head."""
    alone = [int(np.flatnonzero((pool.anchors == unit).all(axis=1))[0]) for unit in np.eye(w.size)]
    most, least = np.full(pool.n, np.inf), np.full(pool.n, -np.inf)
    near_most = np.full(pool.n_query, np.inf)
    for a, anchor in enumerate(pool.anchors):
        for c in {0.0} | {float(x) for x in w[anchor > 0] / anchor[anchor > 0]}:
            rest = w - c * anchor
            above = [(c, a), *((x, m) for x, m in zip(rest, alone, strict=True) if x > 0)]
            below = [(x, m) for x, m in zip(rest, alone, strict=True) if x < 0]

            def combined(up: Bounds, down: Bounds, above: list = above, below: list = below) -> Bounds:
                size = down.shape[1] if up.shape[1] > down.shape[1] else up.shape[1]
                terms = [x * up[at] for x, at in above if x] + [x * down[at, :size] for x, at in below]
                return np.sum(terms, axis=0)

            most = np.minimum(most, combined(pool.most, pool.least))
            least = np.maximum(least, combined(pool.least, pool.most))
            near_most = np.minimum(near_most, combined(pool.near_most, pool.least))
    return most, least, near_most


def _chosen(
    pool: Pool, w: Bounds, k: int, rows: slice, first: int, n_jobs: int
) -> tuple[NDArray[np.int32], Floats, Floats]:
    """The k best candidates of these rows among images first.., and their least similarity to any candidate."""

    def work(part: slice) -> tuple[NDArray[np.int32], Floats, Floats]:
        return lists.weighed(pool.indptr, pool.index, pool.sim, w, k, first, part.start, part.stop)

    order, sim, least = zip(*over_rows(work, rows.stop, n_jobs), strict=True)
    return np.concatenate(order), np.concatenate(sim), np.concatenate(least)


def _search_again(
    source: Features, rows: NDArray[np.int64], n_query: int, own: tuple, near: tuple, n_jobs: int
) -> None:
    """Exact lists of some rows, written over those of the pool; near_order counts from the first query here."""
    exact = np.float32(choose_filter(source, "float32", 1).slack)

    def lists_of(ids: NDArray[np.int64], block: Floats, first: int, k: int) -> tuple:
        tops, top, lows, low = dots.sift(np.ascontiguousarray(block[:, first:]), first, k, exact)
        return *dots.best(tops, top, source.pairs(ids, tops, top), k), dots.least(lows, source.pairs(ids, lows, low))

    def work(part: slice) -> None:
        ids = rows[part]
        block = sum(np.matmul(a[ids] * np.float32(x), a.T) for a, x in source.used)
        own[0][ids], own[1][ids], own[2][ids] = lists_of(ids, block, 0, own[0].shape[1])
        asks = ids < n_query
        if asks.any():
            near[0][ids[asks]], near[1][ids[asks]], _ = lists_of(ids[asks], block[asks], n_query, near[0].shape[1])

    with one_thread_products():
        over_rows(work, len(rows), n_jobs, most=128)
