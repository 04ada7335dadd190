"""ensemble.tune as a user meets it: on a finished build of features whose members are known."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from configs.command import run
from configs.load import load_plan
from ensemble import tune
from ensemble.mix import EACH_FIRST, Mix, mix_of
from tests.boards import finished_build, people

MEMBERS = ["r50", "rx50", "ibn_a"]


def tuned(runs, capsys, *argv):
    """What the command printed and kept."""
    tune.main(["--runs", str(runs), *argv])
    out = capsys.readouterr().out
    return out, json.loads(Path(out.splitlines()[-1]).read_text(encoding="utf-8"))["problems"][0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two members that know something and one of noise."""
    folder = tmp_path_factory.mktemp("tuned") / "runs"
    shape = {"n_people": 40, "each": 5, "queries": 2, "d": 24, "spreads": (1.2, 1.4, None)}
    finished_build(folder, *people(np.random.default_rng(3), **shape), MEMBERS)
    return folder


def test_a_member_of_noise_counts_little_and_the_build_takes_the_line(runs, capsys):
    out, found = tuned(runs, capsys)
    weights = found["mix"]["weights"]
    assert found["rungs"][1]["taken"] and weights[2] < 0.5 and max(weights[:2]) == 1
    assert "weights and settings are taken" in out
    line = next(line for line in out.splitlines() if line.startswith("build with:"))
    words = shlex.split(line.removeprefix("build with:"))
    assert words[::2] == ["--set"] * (len(words) // 2)
    plan = load_plan(MEMBERS, sets=words[1::2])
    mix = mix_of(plan.ensemble, MEMBERS)
    assert mix == Mix(**found["mix"] | {"weights": tuple(found["mix"]["weights"])})


def test_a_second_run_only_reads(runs, capsys):
    first, _ = tuned(runs, capsys)
    before = {p: p.stat().st_mtime_ns for p in runs.glob("tuned/*/*")}
    again, _ = tuned(runs, capsys)
    assert again == first and {p: p.stat().st_mtime_ns for p in runs.glob("tuned/*/*")} == before


def test_another_seed_halves_otherwise_and_all_persons_choose_alike(runs, capsys):
    _, one = tuned(runs, capsys)
    _, other = tuned(runs, capsys, "--seed", "1")
    assert one["rungs"][0]["chosen"][2] == other["rungs"][0]["chosen"][2]
    assert one["rungs"][1]["total"] != other["rungs"][1]["total"]


def test_what_chance_could_do_is_not_taken(tmp_path, capsys):
    """Three members of one quality: whatever looks best on half is worth nothing on the other."""
    shape = {"n_people": 24, "each": 4, "queries": 1, "d": 24, "spreads": (1.0, 1.0, 1.0)}
    finished_build(tmp_path, *people(np.random.default_rng(1), **shape), MEMBERS, sets=["ensemble.k1=5"])
    out, found = tuned(tmp_path, capsys)
    assert not found["rungs"][1]["taken"] and found["mix"]["weights"] == [1.0, 1.0, 1.0]
    assert "equal weights" in out and "as built" in out


def test_one_member_says_what_tuning_is_left(tmp_path, capsys):
    feats, evaluation = people(np.random.default_rng(2), n_people=12, each=4, spreads=(1.2,))
    finished_build(tmp_path, feats, evaluation, ["r50"])
    out, found = tuned(tmp_path, capsys)
    assert "one member: there are no weights to choose" in out
    assert [rung["name"] for rung in found["rungs"]] == ["settings"]


def test_the_holdout_is_taken_where_there_is_one(tmp_path, capsys):
    feats, evaluation = people(np.random.default_rng(2), n_people=12, each=4, spreads=(1.2,))
    finished_build(tmp_path, feats, evaluation, ["r50"], name="holdout")
    out, _ = tuned(tmp_path, capsys)
    assert out.startswith("holdout: ") and "test identities" not in out


def test_few_persons_no_labels_no_such_build(tmp_path, capsys):
    feats, evaluation = people(np.random.default_rng(2), n_people=8, each=4, spreads=(1.2,))
    unlabelled = type(evaluation)(**vars(evaluation) | {"query_pids": [], "gallery_pids": []})
    finished_build(tmp_path / "few", feats, evaluation, ["r50"])
    finished_build(tmp_path / "unlabelled", feats, unlabelled, ["r50"])
    for argv, words in (
        ([tmp_path / "few"], ["8 persons", "at least 10", "ensemble.split"]),
        ([tmp_path / "unlabelled"], ["has no identities", "--holdout 0.2"]),
        ([tmp_path / "few", "--build", "builds/x-1"], ["'builds/x-1'", "builds/drawn-"]),
        ([tmp_path / "few", "--evaluation", "holdout"], ["'holdout'", "has test"]),
        ([tmp_path / "none"], ["no such folder"]),
    ):
        with pytest.raises(SystemExit) as left:
            run(lambda argv=argv: tune.main(["--runs", *map(str, argv)]))
        said = capsys.readouterr().err
        assert left.value.code == 2 and all(word in said for word in words), said
    assert not list((tmp_path / "few").glob("tuned/*/tuned.json"))


def test_the_line_names_all_that_a_mix_is():
    said = tune.sets(Mix((1.0, 0.25), k1=7, k2=2, lam=0.6, power=1, fusion=EACH_FIRST), ["r50", "rx50"])
    assert said[0] == "ensemble.weights={r50: 1, rx50: 0.25}" and "ensemble.lam=0.6" in said
    assert mix_of(load_plan(["r50", "rx50"], sets=said).ensemble, ["r50", "rx50"]).fusion == EACH_FIRST
    assert tune.sets(Mix((1.0,), rerank="none"), ["r50"])[1:] == ["ensemble.rerank=none"]


def test_a_build_by_domains_is_not_tuned_as_if_it_were_one(tmp_path, capsys):
    feats, evaluation = people(np.random.default_rng(2), n_people=12, each=4)
    finished_build(tmp_path, feats, evaluation, ["r50"], sets=["ensemble.domains=colours"])
    with pytest.raises(ValueError, match="domains or tracks, which is not tuned"):
        tune.main(["--runs", str(tmp_path)])
