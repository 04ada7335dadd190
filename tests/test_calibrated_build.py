"""ensemble.fusion=calibrated by the commands: on folds, on held-out people, and refused where neither is."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import ensemble
import submit
from configs.console.command import run
from configs.store.store import Store
from ensemble import build
from ensemble.fusion.calibrated_pairs import learned_for
from ensemble.results.build_record import open_build
from models.data.drawn import draw_people
from tests.conftest import TINY, run_command

CALIBRATED = ["--set", "ensemble.fusion=calibrated", "--set", "ensemble.rerank=none"]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """24 training people and 24 to test."""
    return draw_people(tmp_path_factory.mktemp("crowd") / "people", ids=48, size=(64, 32), n_jobs=1)


def argv_of(crowd, root, *more):
    return ["--members", "a,b", "--data", str(crowd), "--runs", str(root), *TINY, *CALIBRATED, *more]


@pytest.fixture(scope="module")
def built(crowd, tmp_path_factory):
    root = tmp_path_factory.mktemp("calibrated") / "runs"
    done = run_command("ensemble.build", *argv_of(crowd, root, "--folds", "2"))
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(root=root, said=done.stderr)


def opened(root):
    store = Store(root, lambda text: None)
    record = open_build(store)[1]
    return store, record, {name: learned_for(store, e) for name, e in record.evaluations.items()}


def by_definition(feats, learned, pool):
    """(Q, G) log-odds of every pair, and whether it is in the pool; feats: (queries, gallery) of each member."""
    sims = [q.astype(np.float64) @ g.astype(np.float64).T for q, g in feats]
    inside = np.zeros(sims[0].shape, bool)
    for row in (sum(sims), *sims):
        inside |= row >= np.sort(row, axis=1)[:, -pool][:, None]
    odds = sum(curve(sim) for curve, sim in zip(learned.curves, sims, strict=True))
    return learned.total.slope * odds + learned.total.intercept, inside


def test_the_lists_follow_what_the_folds_taught(built):
    _, record, learned = opened(built.root)
    (one,) = learned["test"].learned
    test = ensemble.open_build(built.root).evaluations["test"]
    feats = [(a[: test.n_query], a[test.n_query :]) for a in (test.features(m)[1] for m in ("a", "b"))]
    odds, inside = by_definition(feats, one, 100)
    for row, dist, own, mine in zip(test.ranking.order, test.ranking.dist, odds, inside, strict=True):
        listed = row[mine[row]]
        assert set(listed.tolist()) == set(np.flatnonzero(mine).tolist()) or len(row) < mine.sum()
        assert (np.diff(own[listed]) <= 2e-3).all(), "best first, but for ties that the sum orders"
        np.testing.assert_allclose(dist[: len(listed)], np.log1p(np.exp(-own[listed])), atol=5e-3)
    assert one.pairs > one.same > 0 and "isotonic calibration of 2 members learned on" in built.said
    assert record.evaluations["test"].calibration in record.made_of


def test_what_is_learned_is_of_images_that_no_network_saw(built):
    """The pairs are of the folds' banks, and of nothing else."""
    _, record, _ = opened(built.root)
    request = json.loads((built.root / record.evaluations["test"].calibration / "manifest.json").read_text())["request"]
    told = {key.rsplit("-", 1)[1] for fold in record.folds.folds for key in fold.banks.values()}
    assert set(request["banks"].values()) == told and len(told) == 4
    assert not told & {key.rsplit("-", 1)[1] for key in record.evaluations["test"].banks.values()}


