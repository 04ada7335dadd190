"""Fusion `calibrated`: pools, distances in and outside them, against loops and the log-odds summed by hand."""

from dataclasses import replace

import numpy as np
import pytest

from configs.load import load_build_config
from configs.schema import CALIBRATED, CalibrationSettings
from ensemble.fusion import calibrated_pairs
from ensemble.fusion.calibrated_pairs import QueryCalibrations, labelled_pairs
from ensemble.fusion.calibration import Calibration, Line, Steps
from ensemble.fusion.strategy import FusionSettings, distance_stream, fusion_settings, member_streams, rerank_request
from ensemble.kernels.left_out import leave_out
from ensemble.neighbours import distance_blocks
from ensemble.rerank.registry import KReciprocal, NoReranking
from tests import oracles
from tests.features import clustered

Q, POOL, WEIGHTS = 6, 4, (1.0, 0.5)
CURVES = (Line(6.0, -2.0), Steps((0.0, 0.3, 0.5), (-3.0, -1.0, 2.0)))
LEARNED = Calibration(CURVES, WEIGHTS, Line(0.8, -0.5), 100, 10)
OF_ALL = QueryCalibrations((LEARNED,))


@pytest.fixture
def feats():
    rng = np.random.default_rng(5)
    return [clustered(rng, 40, 16, 6), clustered(rng, 40, 64, 6)]


def mix_of(reranker=None, learned=OF_ALL, weights=WEIGHTS):
    calibrating = CalibrationSettings(pool=POOL)
    reranker = reranker or NoReranking()
    return FusionSettings(weights, reranker, CALIBRATED, calibrating=calibrating, learned=learned)


def made(mix, feats, **more):
    return np.concatenate([dist for _, dist in distance_stream(mix, feats, Q, **more)])


def by_hand(dists, gone=(), shift=0.0):
    """(Q, G) distances from each member's, by the definition. shift: of the log-odds of the queries from 3 on."""
    plain = WEIGHTS[0] * dists[0] + WEIGHTS[1] * dists[1]
    out = np.full(plain.shape, np.inf)
    for q, row in enumerate(plain):
        there = [g for g in range(len(row)) if (q, g) not in gone]
        pool = set()
        for dist in (plain, *dists):
            pool |= set(sorted(there, key=lambda g, dist=dist: dist[q, g])[:POOL])
        for g in pool:
            x, y = (1 - dist[q, g] for dist in dists)
            step = -3.0 if y < 0.3 else -1.0 if y < 0.5 else 2.0
            odds = 0.8 * (1.0 * (6 * x - 2) + 0.5 * step) - 0.5 + (shift if q >= 3 else 0)
            out[q, g] = np.log(1 + np.exp(-odds)) + 1e-3 * row[g]
        for g in set(there) - pool:
            out[q, g] = row[g] + max(out[q, i] for i in pool)
    return out


def cosine(feats):
    return [oracles.fused_distance([a], [1])[:Q, Q:] for a in feats]


def test_the_pool_is_by_log_odds_and_the_rest_by_the_plain_sum(feats):
    got = made(mix_of(), feats)
    np.testing.assert_allclose(got, by_hand(cosine(feats)), rtol=1e-5)
    plain = oracles.fused_distance(feats, WEIGHTS)[:Q, Q:]
    for row, own, summed in zip(got, by_hand(cosine(feats)), plain, strict=True):
        tail = np.argsort(row)[3 * POOL :]  # no pool is larger
        assert (np.diff(summed[tail]) > 0).all() and row[tail].min() > np.sort(own)[POOL - 1]


def test_each_is_re_ranked_before_it_is_calibrated(feats):
    reranked = [oracles.k_reciprocal(oracles.fused_distance([a], [1]), Q, 5, 2, 0.3, 2) for a in feats]
    np.testing.assert_allclose(made(mix_of(KReciprocal(k1=5, k2=2)), feats), by_hand(reranked), rtol=1e-4)


def test_what_is_left_out_is_in_no_pool(feats):
    asked, there = [0, 1, 2, 3, -1, 5], np.random.default_rng(1).integers(-1, 6, 34).tolist()
    left_out = leave_out(Q, 34, None, (asked, there))
    want = by_hand(cosine(feats), {(q, g) for q, a in enumerate(asked) for g, b in enumerate(there) if a == b >= 0})
    np.testing.assert_allclose(made(mix_of(), feats, left_out=left_out), want, rtol=1e-5)
    whole = FusionSettings(WEIGHTS, NoReranking(), CALIBRATED, calibrating=CalibrationSettings(pool=34))
    streams, weights = member_streams(whole, feats, Q, left_out=left_out)
    pairs = labelled_pairs(streams, weights, 34, ([0] * Q, [0] * 34), None)
    assert len(pairs.same) == np.isfinite(want).sum() and np.isfinite(pairs.sims).all()


