"""What `ensemble.fusion=calibrated` is worth against the plain sum, at equal weights: looked-at and cross-fitted.

The calibrations of one half of the persons are learned on the pairs of the other half's queries. Both halves share the
gallery, as in `cross_fitting.py`. The looked-at total is of calibrations that were learned on the very queries.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.schema import CALIBRATED, EACH_FIRST, CalibrationSettings
from ensemble.fusion.calibrated_pairs import LabelledPairs, QueryCalibrations, joined, labelled_pairs
from ensemble.fusion.calibration import NAMES
from ensemble.fusion.strategy import FusionSettings, member_streams
from ensemble.metrics.bootstrap import difference
from ensemble.metrics.competition_score import cameras, junk_of
from ensemble.rerank.registry import NoReranking
from ensemble.results.build_record import all_camids, all_groups
from ensemble.tune.boards import Boards
from ensemble.tune.cross_fitting import ERROR, split_persons
from ensemble.tune.exact_scorer import ExactScorer


def compare(judge: Boards, base: FusionSettings, seed: int) -> list[dict[str, Any]]:
    """A row for each method, without re-ranking and with that of the base; none where there is nothing to fuse.

    `each` is the total of the plain sum of members that are re-ranked first, as they are before they are calibrated.
    Intervals of the gain have a common level of 95 % (Bonferroni). Boards by domains or tracks give no row: the fusion
    is not built for parts.

    Raises:
        DataError: too few persons.
    """
    if judge.parts or sum(w > 0 for w in base.weights) < 2:
        return []
    sums = [replace(base, reranker=NoReranking())] + [base] * base.reranks
    return [row for mix in sums for row in _rows(judge, mix, seed, 1 - ERROR / (len(NAMES) * len(sums)))]


def _rows(judge: Boards, mix: FusionSettings, seed: int, level: float) -> list[dict[str, Any]]:
    before, pids, out = judge.totals(mix), judge.pids, []
    each = float(np.nanmean(judge.totals(replace(mix, fusion=EACH_FIRST)))) if mix.reranks else None
    first, second = split_persons(pids, ~np.isnan(before), seed)
    settings = CalibrationSettings()
    pairs = pairs_of(judge, replace(mix, fusion=CALIBRATED, calibrating=settings))
    for name in NAMES:
        own = replace(mix, fusion=CALIBRATED, calibrating=settings.model_copy(update={"name": name}))
        try:
            whole, *halves = (pairs.of(kept).fit(name, mix.weights) for kept in (first | second, second, first))
        except ValueError:  # a half has no pair of one of the two kinds
            continue
        looked = _totals(judge, own, QueryCalibrations((whole,), (0,) * len(pids)))
        crossed = _totals(judge, own, QueryCalibrations(tuple(halves), tuple(np.where(first, 0, 1).tolist())))
        gain = difference(crossed, before, groups=pids, seed=seed, level=level)
        told: dict[str, Any] = {"name": name, "rerank": mix.describe(), "pairs": whole.pairs, "same": whole.same}
        told |= {"sum": float(np.nanmean(before)), "total": float(np.nanmean(crossed)), "gain": asdict(gain)}
        out.append(told | {"looked_at": float(np.nanmean(looked)), "each": each, "taken": gain.low > 0})
    return out


def pairs_of(judge: Boards, mix: FusionSettings) -> LabelledPairs:
    """The labelled pairs of all boards; queries are numbered as in `Boards`."""
    parts, begin = [], 0
    for one in judge.judges:
        found = _of_board(one, mix)
        parts.append(replace(found, query=found.query + begin))
        begin += len(one.evaluation.query_pids)
    return joined(parts)


def _of_board(judge: ExactScorer, mix: FusionSettings) -> LabelledPairs:
    e = judge.evaluation
    given = all_camids(e), e.left_out, all_groups(e)
    streams, weights = member_streams(mix, judge.feats, judge.rows, judge.device, *given)
    cams = cameras(e.query_camids, e.gallery_camids)
    counts = junk_of(judge.competition, cams) != "none"
    return labelled_pairs(
        streams, weights, mix.calibrating.pool, (e.query_pids, e.gallery_pids), cams if counts else None
    )


def _totals(judge: Boards, mix: FusionSettings, learned: QueryCalibrations) -> NDArray[np.float64]:
    """(Q,) totals of all boards; each has the calibrations of its own queries."""
    out, begin = [], 0
    for one in judge.judges:
        end = begin + len(one.evaluation.query_pids)
        out.append(one.totals(replace(mix, learned=replace(learned, of_query=learned.of_query[begin:end]))))
        begin = end
    return np.concatenate(out)
