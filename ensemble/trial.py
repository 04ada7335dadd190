"""Totals of many mixes of the same members, fast: candidates are found once, neighbours and sets kept while they serve.

Where this is not exact, and `ensemble.judge` is: other weights have their neighbours among the candidates of
`ensemble.reweigh`. Beyond that, small galleries are scored whole
(`ensemble/pairs.py`). Of larger ones a list is made of a query's `depth` nearest by the distance before re-ranking, so
nothing from beyond them enters it; of AP `market` right images beyond them count as not found; and lists of a part (a
domain, or tracks found as one) end as `ensemble/unroll.py` says.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ensemble import metrics, rerank, reweigh
from ensemble.judge import Judge
from ensemble.kernels import lists, sets, trials
from ensemble.metrics import Score
from ensemble.mix import Mix, needed
from ensemble.neighbours import Neighbours
from ensemble.pairs import Overlap, Overlaps, Pairs
from ensemble.parallel import over_rows
from ensemble.parts import taken
from ensemble.rule import cameras, score_stream, total_per_query
from ensemble.seek import tidy
from ensemble.source import Features, source_of
from ensemble.unroll import Unroll, unroll

T = TypeVar("T")
WHOLE = 2**25  # query-gallery pairs of all members up to which lists are of the whole gallery


class Lately:
    """The last few results of each kind of work, by what they were made from."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.kept: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is kept under the key, or what is made now."""
        if key not in self.kept:
            self.kept[key] = make()
        self.kept.move_to_end(key)
        while len(self.kept) > self.size:
            self.kept.popitem(last=False)
        result: T = self.kept[key]
        return result


