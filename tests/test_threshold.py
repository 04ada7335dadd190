"""Thresholds chosen on labels: which half chooses, which is scored, and what is hidden."""

import numpy as np
import pytest

from configs.errors import DataError
from ensemble.clusters import PairGraph, method_of
from ensemble.clusters.choose import choose_threshold
from ensemble.clusters.evaluation_graph import EvaluationGraph
from ensemble.clusters.tuned import tune_identities
from ensemble.results.build_record import Evaluation
from ensemble.tune.cross_fitting import split_persons

GRID = (0.1, 0.2, 0.3, 0.4)
PIDS = np.repeat(np.arange(12), 2)
ALL = np.ones(24, bool)
TABLE = {0.1: (1.0, 0.2, 0.6), 0.2: (0.7, 0.6, 0.8), 0.3: (0.3, 0.9, 0.8), 0.4: (np.nan, 0.1, 0.8)}


def chosen(table, pids=PIDS, counted=ALL):
    """With scores of the first half, of the second, and of all, by threshold."""
    first, second = split_persons(pids, counted, 0)

    def score(labels, rows):
        at = next(i for i, part in enumerate((first, second, counted)) if (part == rows).all())
        return table[float(labels[0])][at]

    return choose_threshold(lambda t: np.full(24, t), score, pids, counted, 0, GRID)


def test_each_half_is_scored_with_the_others_threshold():
    choice = chosen(TABLE)
    assert choice.halves == (0.1, 0.3)
    assert choice.honest == pytest.approx((0.3 + 0.2) / 2)  # first half at 0.3, second half at 0.1
    assert choice.threshold == 0.3, "the middle of three equal ones"
    assert choice.looked_at == pytest.approx((0.3 + 0.9) / 2)
    assert choice.curve == {0.1: 0.6, 0.2: 0.8, 0.3: 0.8, 0.4: 0.8}


def test_with_too_few_identities_nothing_is_chosen():
    with pytest.raises(DataError, match="9 query identities"):
        chosen(TABLE, counted=PIDS < 9)


def test_where_no_query_is_new_half_of_the_identities_are_hidden():
    """20 gallery images, then 20 queries, each 0.2 from its own gallery image and 0.6 from the next one."""
    n, people = 40, np.arange(20)
    near = [(i, 20 + i, 0.2) for i in people] + [((i + 1) % 20, 20 + i, 0.6) for i in people]
    first, second, dist = (np.array(column) for column in zip(*sorted(near), strict=True))
    graph = PairGraph(n, first.astype(np.int32), second.astype(np.int32), dist.astype(np.float32))
    found = EvaluationGraph(graph, np.arange(20, 40), np.arange(20), {})
    e = Evaluation({}, "", None, people.tolist(), [-1] * 20, people.tolist(), [-1] * 20)
    tuned = tune_identities(found, e, lambda t: method_of("connected", {"threshold": t}))
    curve = tuned.choice.curve
    assert tuned.hidden == 10 and tuned.score == "baks_baus"
    assert curve[0.1] == 0 and curve[0.4] == 1, "all new; all right"
    assert 0 < curve[0.7] < 1, "new ones join their neighbour"
    assert 0.2 <= tuned.choice.threshold < 0.6 and tuned.choice.honest == tuned.choice.looked_at == 1