def test_a_query_has_its_own_calibration(feats):
    other = replace(LEARNED, total=Line(0.8, 1.5))
    mix = mix_of(learned=QueryCalibrations((LEARNED, other), (0, 0, 0, 1, 1, 1)))
    np.testing.assert_allclose(made(mix, feats), by_hand(cosine(feats), shift=2.0), rtol=1e-5)


def test_a_member_of_no_weight_has_no_part(feats):
    alone = made(mix_of(learned=OF_ALL.taken([1]), weights=(0.5,)), feats[1:])
    np.testing.assert_allclose(made(mix_of(weights=(0.0, 0.5)), feats), alone, rtol=1e-6)


def test_one_members_steps_keep_its_order(feats):
    """Ties of a step are ordered by the sum, which is this member's distance."""
    mix = mix_of(learned=OF_ALL.taken([1]), weights=(1.0,))
    order, _ = distance_blocks.ranked(distance_stream(mix, feats[1:], Q), None)
    np.testing.assert_array_equal(order, np.argsort(cosine(feats)[1], axis=1, kind="stable"))


def test_without_what_was_learned_there_is_no_distance(feats):
    with pytest.raises(ValueError, match="needs what was learned"):
        distance_stream(mix_of(learned=None), feats, Q)


def test_pairs_are_those_of_the_pools_without_junk_and_unknown(feats):
    rng = np.random.default_rng(0)
    pids, cams = rng.integers(-1, 2, 40), rng.integers(0, 2, 40)
    cams[::7] = -1
    streams, weights = member_streams(mix_of(), feats, Q)
    got = labelled_pairs(streams, weights, POOL, (pids[:Q], pids[Q:]), (cams[:Q], cams[Q:]))
    dists, want = cosine(feats), {}
    plain = WEIGHTS[0] * dists[0] + WEIGHTS[1] * dists[1]
    for q in range(Q):
        for g in {g for dist in (plain, *dists) for g in np.argsort(dist[q])[:POOL].tolist()}:
            same = pids[q] == pids[Q + g]
            if min(pids[q], pids[Q + g]) >= 0 and not (same and cams[q] == cams[Q + g] >= 0):
                want[q, round(float(1 - dists[0][q, g]), 4)] = bool(same)
    found = {
        (q, round(float(x), 4)): bool(s) for q, x, s in zip(got.query.tolist(), got.sims[0], got.same, strict=True)
    }
    assert found == want and len(got.same) == len(want) and {*want.values()} == {True, False}
    whole = labelled_pairs(member_streams(mix_of(), feats, Q)[0], weights, POOL, (pids[:Q], pids[Q:]), None)
    assert len(whole.same) > len(got.same)


def test_a_fit_has_a_row_for_a_member_of_no_weight(feats):
    pids = np.arange(40) % 6
    mix = mix_of(weights=(0.0, 2.0))
    streams, weights = member_streams(mix, feats, Q)
    pairs = labelled_pairs(streams, weights, POOL, (pids[:Q], pids[Q:]), None)
    found = pairs.fit("isotonic", mix.weights)
    assert found.weights == (0.0, 2.0) and found.curves[0] == Line(0.0, 0.0)
    half = np.arange(Q) < 3
    assert set(pairs.of(half).query.tolist()) == {0, 1, 2}


def test_what_is_kept_is_read_back(tmp_path):
    learned = QueryCalibrations((LEARNED, replace(LEARNED, pairs=7)), (0, 1, 1))
    calibrated_pairs.save(tmp_path, learned)
    assert calibrated_pairs.load(tmp_path) == learned


def test_a_plan_says_how():
    sets = ["ensemble.fusion=calibrated", "ensemble.rerank=none", "ensemble.calibration={name: logistic, pool: 30}"]
    ensemble = load_build_config(["r50"], sets=sets).ensemble
    mix = fusion_settings(ensemble, ["r50"])
    assert mix.describe() == "none,calibrated(logistic,pool=30)"
    assert rerank_request(ensemble) == {
        "name": "none",
        "fusion": "calibrated",
        "calibration": {"name": "logistic", "pool": 30},
    }
    assert load_build_config(["r50"], sets=["ensemble.calibration=logistic"]).ensemble.calibration.pool == 100
