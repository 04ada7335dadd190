"""Approximate scores of many fusion settings of the same members. `exact_scorer.py` is exact.

Candidates are found once; neighbours and sets are cached. It is approximate in these points:

- neighbours under other weights come from the candidates of `candidates.py`;
- in large galleries, a list has only a query's `depth` nearest images before re-ranking. For AP `market`, right images
  beyond them count as not found;
- where only some queries are gallery images, all distances are held, however many they are;
- in lists of a partition, images of other partitions come last, in the order of equal weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ensemble.fusion import partitions
from ensemble.fusion.partitions import Partition, distances_to_others, select_features
from ensemble.fusion.strategy import FusionSettings, leaving_out, rerank_each_then_sum
from ensemble.kernels import ranked_lists, reciprocal_sets
from ensemble.kernels.parallel import over_rows
from ensemble.metrics import retrieval_metrics
from ensemble.metrics.competition_score import SAME_CAM, cameras, junk_of, score_stream, total_per_query
from ensemble.metrics.retrieval_metrics import Score
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distance_blocks import distances
from ensemble.neighbours.distances import Feats
from ensemble.neighbours.knn import Neighbours
from ensemble.neighbours.similarity import MemberFeatures, as_source
from ensemble.rerank.registry import Jaccard, Reranker, is_grouped, options_of
from ensemble.tune import candidates
from ensemble.tune.ensemble_selection import normalised
from ensemble.tune.exact_scorer import ExactScorer
from ensemble.tune.image_graph import graph_of
from ensemble.tune.recent_results import RecentResults

Order = NDArray[np.int32]
Near = Callable[[tuple[float, ...]], Neighbours]
Found = Callable[[tuple[float, ...], Jaccard], "Overlaps"]
Overlap = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
Overlaps = list[tuple[slice, Overlap]]
Floats = NDArray[np.float32]
WHOLE = 2**25  # query-gallery pairs of all members; up to this number lists are full


@dataclass(frozen=True)
class TrackLists:
    """Converts lists of units into lists of images.

    Attributes:
        images: gallery rows, in the order of the units.
        start, size: (U,) of each unit in `images`.
        tail: (Q, T) remaining images, appended to each list.
    """

    images: Order
    start: NDArray[np.int64]
    size: NDArray[np.int64]
    tail: Order

    def __call__(self, order: Order) -> Order:
        """(Q, L) gallery rows from lists (Q, K) of units; from lists without all units, the first K images."""
        if (self.size == 1).all():
            own = self.images[order]
        else:
            length = len(self.images) if order.shape[1] == len(self.size) else order.shape[1]
            own = np.stack([self._row(row)[:length] for row in order])
        return np.concatenate([own, self.tail], axis=1)

    def _row(self, units: Order) -> Order:
        size = self.size[units]
        begins = np.cumsum(size) - size
        out: Order = self.images[np.repeat(self.start[units] - begins, size) + np.arange(size.sum())]
        return out


def unroll(feats: Sequence[Feats], part: Partition, n_query: int, length: int) -> TrackLists:
    """The conversion from lists of a partition's units to lists of at most `length` images.

    feats, n_query: of all images, as in `partitions.blocks`.
    """
    size = np.array([len(unit) for unit in part.units], np.int64)
    images = part.gallery.astype(np.int32)
    others = part.others(len(feats[0]) - n_query)
    wanted = min(len(others), max(0, length - len(images)))
    tail: Order = np.empty((len(part.query), 0), np.int32)
    if wanted:
        equal = [1.0] * len(feats)
        order, _ = distance_blocks.ranked(
            partitions.distances_to_others(equal, feats, part, others, n_query, "cpu"), wanted
        )
        tail = others[order].astype(np.int32)
    return TrackLists(images, np.cumsum(size) - size, size, tail)


class DenseScores:
    """Scores from dense distances, for small galleries.

    Attributes:
        dist: (M, Q, U) cosine distances of the queries to the units, by member.
        part: the partition that is searched; None for all gallery images.
        far: (M, Q, O) distances to the images outside the partition.
    """

    def __init__(
        self,
        source: MemberFeatures,
        n_query: int,
        part: Partition | None = None,
        feats: Sequence[Feats] = (),
        rows: int = 0,
    ) -> None:
        """source: of queries and units. feats, rows: of all images, and the number of queries, for a partition."""
        alone = [source.weighted(unit.tolist()) for unit in np.eye(len(source.members))]
        self.dist = np.stack([distances(one, slice(0, n_query), n_query, -1) for one in alone])
        self.part = part
        if part:
            self.others = part.others(len(feats[0]) - rows)
            found = [
                np.concatenate([d for _, d in distances_to_others([1.0], [a], part, self.others, rows, "cpu")])
                for a in feats
            ]
            self.far = np.stack(found)

    def whole(self, mix: FusionSettings, own: Floats) -> Floats:
        """(Q, G) final distances to the whole gallery; own: (Q, U) distances to the units."""
        if self.part is None:
            return own
        out = np.empty((len(own), len(self.part.gallery) + len(self.others)), np.float32)
        out[:, self.part.gallery] = own[:, np.repeat(np.arange(own.shape[1]), [len(unit) for unit in self.part.units])]
        out[:, self.others] = _summed(self.far, mix.weights) + own.max(axis=1, keepdims=True)
        return out

    def plain(self, mix: FusionSettings) -> Floats:
        """(Q, U) summed distances to the units."""
        return _summed(self.dist, mix.weights)

    def mixed(self, mix: FusionSettings, own: Jaccard, near: Near, overlaps: Found) -> Floats:
        """(Q, U) final distances to the units.

        near: function of weights: neighbours, with each row's largest distance.
        overlaps: function of weights: overlaps of the sets.
        """
        if not mix.each_first:
            dist = _summed(self.dist, mix.weights)
            _rerank(dist, near(mix.weights), overlaps(mix.weights, own), own)
            return dist
        out = np.zeros_like(self.dist[0])
        for m, (weight, unit) in enumerate(zip(mix.weights, _alone(mix), strict=True)):
            if weight:
                dist = self.dist[m].copy()
                _rerank(dist, near(unit), overlaps(unit, own), own)
                dist *= np.float32(weight)
                out += dist
        return out


def _alone(mix: FusionSettings) -> list[tuple[float, ...]]:
    """Weights that select each member alone."""
    return [tuple(row) for row in np.eye(len(mix.weights)).tolist()]


def _summed(dist: Floats, weights: Sequence[float]) -> Floats:
    """(Q, U) of (M, Q, U)."""
    out = np.zeros_like(dist[0])

    def work(rows: slice) -> None:
        for weight, one in zip(weights, dist, strict=True):
            if weight:
                out[rows] += np.float32(weight) * one[rows]

    over_rows(work, len(out), -1, most=256)
    return out


def _rerank(dist: Floats, near: Neighbours, overlaps: Overlaps, own: Jaccard) -> None:
    """Replace distances by (1 - lam) J + lam s in place."""

    def work(span: slice) -> None:
        for rows, found in overlaps[span]:
            ranked_lists.mix_rows(dist[rows], near.farthest[rows], *found, own.power, np.float32(own.lam))

    over_rows(work, len(overlaps), -1, most=1)


class FastScorer:
    """The members' candidates, and the totals of the settings tried so far.

    Attributes:
        judge: exact scorer of the full search, or of one partition.
        reach: neighbours per row that the largest settings read.
        depth: length of the lists.
        kept: settings -> totals.
        seconds: time spent.
    """

    def __init__(
        self,
        judge: ExactScorer,
        reach: int,
        anchors: list[tuple[float, ...]] | None = None,
        groups: ArrayLike | None = None,
    ) -> None:
        """groups: of the images, for re-rankers that go by them; not for a partition."""
        self.judge = judge
        feats, part = list(judge.feats), judge.parts[0] if judge.parts else None
        if part:
            feats = [select_features(a, part.query, part.units, judge.rows) for a in feats]
        source = as_source(feats)
        if not isinstance(source, MemberFeatures):
            raise TypeError("members are features")
        self.source, self.n_query = source, len(judge.evaluation.query_pids)
        self.left_out = part.left_out(judge.every) if part else judge.evaluation.left_out
        self.graph = graph_of(source, self.n_query, self.left_out)
        n_units, length = source.n - self.n_query, len(judge.evaluation.gallery_pids)
        self.pairs: DenseScores | None = None
        self.unroll: TrackLists | None = None
        if len(source.members) * self.n_query * length <= WHOLE or not self.graph.listed:
            self.pairs, self.depth = DenseScores(source, self.n_query, part, judge.feats, judge.rows), n_units
        else:
            more = self._most_junk() + (self.left_out.most if self.left_out else 0)
            length = min(length, max(judge.competition.top_k, 200) + more)
            self.unroll = unroll(judge.feats, part, judge.rows, length) if part else None
            self.depth = min(n_units, length)
        listed = 1 if self.pairs else self.depth
        images, asked = self.graph.source, self.graph.asked
        given: dict[str, Any] = {"anchors": anchors, "groups": self.graph.labels(groups)}
        self.pool = candidates.collect_candidates(images, min(reach, images.n), asked, listed, **given)
        self.kept: dict[FusionSettings, NDArray[np.float64]] = {}
        self.seconds = 0.0
        members = len(source.members)
        self.near = RecentResults(3 + members)
        self.overlaps = RecentResults(1 + members)
        self.jaccards = RecentResults(2)

    def totals(self, mix: FusionSettings) -> NDArray[np.float64]:
        """(Q,) approximate total of each query; NaN for queries that cannot be scored."""
        mix = normalised(mix)
        if mix not in self.kept:
            begun = time.monotonic()
            score = self._counted(self.pairs, mix) if self.pairs else self._scored(self._order(mix))
            self.kept[mix] = total_per_query(score, self.judge.competition)
            self.seconds += time.monotonic() - begun
        return self.kept[mix]

    @property
    def rate(self) -> float:
        """Settings tried per minute."""
        return 60 * len(self.kept) / max(self.seconds, 1e-9)

    def _most_junk(self) -> int:
        """Largest number of junk images per query: images of its person and camera, which lists drop."""
        e = self.judge.evaluation
        if SAME_CAM not in self.judge.competition.junk.split("+") or cameras(e.query_camids, e.gallery_camids) is None:
            return 0
        shown = np.array([e.gallery_pids, e.gallery_camids])
        _, counts = np.unique(shown[:, (shown >= 0).all(axis=0)], axis=1, return_counts=True)
        return int(counts.max(initial=0))

    def _counted(self, pairs: DenseScores, mix: FusionSettings) -> Score:
        dist = pairs.whole(mix, self._distances(pairs, mix))
        return score_stream([(slice(0, len(dist)), dist)], self.judge.evaluation, self.judge.competition, {})

    def _distances(self, pairs: DenseScores, mix: FusionSettings) -> Floats:
        """(Q, U) distances to the units."""
        if not mix.reranks:
            return pairs.plain(mix)
        if isinstance(mix.reranker, Jaccard):
            return pairs.mixed(mix, mix.reranker, self._of_queries, self._overlap)
        return np.concatenate([dist for _, dist in self._stream(mix)])

    def _stream(self, mix: FusionSettings) -> Iterator[distance_blocks.Block]:
        """Distances from the re-ranker, with neighbours from the candidates. Only the neighbours are cached."""
        self._check_reach(mix.reranker)
        weights = [w for w in mix.weights if w > 0]
        feats = [a for a, w in zip(self.source.members, mix.weights, strict=True) if w > 0]
        if mix.each_first:
            near = [self._near(unit) for unit, w in zip(_alone(mix), mix.weights, strict=True) if w > 0]
            return rerank_each_then_sum(mix, feats, near, self.n_query, weights, "cpu", left_out=self.left_out)
        given: dict[str, Any] = {"weights": weights, "device": "cpu"} | leaving_out(self.left_out)
        return mix.reranker.stream(self._near(mix.weights), feats, self.n_query, **given)

    def _check_reach(self, own: Reranker) -> None:
        if is_grouped(own) and self.pool.kinds is None:
            raise ValueError("the candidates were collected without groups, and this re-ranker goes by them")
        wanted = own.neighbours_read(self.graph.source.n)
        if wanted > self.pool.k:
            told = ", ".join(f"{name} {value:g}" for name, value in options_of(own).items())
            raise ValueError(f"{told} read {wanted} neighbours per image, but the candidates have {self.pool.k}")

    def _scored(self, order: NDArray[np.int32]) -> Score:
        e, rules = self.judge.evaluation, self.judge.competition
        order = self.unroll(order) if self.unroll else order
        cut = order.shape[1] < len(e.gallery_pids)
        cams = cameras(e.query_camids, e.gallery_camids)
        return retrieval_metrics.evaluate(
            order,
            e.query_pids,
            e.gallery_pids,
            *(cams or (None, None)),
            ap="relevant" if cut and rules.ap == "market" else rules.ap,
            top_k=None if rules.ap == "market" else rules.top_k,
            junk=junk_of(rules, cams),
            left_out=e.left_out,
        )

    def _order(self, mix: FusionSettings) -> NDArray[np.int32]:
        own = mix.reranker
        if mix.reranks and not isinstance(own, Jaccard):
            return distance_blocks.ranked(self._stream(mix), self.depth, left_out=self.left_out)[0]
        if isinstance(own, Jaccard) and mix.each_first:
            return self._each(mix, own)
        near = self._of_queries(mix.weights)
        if near.near_order is None or near.near_dist is None:
            raise RuntimeError("the candidates have no gallery lists")
        if not isinstance(own, Jaccard):
            return near.near_order
        order = near.near_order
        dist = near.near_dist
        out = np.empty_like(near.near_order)
        nothing = np.empty(0, np.int64), np.empty(0, np.float32)
        lam = np.float32(own.lam)
        overlaps = self._overlap(mix.weights, own)
        k = near.near_order.shape[1]

        def work(span: slice) -> None:
            for rows, found in overlaps[span]:
                ends = np.zeros(rows.stop - rows.start + 1, np.int64)
                rest: tuple[Any, ...] = ends, *nothing, near.farthest[rows], own.power, lam
                out[rows], _, _ = ranked_lists.merged(order[rows], dist[rows], k, *found, *rest)

        over_rows(work, len(overlaps), -1, most=1)
        return out

    def _near(self, weights: tuple[float, ...]) -> Neighbours:
        def make() -> Neighbours:
            return candidates.nearest(self.pool, weights)

        return self.near.get(weights, make)

    def _of_queries(self, weights: tuple[float, ...]) -> Neighbours:
        """The same, with the largest distance of each row of the features."""
        near = self._near(weights)
        place = self.graph.place
        return near if place is None else replace(near, farthest=near.farthest[place])

    def _overlap(self, weights: tuple[float, ...], own: Jaccard) -> Overlaps:
        """Overlaps of the sets of queries and gallery, which do not depend on lam."""
        return self.overlaps.get((weights, own.encoding), lambda: self._overlapped(weights, own))

    def _overlapped(self, weights: tuple[float, ...], own: Jaccard) -> Overlaps:
        self._check_reach(own)
        v = own.encode(self._near(weights), self.graph.source.weighted(weights), -1)
        v = v if self.graph.place is None else v.take(self.graph.place)
        inverse = reciprocal_sets.inverted(v.indptr, v.members, v.weights, self.n_query)
        n_gallery = self.source.n - self.n_query

        def work(rows: slice) -> tuple[slice, Overlap]:
            return rows, reciprocal_sets.overlap(
                v.indptr, v.members, v.weights, *inverse, n_gallery, rows.start, rows.stop
            )

        return over_rows(work, self.n_query, -1)

    def _each(self, mix: FusionSettings, own: Jaccard) -> NDArray[np.int32]:
        """Lists of separately re-ranked members, from the candidates only."""
        pool, q = self.pool, self.n_query
        alone = _alone(mix)
        farthest = np.array([self._of_queries(unit).farthest[:q] for unit in alone])
        jaccard = self.jaccards.get(own.encoding, lambda: self._jaccards(alone, own))
        weights = np.array(mix.weights, np.float32)

        def work(rows: slice) -> NDArray[np.int32]:
            shared = weights, np.float32(own.lam), own.power, self.depth, rows.start, rows.stop
            return ranked_lists.summed(pool.indptr, pool.index, pool.first, pool.dist, farthest, jaccard, *shared)

        return np.concatenate(over_rows(work, q, -1))

    def _jaccards(self, alone: list[tuple[float, ...]], own: Jaccard) -> NDArray[np.float32]:
        """(M, C) Jaccard distances of each member to every candidate of the queries."""
        pool, out = self.pool, []
        for unit in alone:
            parts = [
                ranked_lists.jaccards(pool.indptr, pool.index, pool.first, *found, rows.start, rows.stop)
                for rows, found in self._overlapped(unit, own)
            ]
            out.append(np.concatenate(parts))
        return np.array(out)