class Trial:
    """The members' candidates, and the totals of the mixes that were tried.

    judge: of one search over everything, or of one part. reach: neighbours a row that the largest settings read. depth:
    what is searched for a query, and put in order.
    kept: mix -> totals. seconds: that took.
    """

    def __init__(self, judge: Judge, reach: int, anchors: list[tuple[float, ...]] | None = None) -> None:
        self.judge = judge
        feats, part = list(judge.feats), judge.parts[0] if judge.parts else None
        if part:
            feats = [taken(a, part.query, part.units, judge.rows) for a in feats]
        source = source_of(feats)
        if not isinstance(source, Features):
            raise TypeError("members are features")
        self.source, self.n_query = source, len(judge.evaluation.query_pids)
        n_units, length = source.n - self.n_query, len(judge.evaluation.gallery_pids)
        self.pairs: Pairs | None = None
        self.unroll: Unroll | None = None
        if len(source.members) * self.n_query * length <= WHOLE:
            self.pairs, self.depth = Pairs(source, self.n_query, part, judge.feats, judge.rows), n_units
        else:
            length = min(length, max(judge.competition.top_k, 200) + self._most_junk())
            self.unroll = unroll(judge.feats, part, judge.rows, length) if part else None
            self.depth = min(n_units, length)
        listed = 1 if self.pairs else self.depth
        self.pool = reweigh.gather(source, min(reach, source.n), self.n_query, listed, anchors=anchors)
        self.kept: dict[Mix, NDArray[np.float64]] = {}
        self.seconds = 0.0
        members = len(source.members)
        self.near, self.overlaps, self.jaccards = Lately(3 + members), Lately(1 + members), Lately(2)

    def totals(self, mix: Mix) -> NDArray[np.float64]:
        """(Q,) each query's share of the total, nearly; NaN where it cannot be scored."""
        mix = tidy(mix)
        if mix not in self.kept:
            begun = time.monotonic()
            score = self._counted(self.pairs, mix) if self.pairs else self._scored(self._order(mix))
            self.kept[mix] = total_per_query(score, self.judge.competition)
            self.seconds += time.monotonic() - begun
        return self.kept[mix]

    @property
    def rate(self) -> float:
        """Mixes tried a minute."""
        return 60 * len(self.kept) / max(self.seconds, 1e-9)

    def _most_junk(self) -> int:
        """Images of a query's own person and camera, at most: they are dropped from a list before ranks are counted."""
        e = self.judge.evaluation
        if self.judge.competition.junk == "none" or cameras(e.query_camids, e.gallery_camids) is None:
            return 0
        shown = np.array([e.gallery_pids, e.gallery_camids])
        _, counts = np.unique(shown[:, (shown >= 0).all(axis=0)], axis=1, return_counts=True)
        return int(counts.max(initial=0))

    def _counted(self, pairs: Pairs, mix: Mix) -> Score:
        dist = pairs.whole(mix, self._near, self._overlap)
        return score_stream([(slice(0, len(dist)), dist)], self.judge.evaluation, self.judge.competition, {})

    def _scored(self, order: NDArray[np.int32]) -> Score:
        e, rules = self.judge.evaluation, self.judge.competition
        order = self.unroll(order) if self.unroll else order
        cut = order.shape[1] < len(e.gallery_pids)
        cams = cameras(e.query_camids, e.gallery_camids)
        return metrics.evaluate(
            order,
            e.query_pids,
            e.gallery_pids,
            *(cams or (None, None)),
            ap="relevant" if cut and rules.ap == "market" else rules.ap,
            top_k=None if rules.ap == "market" else rules.top_k,
            junk=rules.junk if cams else "none",
        )

    def _order(self, mix: Mix) -> NDArray[np.int32]:
        if mix.each:
            return self._each(mix)
        near = self._near(mix.weights)
        if near.near_order is None or near.near_dist is None:
            raise RuntimeError("the candidates hold no lists of the gallery")
        if mix.rerank == "none":
            return near.near_order
        order, dist, out = near.near_order, near.near_dist, np.empty_like(near.near_order)
        nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        lam, overlaps, k = np.float32(mix.lam), self._overlap(mix.weights, mix), near.near_order.shape[1]

        def work(span: slice) -> None:
            for rows, found in overlaps[span]:
                ends = np.zeros(rows.stop - rows.start + 1, np.int64)
                rest: tuple[Any, ...] = ends, *nothing, near.farthest[rows], mix.power, lam
                out[rows], _, _ = lists.merged(order[rows], dist[rows], k, *found, *rest)

        over_rows(work, len(overlaps), -1, most=1)
        return out

    def _near(self, weights: tuple[float, ...]) -> Neighbours:
        def make() -> Neighbours:
            return reweigh.nearest(self.pool, weights)

        return self.near.get(weights, make)

    def _overlap(self, weights: tuple[float, ...], mix: Mix) -> Overlaps:
        """Overlaps of the sets of queries and gallery: lam has no part in them."""
        return self.overlaps.get((weights, mix.k1, mix.k2, mix.power), lambda: self._overlapped(weights, mix))

    def _overlapped(self, weights: tuple[float, ...], mix: Mix) -> Overlaps:
        wanted = needed(mix, self.source.n)
        if wanted > self.pool.k:
            raise ValueError(
                f"k1 {mix.k1}, k2 {mix.k2} read {wanted} neighbours a row: a reach of {self.pool.k} was asked for"
            )
        setting = rerank.Setting(mix.k1, mix.k2, mix.lam, mix.power)
        v = rerank.encode(self._near(weights), self.source.weighted(weights), setting, -1)
        inverse = sets.inverted(v.indptr, v.members, v.weights, self.n_query)
        n_gallery = self.source.n - self.n_query

        def work(rows: slice) -> tuple[slice, Overlap]:
            return rows, sets.overlap(v.indptr, v.members, v.weights, *inverse, n_gallery, rows.start, rows.stop)

        return over_rows(work, self.n_query, -1)

    def _each(self, mix: Mix) -> NDArray[np.int32]:
        """Lists of members re-ranked each by itself; candidates outside the pool are left out."""
        pool, q = self.pool, self.n_query
        alone = [tuple(float(i == m) for i in range(len(mix.weights))) for m in range(len(mix.weights))]
        farthest = np.array([self._near(unit).farthest[:q] for unit in alone])
        jaccard = self.jaccards.get((mix.k1, mix.k2, mix.power), lambda: self._jaccards(alone, mix))
        weights = np.array(mix.weights, np.float32)

        def work(rows: slice) -> NDArray[np.int32]:
            shared = weights, np.float32(mix.lam), mix.power, self.depth, rows.start, rows.stop
            return trials.summed(pool.indptr, pool.index, q, pool.dist, farthest, jaccard, *shared)

        return np.concatenate(over_rows(work, q, -1))

    def _jaccards(self, alone: list[tuple[float, ...]], mix: Mix) -> NDArray[np.float32]:
        """(M, C) Jaccard distances by each member's own sets, to every candidate of the queries."""
        pool, out = self.pool, []
        for unit in alone:
            parts = [
                trials.jaccards(pool.indptr, pool.index, self.n_query, *found, rows.start, rows.stop)
                for rows, found in self._overlapped(unit, mix)
            ]
            out.append(np.concatenate(parts))
        return np.array(out)
