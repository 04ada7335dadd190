"""What ensemble.tune says of calibrated fusion, against the halves and log-odds done by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from configs.load import load_build_config
from ensemble.fusion import calibration
from ensemble.metrics.competition_score import score_stream, total_per_query
from ensemble.tune import __main__ as tune
from ensemble.tune.cross_fitting import split_persons
from tests import oracles
from tests.boards import finished_build, people

MEMBERS, POOL = ["r50", "rx50"], 100
SHAPE = {"n_people": 40, "each": 5, "queries": 2, "d": 24}


def tuned(runs, capsys, *argv):
    tune.main(["--runs", str(runs), *argv])
    out = capsys.readouterr().out
    return out, json.loads(Path(out.splitlines()[-1]).read_text(encoding="utf-8"))["problems"][0]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A member that knows much, and one that knows little."""
    feats, evaluation = people(np.random.default_rng(3), **SHAPE, spreads=(0.9, 3.0))
    runs = tmp_path_factory.mktemp("calibrated") / "runs"
    finished_build(runs, feats, evaluation, MEMBERS)
    return runs, feats, evaluation


def test_each_half_is_calibrated_by_the_other(case, capsys):
    runs, feats, e = case
    out, found = tuned(runs, capsys)
    rows = {(row["name"], row["rerank"].partition("(")[0]): row for row in found["calibrated"]}
    assert len(rows) == 4
    row, rules = rows["logistic", "none"], load_build_config(MEMBERS).competition
    q, pids, there = len(e.query_pids), np.array(e.query_pids), np.array(e.gallery_pids)
    dists = np.stack([oracles.fused_distance([a], [1])[:q, q:] for a in feats])
    plain = dists.sum(0)
    pool = np.zeros(plain.shape, bool)
    for dist in (plain, *dists):
        pool |= dist <= np.sort(dist, axis=1)[:, POOL - 1, None]
    halves, after, looked = split_persons(pids, pids >= 0, 0), np.full(q, np.nan), None
    for learn, scored in ((halves[1], halves[0]), (halves[0], halves[1]), (pids >= 0, None)):
        chosen = pool & learn[:, None]
        one = calibration.fit(1 - dists[:, chosen], (pids[:, None] == there)[chosen], name="logistic")
        near = np.logaddexp(0, -one.log_odds(1 - dists.reshape(2, -1))).reshape(plain.shape) + 1e-3 * plain
        dist = np.where(pool, near, plain + 1e3).astype(np.float32)
        totals = total_per_query(score_stream([(slice(0, q), dist)], e, rules, {}), rules)
        if scored is None:
            looked = totals
            assert (one.pairs, one.same) == (row["pairs"], row["same"])
        else:
            after[scored] = totals[scored]
    before = total_per_query(score_stream([(slice(0, q), plain.astype(np.float32))], e, rules, {}), rules)
    assert row["sum"] == pytest.approx(before.mean(), abs=1e-6)
    assert row["total"] == pytest.approx(after.mean(), abs=1e-6)
    assert row["looked_at"] == pytest.approx(looked.mean(), abs=1e-6)
    assert row["gain"]["mean"] == pytest.approx((after - before).mean(), abs=1e-6)
    assert row["gain"]["level"] == pytest.approx(1 - 0.05 / 4) and row["taken"] == (row["gain"]["low"] > 0)
    assert row["taken"], "a member that knows little should weigh little"
    assert row["each"] is None
    both = [oracles.k_reciprocal(oracles.fused_distance([a], [1]), q, 20, 6, 0.3, 2) for a in feats]
    each = score_stream([(slice(0, q), (both[0] + both[1]).astype(np.float32))], e, rules, {})
    assert rows["isotonic", "k_reciprocal"]["each"] == pytest.approx(total_per_query(each, rules).mean(), abs=1e-3)
    assert "each first" in out  # the column of rerank_then_sum
    said = "ensemble.fusion=calibrated --set ensemble.calibration="
    assert said in out and "and --folds 5, or --holdout 0.2, to learn on" in out


def test_one_member_has_nothing_to_fuse(tmp_path, capsys):
    feats, evaluation = people(np.random.default_rng(3), **SHAPE, spreads=(0.9,))
    finished_build(tmp_path, feats, evaluation, MEMBERS[:1])
    out, found = tuned(tmp_path, capsys)
    assert found["calibrated"] == [] and "calibrated" not in out
