"""Results of every query with every system: its AP, its list, and the ranks of the shown images by each system.

A system is one member, the members' sum, or the re-ranked sum. The lists of the last system are shown.
Junk (same person and camera, if the rules have it) is not in lists and has no rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console.progress import Progress, Step
from configs.store.store import Address
from ensemble.fusion.strategy import rerank_request
from ensemble.kernels.ranked_lists import smallest
from ensemble.metrics.competition_score import SAME_CAM, score_stream
from ensemble.neighbours.distance_blocks import Block
from ensemble.results.cache_keys import METRICS, retrieval_code
from submit.report.report_input import ReportedEvaluation, ReportInput

SHOWN = 20  # images shown per list
RIGHT = 60  # right images per query, nearest first, whose ranks are recorded
AGREE = 10  # agreement of two members: overlap of their first AGREE images
BINS = 400
HERE = Path(__file__).parent


@dataclass(frozen=True)
class QueryResults:
    """S systems, Q queries, lists of K = min(20, G), M members. Fields that need labels are empty without them.

    Attributes:
        ap, hit: (S, Q) average precision and rank-1, NaN for skipped queries.
        top, dist: (Q, K) gallery rows and distances, -1 for no image.
        ranks: (S, Q, K) from 1, 0 for no image.
        right: (nnz,) gallery rows of right images, sorted by the last system's rank.
        right_ptr: query i has right[right_ptr[i]:right_ptr[i + 1]].
        right_ranks: (S, nnz).
        junk: (Q,) number of junk images and of those that the query's list leaves out.
        overlap: (M, M, Q) overlap of two members' first ten images.
        histogram: (2, 2, BINS) counts of pairs by distance: before and after re-ranking, wrong and right.
        reach: (2,) upper end of the bins.
    """

    ap: NDArray[np.float32]
    hit: NDArray[np.float32]
    top: NDArray[np.int32]
    dist: NDArray[np.float32]
    ranks: NDArray[np.int32]
    right_ptr: NDArray[np.int64]
    right: NDArray[np.int32]
    right_ranks: NDArray[np.int32]
    junk: NDArray[np.int32]
    overlap: NDArray[np.float32]
    histogram: NDArray[np.int64]
    reach: NDArray[np.float32]

    def agreement(self) -> NDArray[np.float32]:
        """(Q,) mean overlap of two members' first ten images; 1 for a single member."""
        m = len(self.overlap)
        if m < 2:
            return np.ones(len(self.top), np.float32)
        pairs: NDArray[np.float32] = self.overlap[np.triu_indices(m, 1)].mean(axis=0)
        return pairs


