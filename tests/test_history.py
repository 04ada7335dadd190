"""What changed since the build before: the settings, the scores by the oracle, and why scores do not compare."""

import os
import re
import shutil

import numpy as np
import pytest

from configs.console.progress import Progress
from configs.store.store import Store
from submit.build_scores import score_evaluation
from submit.report.build_report import write_report
from submit.report.history import previous
from submit.report.report_input import open_report_input
from tests import oracles
from tests.report_case import made_up, picture_folder, record_build

LISTS = made_up(24, 12, 3, 0, "q"), made_up(90, 12, 3, 1, "g")
FIELDS = {"total": "total", "rank-1": "rank1", "mAP": "map", "mINP": "minp"}


def silent(text):
    """For a store that has nothing to tell."""


@pytest.fixture
def record(tmp_path):
    """Records one more build in the same store, a second after the last, and opens it."""
    data, opened = picture_folder(tmp_path / "data", *LISTS), []

    def one_more(**changes):
        store = Store(record_build(tmp_path / "runs", data, *LISTS, **changes), silent)
        opened.append(open_report_input(store, None))
        os.utime(store.root / opened[-1].key / "manifest.json", (len(opened), len(opened)))
        return opened[-1]

    return one_more


def scores(subject):
    """As the report has them."""
    plan = subject.plan
    return {
        t.name: score_evaluation(subject.store, t.name, t.evaluation, plan.ensemble, plan.competition, "cpu")
        for t in subject.trials
    }


def by_oracle(subject):
    """The members' sum, re-ranked: total, rank-1, mAP, mINP."""
    trial = subject.trials[0]
    whole = oracles.fused_distance([bank.feats for bank in trial.banks], [1.0] * len(trial.banks))
    sides = trial.query.pids, trial.gallery.pids, trial.query.camids, trial.gallery.camids
    said = oracles.evaluate(oracles.k_reciprocal(whole, len(trial.query)), *sides, ap="market", junk="market")
    return {"total": (said["rank1"] + said["map"]) / 2, **{k: said[k] for k in ("rank1", "map", "minp")}}


def test_a_gain_is_what_is_now_less_what_was_before(record, tmp_path):
    first = record(members=("r50",), spread=1.5)
    assert previous(first, scores(first)) is None
    now = record(spread=1.5)
    found = previous(now, scores(now))
    assert found.key == first.key and found.notes == ()
    was, better = by_oracle(first), by_oracle(now)
    assert better["total"] > was["total"] + 0.02
    assert [(gain.trial, gain.what) for gain in found.gains] == [("test", what) for what in FIELDS]
    for gain in found.gains:
        field = FIELDS[gain.what]
        assert (gain.before, gain.after) == (
            pytest.approx(was[field], abs=1e-6),
            pytest.approx(better[field], abs=1e-6),
        )
    told = {c.key: (c.before, c.after) for c in found.changes}
    assert told["members.ibn_a.backbone.name"] == ("not set", "resnet") and "members.r50.backbone.name" not in told
    page = (write_report(now.store, None, tmp_path / "report", Progress(quiet=True), "cpu") / "index.html").read_text()
    rows = dict(re.findall(r"<tr><th scope=\"row\">test, ([^<]+)</th>(.*?)</tr>", page))
    assert set(rows) == set(FIELDS)
    for what, row in rows.items():
        cells = re.sub(r"<[^>]+>", " ", row).replace("\N{MINUS SIGN}", "-").split()
        before, after = 100 * was[FIELDS[what]], 100 * better[FIELDS[what]]
        assert [float(x) for x in cells] == pytest.approx([before, after, after - before], abs=0.051)


def test_a_loss_is_a_loss(record):
    first = record(spread=1.5)
    now = record(members=("r50",), spread=1.5)
    total = previous(now, scores(now)).gains[0]
    assert total.after - total.before == pytest.approx(by_oracle(now)["total"] - by_oracle(first)["total"], abs=1e-6)
    assert total.after < total.before - 0.02
    assert ("members.ibn_a.backbone.name", "not set") in [(c.key, c.after) for c in previous(now, {}).changes]


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["competition.junk=none"], "junk is same_pid_same_cam in one and none in the other"),
        (
            ["competition.score={rank1: 1, map: 0}"],
            "weights is 0.5*rank1+0.5*map in one and 1*rank1+0*map in the other",
        ),
        (["competition.ap=hits"], "ap is market in one and hits in the other; "),
    ],
)
def test_scores_by_other_rules_are_not_subtracted(record, sets, said):
    record()
    now = record(sets=sets)
    found = previous(now, scores(now))
    assert found.gains == () and len(found.notes) == 1
    assert found.notes[0].startswith("test: scores are not comparable: " + said)


def test_scores_that_are_not_there_are_said(record):
    first = record()
    now = record(members=("r50",))
    found = previous(now, scores(now) | {"holdout": scores(now)["test"], "empty": []})
    assert [gain.trial for gain in found.gains] == ["test"] * 4
    assert found.notes == tuple(f"{name}: the previous build has no such evaluation" for name in ("holdout", "empty"))
    shutil.rmtree(first.store.root / "scores")
    shutil.rmtree(first.store.root / first.trials[0].evaluation.banks["ibn_a"])
    (note,) = previous(now, scores(now)).notes
    assert note.startswith("test: the previous build cannot be scored: ")


def test_without_identities_in_either_nothing_is_subtracted(record):
    record(labelled=False)
    now = record()
    assert previous(now, scores(now)) is None
    again = record(labelled=False, members=("r50",))
    assert scores(again) == {"test": []} and previous(again, scores(again)).gains == ()


def test_the_build_before_is_the_last_that_is_older(record):
    builds = [record(sets=[f"ensemble.k1={k1}"]) for k1 in (7, 8, 9)]
    assert [previous(one, {}).key for one in builds[1:]] == [one.key for one in builds[:2]]
    assert [(c.key, c.before, c.after) for c in previous(builds[2], {}).changes] == [("ensemble.k1", "8", "9")]
    for name in ("another", "own-too"):
        other = builds[0].store.root / "builds" / f"{name}-{'0' * 12}"
        shutil.copytree(builds[1].store.root / builds[1].key, other)
        os.utime(other / "manifest.json", (2.5, 2.5))
    assert previous(builds[2], {}).key == builds[1].key, "a build of another competition is none"
    (builds[1].store.root / builds[1].key / "build.json").write_text("{")
    assert previous(builds[2], {}).key == builds[0].key, "one that cannot be read is passed over"
    assert not np.isnan([gain.after for gain in previous(builds[2], scores(builds[2])).gains]).any()
