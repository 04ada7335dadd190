"""ensemble.tune as a user meets it: on a finished build of features whose members are known."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.console.command import run
from configs.load import load_build_config
from configs.schema import EACH_FIRST
from ensemble.fusion import partitions
from ensemble.fusion.strategy import FusionSettings, fusion_settings
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.results.build_record import DomainsAndTracks
from ensemble.results.open_evaluation import open_evaluation
from ensemble.tune import __main__ as tune
from ensemble.tune.exact_scorer import ExactScorer
from tests.boards import finished_build, grid, people

MEMBERS = ["r50", "rx50", "ibn_a"]


def tuned(runs, capsys, *argv):
    """What the command printed and kept."""
    tune.main(["--runs", str(runs), *argv])
    out = capsys.readouterr().out
    return out, kept(out)["problems"][0]


def kept(out):
    """What the last line names."""
    return json.loads(Path(out.splitlines()[-1]).read_text(encoding="utf-8"))


def verdicts(out):
    """The last column of the rungs' rows."""
    rows = [line for line in out.splitlines() if ", cross-fitted" in line]
    return ["not taken" if row.rstrip().endswith("not taken") else row.split()[-1] for row in rows]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two members that know something and one of noise."""
    folder = tmp_path_factory.mktemp("tuned") / "runs"
    shape = {"n_people": 40, "each": 5, "queries": 2, "d": 24, "spreads": (1.2, 1.4, None)}
    finished_build(folder, *people(np.random.default_rng(3), **shape), MEMBERS)
    return folder


def test_a_member_of_noise_gets_no_weight_and_the_build_takes_the_line(runs, capsys):
    out, found = tuned(runs, capsys)
    weights = found["mix"]["weights"]
    assert found["rungs"][1]["taken"] and weights[2] == 0 and max(weights[:2]) == 1
    assert found["rungs"][1]["noise"] == [[2]] * 3 and found["rungs"][0]["noise"] == [[]] * 3
    assert "ibn_a: alone not better than chance on everybody, so left out there" in out
    assert "weights and settings are taken" in out and verdicts(out) == ["not taken", "taken"]
    line = next(line for line in out.splitlines() if line.startswith("build with:"))
    words = shlex.split(line.removeprefix("build with:"))
    assert words[::2] == ["--set"] * (len(words) // 2)
    plan = load_build_config(MEMBERS, sets=words[1::2])
    mix = fusion_settings(plan.ensemble, MEMBERS)
    assert mix.as_dict() == found["mix"]


def stained(rng):
    """People by two members, on whose features lies what is no person's: three directions, thrice as wide."""
    feats, evaluation = people(rng, n_people=40, each=5, queries=2, d=24, spreads=(0.9, 0.9))
    out = []
    for one in feats:
        raw = one + 3 * rng.standard_normal((len(one), 3)) @ np.linalg.qr(rng.standard_normal((24, 3)))[0].T
        out.append((raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32))
    return out, evaluation


def test_whitening_is_chosen_where_it_is_worth_something(tmp_path, capsys):
    finished_build(tmp_path, *stained(np.random.default_rng(5)), MEMBERS[:2], sets=["ensemble.k1=9"])
    out, found = tuned(tmp_path, capsys)
    assert found["rungs"][0]["taken"] and found["mix"]["whiten"] == 0.1 and found["rungs"][0]["gain"]["mean"] > 0.2
    assert (
        "ensemble.whiten={name: test, shrinkage: 0.1}" in out
        and "whitened by query and gallery, which some competitions forbid" in out
    )
    plan = load_build_config(MEMBERS[:2], sets=kept(out)["sets"])
    assert (plan.ensemble.whiten.name, plan.ensemble.whiten.shrinkage) == ("test", 0.1)


def test_features_that_are_whitened_already_are_not_whitened_again(tmp_path, capsys):
    finished_build(tmp_path, *stained(np.random.default_rng(5)), MEMBERS[:2], sets=["ensemble.whiten=test"])
    out, found = tuned(tmp_path, capsys)
    assert "whiten" not in found["mix"] and "ensemble.whiten" not in out


