"""Scores of clusters and of named identities: against scikit-learn where it has them, else against loops and sets."""

import itertools
import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ensemble.metrics.cluster_metrics import NAMES, cluster_figures, cluster_scores
from ensemble.metrics.competition_score import parse
from ensemble.metrics.identity_metrics import NEW, NOBODY, identity_balanced_map, known_or_new, map_at


def case(seed, n=150, people=30, wrong=0.3):
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, people, n) * 7
    labels = np.where(rng.random(n) < wrong, rng.integers(0, people, n), pids // 7) + 100
    return labels, pids


def by_pairs(labels, pids):
    """Precision, recall and F1 from sets of pairs."""
    found, true = (
        {(i, j) for i, j in itertools.combinations(range(len(side)), 2) if side[i] == side[j]}
        for side in (labels, pids)
    )
    right = len(found & true)
    precision, recall = right / len(found), right / len(true)
    return precision, recall, 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("people", [3, 30, 120])
def test_scores_are_scikit_learns_and_those_of_sets(seed, people):
    labels, pids = case(seed, people=people)
    got = cluster_figures(labels, pids)
    assert got["ari"] == pytest.approx(sklearn_metrics.adjusted_rand_score(pids, labels), abs=1e-12)
    assert got["ami"] == pytest.approx(sklearn_metrics.adjusted_mutual_info_score(pids, labels), abs=1e-9)
    want = by_pairs(labels.tolist(), pids.tolist())
    assert [got[f"pair_{k}"] for k in ("precision", "recall", "f1")] == pytest.approx(want)


@pytest.mark.parametrize(
    ("labels", "pids", "want"),
    [
        ([0, 0, 1, 1], [5, 5, 2, 2], (1, 1, 1, 1, 1)),
        ([0, 1, 2, 3], [5, 6, 7, 8], (1, 1, 1, 1, 1)),
        ([0, 0, 0, 0], [5, 5, 2, 2], (0, 0, 1 / 3, 1, 0.5)),
        ([0, 1, 2, 3], [5, 5, 2, 2], (0, 0, 0, 0, 0)),
    ],
)
def test_ends_of_the_scale(labels, pids, want):
    assert [*cluster_figures(labels, pids).values()] == pytest.approx(want, abs=1e-9)


def test_images_of_unknown_identity_do_not_count():
    labels, pids = case(1)
    some = np.where(np.arange(len(pids)) % 3 == 0, -1, pids)
    assert cluster_figures(labels, some) == cluster_figures(labels[some >= 0], pids[some >= 0])
    with pytest.raises(ValueError, match="nothing to score"):
        cluster_figures(labels, np.full(len(labels), -1))
    with pytest.raises(ValueError, match="one an image"):
        cluster_figures(labels[1:], pids)


def test_intervals_of_cluster_scores_cover_what_new_identities_would_score():
    """The spread over identities of fresh sets is that of the interval, within its own error."""

    def fresh(seed):
        rng = np.random.default_rng(seed)
        pids = np.repeat(np.arange(60), rng.integers(2, 8, 60))
        hard = np.random.default_rng(seed + 10_000).random(60)[pids]
        labels = np.where(rng.random(len(pids)) < hard, 60 + rng.integers(0, 40, len(pids)), pids)
        return labels, pids

    scores = np.array([[*cluster_figures(*fresh(seed)).values()] for seed in range(300)])
    for at, name in enumerate(NAMES):
        intervals = [cluster_scores(*fresh(seed), draws=200)[at].value for seed in range(12)]
        low, high = np.quantile(scores[:, at], [0.025, 0.975])
        width = np.mean([i.high - i.low for i in intervals])
        assert 0.6 < width / (high - low) < 1.5, name
        assert all(i.low < i.mean < i.high for i in intervals)


def test_cluster_scores_are_signed():
    labels, pids = case(2)
    scores = cluster_scores(labels, pids, extra={"method": "average(threshold=0.4)"})
    assert [s.name for s in scores] == list(NAMES)
    assert [s.value.mean for s in scores] == [*cluster_figures(labels, pids).values()]
    told = parse(scores[0].signature)
    assert (told["score"], told["images"], told["method"]) == ("ari", "150", "average(threshold=0.4)")
    assert told["identities"] == str(len(set(pids.tolist()))) and told["clusters"] == str(len(set(labels.tolist())))
    other = cluster_scores(labels, np.where(pids == 0, 7, pids))[0].signature
    assert parse(other)["data"] != told["data"]
    few = cluster_scores([0, 0, 1, 1], [0, 0, 1, 1])[0].value
    assert few.mean == 1 and math.isnan(few.low)


def answered(seed, n=200):
    """Truth among 20 identities of which 12 are known, and answers that are often right."""
    rng = np.random.default_rng(seed)
    pids, known = rng.integers(0, 20, n) ** 2, np.arange(12) ** 2
    right = np.where(np.isin(pids, known), pids, NEW)
    answers = np.where(rng.random(n) < 0.6, right, rng.choice([*known, NEW], n))
    return answers, pids, known


@pytest.mark.parametrize("seed", range(3))
def test_baks_and_baus_are_balanced_accuracies(seed):
    answers, pids, known = answered(seed)
    got = {s.name: s.value for s in known_or_new(answers, pids, known)}
    there = np.isin(pids, known)
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        baks = sklearn_metrics.balanced_accuracy_score(pids[there], answers[there])
    shares = [np.mean([a == NEW for a, p in zip(answers, pids, strict=True) if p == who]) for who in set(pids[~there])]
    assert got["baks"].mean == pytest.approx(baks)
    assert got["baus"].mean == pytest.approx(sum(shares) / len(shares))
    assert got["baks_baus"].mean == pytest.approx(math.sqrt(baks * sum(shares) / len(shares)))
    for one in got.values():
        assert 0 < one.low < one.mean < one.high < 1


def test_without_new_or_known_images_that_half_is_nan():
    got = [s.value.mean for s in known_or_new([4, 4, NEW], [4, 4, 5], [4, 5])]
    assert got[0] == 0.5 and math.isnan(got[1]) and math.isnan(got[2])
    got = [s.value.mean for s in known_or_new([NEW, 4, NEW, 9], [7, 7, -1, -1], [4, 9])]
    assert math.isnan(got[0]) and got[1] == 0.5
    with pytest.raises(ValueError, match="nothing to score"):
        known_or_new([4], [-1], [4])


def test_map_at_5_by_hand():
    lists = [[3, 4, NEW, 5, 6], [NEW, 3, 4, 5, 6], [3, NEW, NOBODY, NOBODY, NOBODY], [4, 5, 6, 7, 8], [3, 4, 5, 6, 7]]
    score = map_at(lists, [4, 3, 99, 3, -1], [3, 4, 5, 6, 7, 8])
    assert score.name == "map@5" and score.value.mean == pytest.approx((1 / 2 + 1 / 2 + 1 / 2 + 0) / 4)
    assert parse(score.signature)["images"] == "4"
    with pytest.raises(ValueError, match="same answer twice"):
        map_at([[3, 3]], [3], [3])
    assert map_at([[3, NOBODY, NOBODY]], [3], [3]).value.mean == 1


def test_identity_balanced_map_weighs_identities_alike():
    ap = np.array([1.0, 0.5, 0.0, 0.2, np.nan])
    score = identity_balanced_map(ap, [1, 1, 1, 2, 3])
    assert score.value.mean == pytest.approx((0.5 + 0.2) / 2)
    assert score.value.low == pytest.approx(0.2) and score.value.high == pytest.approx(0.5)
    assert parse(score.signature)["identities"] == "2"