def test_the_commands_go_with_it(crowd, built, tmp_path):
    """Scored, reported, weighed, tuned, planned; a second run makes nothing."""
    before = {p.parent.name for p in built.root.glob("*/*/manifest.json")}
    done = run_command("ensemble.build", *argv_of(crowd, built.root, "--folds", "2"))
    assert done.returncode == 0 and {p.parent.name for p in built.root.glob("*/*/manifest.json")} == before
    planned = run_command("ensemble.build", *argv_of(crowd, tmp_path / "none", "--folds", "2", "--dry-run"))
    assert planned.returncode == 0 and "calibrations" in planned.stdout + planned.stderr, planned.stderr
    made = submit.make(runs=built.root, out=tmp_path / "submission")
    names = [row.name for row in made.scores["test"]]
    assert names == ["a", "b", "sum", "calibrated sum"]
    assert "calibrated(isotonic,pool=100)" in made.scores["test"][-1].signature
    assert made.scores["test"][-1].total != made.scores["test"][-2].total
    report = "submit.report", "--out", str(tmp_path / "report")
    for module, *more in (
        ("ensemble.worth",),
        report,
        *(("ensemble.tune", "--evaluation", e) for e in ("train", "test")),
    ):
        done = run_command(module, "--runs", str(built.root), *more)
        assert done.returncode == 0, done.stderr
        assert module != "ensemble.tune" or ("as built" in done.stdout) == ("test" in more)


def test_another_method_learns_again_and_trains_nothing(crowd, built):
    done = run_command(
        "ensemble.build", *argv_of(crowd, built.root, "--folds", "2", "--set", "ensemble.calibration=logistic")
    )
    assert "training" not in done.stderr and "logistic calibration of 2 members learned" in done.stderr
    assert len({p.name for p in built.root.glob("calibrations/*")}) == 2


def test_held_out_people_are_calibrated_by_the_other_half(crowd, tmp_path, built):
    build.main(argv_of(crowd, tmp_path / "runs", "--holdout", "0.5"))
    _, record, learned = opened(tmp_path / "runs")
    held, test = learned["holdout"], learned["test"]
    assert len(test.learned) == 1 and len(held.learned) == 2 and held.of_query
    pids = np.array(record.evaluations["holdout"].query_pids)
    which = np.array(held.of_query)
    assert not set(pids[which == 0].tolist()) & set(pids[which == 1].tolist()) and abs(which.mean() - 0.5) < 0.2
    assert sum(one.pairs for one in held.learned) == test.learned[0].pairs
    assert sum(one.same for one in held.learned) == test.learned[0].same


def test_the_other_halfs_pairs_are_those_that_it_learns_from(crowd, tmp_path):
    """Labels of the first half of the queries that are changed change the calibration of the second alone."""
    from ensemble.fusion.calibrated_pairs import LabelledPairs
    from ensemble.fusion.strategy import FusionSettings
    from ensemble.pipeline.calibration_stage import _learn

    rng = np.random.default_rng(0)
    query, same = np.repeat(np.arange(20), 10), rng.random(200) < 0.4
    sims = rng.random((2, 200)).astype(np.float32) + same
    pids = np.arange(20) // 2
    found = _learn(LabelledPairs(query, sims, same), FusionSettings((1, 1)), pids, 0)
    mine = np.array(found.of_query)[query] == 0
    other = _learn(LabelledPairs(query, sims, same ^ mine), FusionSettings((1, 1)), pids, 0)
    assert found.learned[0] == other.learned[0] and found.learned[1] != other.learned[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "ensemble.fusion=calibrated learns on labelled pairs that no member was trained on, and this build has "
             "none: add --folds 5, or --holdout 0.2"),
        (["--folds", "2", "--set", "ensemble.whiten=train"], "learns on the folds, which do not have ensemble.whiten"),
        (["--folds", "2", "--set", "ensemble.tracks=mean"], "goes with domains none and tracks none"),
        (["--holdout", "0.2"], "to learn on (--holdout), and needs at least 10"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused_before_training(crowd, tmp_path, capsys, more, said):
    with pytest.raises(SystemExit):
        run(lambda: build.main(argv_of(crowd, tmp_path / "runs", *more)))
    assert said in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("runs/members/*/manifest.json"))