def test_the_builds_own_settings_are_tried_as_a_whole(tmp_path):
    """Such as `auto` chose: no line search need come by them."""
    finished_build(tmp_path, *stained(np.random.default_rng(5)), MEMBERS[:2], sets=["ensemble.k1=9", "ensemble.k2=5"])
    case = open_evaluation(tune.parse(["--runs", str(tmp_path)]))
    assert {"k1": 9, "k2": 5, "lam": 0.3, "power": 2} in tune.grid_of(case).known["k_reciprocal"]


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
    assert "nothing was taken, so there is nothing to set" in out and "build with" not in out
    assert "equal weights" in out and "as built" in out and verdicts(out)[1] == "not taken"


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
    assert "chosen on training identities that were held out: no member was trained on them" in out


def test_few_persons_no_labels_no_such_build(tmp_path, capsys):
    feats, evaluation = people(np.random.default_rng(2), n_people=8, each=4, spreads=(1.2,))
    unlabelled = type(evaluation)(**vars(evaluation) | {"query_pids": [], "gallery_pids": []})
    finished_build(tmp_path / "few", feats, evaluation, ["r50"])
    finished_build(tmp_path / "unlabelled", feats, unlabelled, ["r50"])
    for argv, words in (
        ([tmp_path / "few"], ["8 query identities", "at least 10", "ensemble.split"]),
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
    said = tune.sets(
        FusionSettings((1.0, 0.25), KReciprocal(k1=7, k2=2, lam=0.6, power=1), fusion=EACH_FIRST), ["r50", "rx50"]
    )
    assert said[0] == "ensemble.weights={r50: 1, rx50: 0.25}" and "ensemble.lam=0.6" in said
    assert fusion_settings(load_build_config(["r50", "rx50"], sets=said).ensemble, ["r50", "rx50"]).fusion == EACH_FIRST
    assert tune.sets(FusionSettings((1.0,), NoReranking()), ["r50"])[1:] == ["ensemble.rerank=none"]


def by_domain(feats, evaluation, day):
    """The first member knows the persons of the day alone, the second those of the night."""
    known = np.array([*evaluation.query_pids, *evaluation.gallery_pids]) < day
    noise = feats[2]
    feats = [np.where(known[:, None], feats[0], noise), np.where(known[:, None], noise, feats[1])]
    names, q = np.where(known, "day", "night").tolist(), len(evaluation.query_pids)
    return feats, replace(evaluation, kinds=DomainsAndTracks(names[:q], names[q:], []))


TABLE = ["ensemble.domains=table"]


def test_each_domain_gets_the_member_that_knows_it(tmp_path, capsys):
    shape = {"n_people": 48, "each": 5, "queries": 2, "d": 24, "spreads": (1.2, 1.2, None)}
    feats, evaluation = by_domain(*people(np.random.default_rng(3), **shape), 24)
    finished_build(tmp_path, feats, evaluation, MEMBERS[:2], sets=TABLE)
    out, _ = tuned(tmp_path, capsys)
    found = kept(out)
    day, night = found["problems"]
    assert (day["name"], night["name"]) == ("day", "night") and (day["queries"], day["gallery"]) == (48, 72)
    assert day["rungs"][0]["gain"]["level"] == 0.9875
    for one, knows in ((day, 0), (night, 1)):
        assert one["rungs"][1]["taken"] and one["mix"]["weights"][knows] == 1 and one["mix"]["weights"][1 - knows] < 0.5
    whole = found["together"]
    assert whole["base"] == pytest.approx((day["base"]["total"] + night["base"]["total"]) / 2)
    assert whole["total"] == pytest.approx((day["rungs"][1]["total"] + night["rungs"][1]["total"]) / 2)
    assert whole["gain"]["mean"] == pytest.approx(whole["total"] - whole["base"]) and whole["gain"]["low"] > 0
    assert "domain day: 72 to find" in out and "all queries together: " in out
    words = shlex.split(next(x for x in out.splitlines() if x.startswith("build with:")).removeprefix("build with:"))
    settings = load_build_config(MEMBERS[:2], sets=words[1::2]).ensemble
    got = partitions.mixes_of(
        settings, MEMBERS[:2], [partitions.Partition(name, np.arange(0), ()) for name in ("day", "night")]
    )
    assert settings.domains == "table"
    assert [mix.as_dict() for mix in got] == [day["mix"], night["mix"]]


def test_the_seed_is_of_chance_and_of_all_queries_together(tmp_path, capsys, monkeypatch):
    """Another seed draws other lists without order, and other persons for the interval of both domains together."""
    shape = {"n_people": 24, "each": 3, "queries": 1, "d": 8, "spreads": (1.2, 1.2, None)}
    feats, evaluation = by_domain(*people(np.random.default_rng(3), **shape), 12)
    finished_build(tmp_path, feats, evaluation, MEMBERS[:2], sets=TABLE)
    few = {"k1": (5,), "k2": (1,), "lam": (0.3,), "power": (2,), "fusion": (EACH_FIRST,), "known": ()}
    monkeypatch.setattr(tune, "SearchSpace", lambda: grid(**few, rounds=1, steps=1))
    drawn, chance, real = [], ExactScorer.chance, tune.together
    monkeypatch.setattr(ExactScorer, "chance", lambda judge, seed: drawn.append(seed) or chance(judge, seed))
    monkeypatch.setattr(tune, "together", lambda held, seed: drawn.append(seed) or real(held, seed))
    tuned(tmp_path, capsys, "--seed", "4")
    assert drawn == [4, 4, 4]


def test_a_domain_of_few_persons_keeps_the_defaults(tmp_path, capsys):
    shape = {"n_people": 30, "each": 5, "queries": 2, "d": 24, "spreads": (1.2, 1.2, None)}
    feats, evaluation = by_domain(*people(np.random.default_rng(3), **shape), 6)
    finished_build(tmp_path, feats, evaluation, MEMBERS[:2], sets=TABLE)
    out, first = tuned(tmp_path, capsys)
    assert first["name"] == "night" and "day: keeps equal weights and the default settings: 6 query identities" in out
    own = load_build_config(MEMBERS[:2], sets=kept(out)["sets"]).ensemble.domain_settings
    assert own["day"].weights == {"r50": 1, "rx50": 1} and own["day"].k1 == 20 and own["night"].weights["rx50"] == 1
    found = kept(out)
    share = 12 / 60
    rest = (found["together"]["base"] - (1 - share) * first["base"]["total"]) / share
    taken = next((r["total"] for r in reversed(first["rungs"]) if r["taken"]), first["base"]["total"])
    assert found["together"]["total"] == pytest.approx(share * rest + (1 - share) * taken)


def test_too_few_persons_in_every_domain(tmp_path):
    feats, evaluation = by_domain(*people(np.random.default_rng(3), n_people=15, spreads=(1, 1, None)), 7)
    finished_build(tmp_path, feats, evaluation, MEMBERS[:2], sets=TABLE)
    with pytest.raises(ValueError, match="8 query identities"):
        tune.main(["--runs", str(tmp_path)])


def test_tracks_are_tuned_as_they_are_found(tmp_path, capsys):
    shape = {"n_people": 24, "each": 6, "queries": 2, "d": 24, "spreads": (1.2, None)}
    feats, evaluation = people(np.random.default_rng(3), **shape)
    tracks = [2 * pid + i % 2 for i, pid in enumerate(evaluation.gallery_pids)]
    evaluation = replace(evaluation, kinds=DomainsAndTracks([], [], tracks))
    finished_build(tmp_path, feats, evaluation, MEMBERS[:2], sets=["ensemble.tracks=mean"])
    out, found = tuned(tmp_path, capsys)
    assert found["gallery"] == len(set(tracks)) and "tracks=mean" in found["signature"]
    assert kept(out)["together"] is None and kept(out)["sets"][-1] == "ensemble.tracks=mean"
    assert found["mix"]["weights"][0] == 1