def collect_query_results(subject: ReportInput, trial: ReportedEvaluation, progress: Progress) -> QueryResults:
    """Compute the results, or read them from the cache."""
    rules = subject.plan.competition
    request = {
        "evaluation": asdict(trial.evaluation),
        "weights": subject.plan.ensemble.weights,
        "rerank": rerank_request(subject.plan.ensemble),
        "rule": {k: getattr(rules, k) for k in ("ap", "junk", "top_k")},
        "code": retrieval_code(METRICS, HERE / "query_results.py", HERE.parent / "systems.py"),
    }

    def make(folder: Path) -> None:
        total = len(trial.systems) * len(trial.query)
        with progress.task(f"{trial.name}: queries asked of each system", total) as step:
            found = _QueryPass(subject, trial, step).all()
        for field in fields(found):
            np.save(folder / f"{field.name}.npy", getattr(found, field.name), allow_pickle=False)

    folder = subject.store.get(Address("inquiries", trial.name, request), make).path
    return QueryResults(**{f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r") for f in fields(QueryResults)})


class _QueryPass:
    """One pass over the queries per system. The last system is first: its lists decide which ranks are recorded."""

    def __init__(self, subject: ReportInput, trial: ReportedEvaluation, step: Step) -> None:
        self.subject = subject
        self.trial = trial
        self.step = step
        n_query, n_gallery = len(trial.query), len(trial.gallery)
        self.k = min(SHOWN, n_gallery)
        count = len(trial.systems)
        members = len(trial.banks)
        self.ap = np.full((count, n_query), np.nan, np.float32)
        self.hit = self.ap.copy()
        self.top = np.full((n_query, self.k), -1, np.int32)
        self.dist = np.full((n_query, self.k), np.inf, np.float32)
        self.ranks = np.zeros((count, n_query, self.k), np.int32)
        self.right: list[NDArray[np.int32]] = [np.zeros(0, np.int32)] * n_query
        self.right_ranks: list[list[NDArray[np.int32]]] = [[np.zeros(0, np.int32)] * n_query for _ in range(count)]
        self.junk = np.zeros(n_query, np.int32)
        self.first = np.zeros((members, n_query, min(AGREE, n_gallery)), np.int32)
        self.histogram = np.zeros((2, 2, BINS), np.int64)
        self.reach = np.ones(2, np.float32)
        self.left_out = trial.evaluation.left_out

    def all(self) -> QueryResults:
        """Process every system, then combine the results."""
        for system in reversed(range(len(self.trial.systems))):
            self._one(system)
        counts = [len(r) for r in self.right]
        return QueryResults(
            self.ap,
            self.hit,
            self.top,
            self.dist,
            self.ranks,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate(self.right).astype(np.int32),
            np.stack([np.concatenate(rows) for rows in self.right_ranks]).astype(np.int32),
            self.junk,
            _overlaps(self.first),
            self.histogram,
            self.reach,
        )

    def _one(self, system: int) -> None:
        blocks = self._watched(system, self.trial.systems[system].stream())
        if not self.trial.labelled:
            for _ in blocks:
                pass
            return
        score = score_stream(blocks, self.trial.evaluation, self.subject.plan.competition, {})
        self.ap[system], self.hit[system] = score.ap_per_query, score.hit_per_query

    def _watched(self, system: int, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the blocks, and record their results."""
        for rows, dist in blocks:
            yield rows, dist
            self._see(system, rows, dist)
            self.step(rows.stop - rows.start)

    def _see(self, system: int, rows: slice, dist: NDArray[np.float32]) -> None:
        right, junk = self._labels(rows)
        before, after = self.trial.before, self.trial.after
        if self.trial.labelled and system >= before:
            self._count(system - before, dist, right, junk)
        dist[junk] = np.inf
        last = system == after
        if last:
            self.junk[rows] = junk.sum(axis=1)
            order, value = smallest(dist, self.k)
            self.top[rows] = np.where(np.isfinite(value), order, -1)
            self.dist[rows] = value
        if system < len(self.trial.banks):
            self.first[system, rows] = smallest(dist, self.first.shape[2])[0]
        for i, ranked in enumerate(np.sort(dist, axis=1)):
            query, row = rows.start + i, dist[i]
            if last:
                near = np.flatnonzero(right[i])
                self.right[query] = near[np.argsort(row[near], kind="stable")][:RIGHT].astype(np.int32)
            shown = self.top[query]
            self.ranks[system, query] = np.where(shown >= 0, places(row, ranked, np.maximum(shown, 0)), 0)
            self.right_ranks[system][query] = places(row, ranked, self.right[query])

    def _labels(self, rows: slice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks of right and of junk gallery images for some queries, (b, G) each."""
        query, gallery = self.trial.query, self.trial.gallery
        shape = (rows.stop - rows.start, len(gallery))
        if not self.trial.labelled:
            return np.zeros(shape, bool), np.zeros(shape, bool)
        pids = query.pids[rows, None]
        same = (pids == gallery.pids) & (pids >= 0)
        junk = np.zeros(shape, bool)
        if SAME_CAM in self.subject.plan.competition.junk.split("+") and self.trial.cameras:
            cams = query.camids[rows, None]
            junk = same & (cams == gallery.camids) & (cams >= 0)
        if self.left_out is not None:
            junk[self.left_out.pairs(rows)] = True
        return same & ~junk, junk

    def _count(self, which: int, dist: NDArray[np.float32], right: NDArray, junk: NDArray) -> None:
        """Count pairs by distance. Distances are at most twice the sum of weights, after re-ranking at most 1."""
        weights = self.subject.weights(self.trial) if len(self.trial.banks) > 1 else [1.0]
        self.reach[which] = 1.0 if which == 1 else 2 * sum(weights)
        dist = np.where(np.isfinite(dist), dist, 0)  # what is left out of a list is junk, and not counted
        bins = np.minimum(BINS - 1, (dist / self.reach[which] * BINS).astype(np.int32))
        self.histogram[which, 1] += np.bincount(bins[right], minlength=BINS)
        self.histogram[which, 0] += np.bincount(bins[~right & ~junk], minlength=BINS)


def _overlaps(first: NDArray[np.int32]) -> NDArray[np.float32]:
    """(M, M, Q) overlap of two members' first images; first: (M, Q, A)."""
    m, n_query, a = first.shape
    shared = np.ones((m, m, n_query), np.float32)
    for one in range(m):
        for other in range(one + 1, m):
            same = (first[one][:, :, None] == first[other][:, None, :]).any(axis=2).sum(axis=1) / a
            shared[one, other] = shared[other, one] = same
    return shared


def places(row: NDArray[np.float32], ranked: NDArray[np.float32], columns: NDArray[np.int32]) -> NDArray[np.int32]:
    """Ranks from 1, ties by lower index.

    Args:
        row: (G,) distances of one query.
        ranked: (G,) the same, sorted.
        columns: (k,) gallery rows whose ranks are returned.
    """
    value = row[columns]
    nearer = np.searchsorted(ranked, value, side="left")
    tied = np.flatnonzero(np.searchsorted(ranked, value, side="right") - nearer > 1)
    for at in tied:
        nearer[at] += np.count_nonzero(row[: columns[at]] == value[at])
    result: NDArray[np.int32] = (nearer + 1).astype(np.int32)
    return result
