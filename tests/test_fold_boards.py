"""ensemble.tune on folds: each a board of its own, scores averaged over queries, and what is said of it."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.console.command import run
from configs.load import load_build_config
from configs.store.store import Address, Store
from ensemble import worth
from ensemble.features.feature_bank import save_bank
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import RERANKERS
from ensemble.results.build_record import (
    Evaluation,
    FoldFeatures,
    Record,
    TrainingFolds,
    load_record,
    point_at,
    save_record,
)
from ensemble.results.open_evaluation import open_tuned
from ensemble.tune import __main__ as tune
from ensemble.tune.boards import fold_boards, problems
from ensemble.tune.exact_scorer import ExactScorer
from tests.boards import people
from tests.features import unit_rows

MEMBERS = ["r50", "rx50"]
MIXES = [FusionSettings((1.0, 0.5)), FusionSettings((0.0, 1.0))]


def keep_bank(store, name, values, queries):
    names = [f"{i:05d}.png" for i in range(len(values))]
    address = Address("features", name, {"weights": "0" * 12, "of": float(values.sum())})
    store.get(address, lambda folder: save_bank(folder, values, names[:queries], names[queries:]))
    return address.key


def training_fold(rng, n_people, first, spreads, each=5):
    """Features of a fold's images, the members by a network of their own; pids, and cameras 0 to 2."""
    feats, e = people(rng, n_people=n_people, each=each, queries=0, d=24, spreads=spreads, cameras=True)
    return feats, [pid + first for pid in e.gallery_pids], e.gallery_camids


def build_with_folds(root, folds, test, test_feats, sets=()):
    """A finished build of these features: (feats, pids, camids) of each fold."""
    store, made = Store(root, lambda text: None), []
    for number, (feats, pids, camids) in enumerate(folds, 1):
        banks = {m: keep_bank(store, f"{m}-fold{number}", f, 0) for m, f in zip(MEMBERS, feats, strict=True)}
        made.append(FoldFeatures(banks, list(pids), list(camids)))
    asked = len(test.query_camids)
    banks = {m: keep_bank(store, f"{m}-test", f, asked) for m, f in zip(MEMBERS, test_feats, strict=True)}
    plan = load_build_config(MEMBERS, sets=["ensemble.k1=5", "ensemble.k2=2", *sets])
    told = TrainingFolds("hashes/train-000000000000", made)
    evaluations = {"test": replace(test, banks=banks)}
    record = Record(plan.model_dump(mode="json"), "nowhere", "python -m ensemble.build", evaluations, folds=told)
    address = Address("builds", "drawn", {"banks": banks, "folds": [fold.banks for fold in made], "sets": list(sets)})
    store.get(address, lambda folder: save_record(folder, record))
    point_at(store, address.key)
    return store, record


def case_of(root, *argv):
    return open_tuned(tune.parse(["--runs", str(root), *argv]))


@pytest.fixture(scope="module")
def board():
    """Folds of 12, 8 and 6 persons, the second member of noise; a test of 24, whose second member is the good one."""
    rng = np.random.default_rng(4)
    folds = [training_fold(rng, n, first, (1.0, None)) for n, first in ((12, 0), (8, 12), (6, 20))]
    feats, test = people(rng, n_people=24, each=5, queries=2, d=24, spreads=(None, 1.0), cameras=True)
    return folds, test, feats


def totals(root, mix, seed=0):
    return problems(case_of(root), "cpu", seed)["all"].totals(mix)


def test_a_record_with_folds_is_read_back(tmp_path, board):
    _, record = build_with_folds(tmp_path, *board)
    save_record(tmp_path, record)
    assert load_record(tmp_path) == record


def test_scores_are_means_over_the_queries_of_all_folds(tmp_path, board):
    """Not over folds, whose queries differ in number: scored here fold by fold, with nothing but that fold."""
    build_with_folds(tmp_path, *board)
    case = case_of(tmp_path)
    boards = problems(case, "cpu", 0)["all"]
    for mix in MIXES:
        alone = []
        for judge in fold_boards(case, "cpu", 0, ()):
            one = ExactScorer(judge.feats, judge.names, judge.evaluation, case.plan.competition, "cpu")
            alone += one.totals(mix).tolist()
        assert boards.totals(mix).tolist() == alone
        assert boards.total(mix) == pytest.approx(np.mean(alone))
        fast = boards.fast(40).totals(mix)
        np.testing.assert_allclose(fast, alone, atol=1e-6)
    sizes = [len(judge.evaluation.query_pids) for judge in boards.judges]
    assert len(set(sizes)) > 1 and sum(sizes) == len(boards.pids) == len(boards.chance(0))
    assert len({*boards.pids.tolist()}) == 26


def test_images_of_two_folds_are_never_compared(tmp_path, board):
    """A fold's features may be turned as its network likes: all distances inside it stay, those to others do not."""
    folds, *rest = board
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0].astype(np.float32)
    turned = [([f @ turn for f in feats], *labels) for feats, *labels in folds[:1]] + folds[1:]
    for name, given in (("plain", folds), ("turned", turned)):
        build_with_folds(tmp_path / name, given, *rest)
    for mix in (*MIXES, replace(MIXES[0], whitened=0.5)):
        found = [problems(case_of(tmp_path / name), "cpu", 0, [0.5])["all"].totals(mix) for name in ("plain", "turned")]
        np.testing.assert_allclose(*found, atol=1e-6)


def test_a_fold_counts_for_its_own_queries_alone(tmp_path, board):
    folds, *rest = board
    noise = [unit_rows(np.random.default_rng(1), len(folds[1][1]), 24) for _ in MEMBERS]
    build_with_folds(tmp_path / "a", folds, *rest)
    build_with_folds(tmp_path / "b", [folds[0], (noise, *folds[1][1:]), folds[2]], *rest)
    a, b = (totals(tmp_path / name, MIXES[0]) for name in "ab")
    first, second = (len(x.evaluation.query_pids) for x in fold_boards(case_of(tmp_path / "a"), "cpu", 0, ())[:2])
    assert (a[:first] == b[:first]).all() and (a[first + second :] == b[first + second :]).all()
    assert a[first : first + second].mean() > b[first : first + second].mean() + 0.1


def tuned(root, capsys, *argv):
    tune.main(["--runs", str(root), *argv])
    out = capsys.readouterr().out
    return out, json.loads(Path(out.splitlines()[-1]).read_text(encoding="utf-8"))


def test_choices_are_made_on_the_folds_and_the_report_says_so(tmp_path, board, capsys):
    build_with_folds(tmp_path, *board)
    out, found = tuned(tmp_path, capsys)
    (one,) = found["problems"]
    assert one["mix"]["weights"][0] == 1 and one["mix"]["weights"][1] == 0  # on the test the second is the good one
    assert one["rungs"][1]["noise"] == [[1]] * 3 and one["persons"] == 26
    assert out.startswith(
        "3 folds of the training identities, each a board of its own, shaped like the test: 52 queries"
    )
    assert "train: 52 queries of 26 persons" in out and "boards" not in out.split("train: ")[1].splitlines()[0]
    assert "Images of different folds are not compared; scores are means over all queries" in out
    assert "chosen on training identities, each by members that were not trained on it" in out
    assert "these are the test identities" not in out
    words = shlex.split(next(x for x in out.splitlines() if x.startswith("build with:")).removeprefix("build with:"))
    assert load_build_config(MEMBERS, sets=words[1::2]).ensemble.weights == {"r50": 1, "rx50": 0}


def test_the_test_has_no_part_in_the_choice_and_is_scored_by_it(tmp_path, board, capsys):
    folds, test, feats = board
    chosen = {}
    for name, of_test in (("a", feats), ("b", feats[::-1])):
        build_with_folds(tmp_path / name, folds, test, of_test)
        out, found = tuned(tmp_path / name, capsys)
        chosen[name] = found
        assert "on the test, which had no part in any choice: " in out
        assert "  weights and settings that everybody chose: " in out
    keys = ("problems", "kept", "sets", "folds")
    strip = [
        {k: [{**p, "seconds": 0, "a_minute": 0} for p in f[k]] if k == "problems" else f[k] for k in keys}
        for f in chosen.values()
    ]
    assert strip[0] == strip[1]
    case = case_of(tmp_path / "a", "--evaluation", "test")
    judge = ExactScorer(feats, MEMBERS, case.evaluation, case.plan.competition, "cpu")
    base = np.nanmean(judge.totals(FusionSettings((1.0, 1.0))))
    told = chosen["a"]["elsewhere"]["weights and settings"]
    assert told["base"] == pytest.approx(base) and told["total"] < told["base"]
    assert told["gain"]["mean"] == pytest.approx(told["total"] - told["base"]) and told["gain"]["high"] < 0
    assert chosen["b"]["elsewhere"]["weights and settings"]["gain"]["low"] > 0
    assert list(chosen["a"]["elsewhere"]) == ["settings", "weights and settings"]


def test_a_test_without_labels_is_no_hindrance(tmp_path, board, capsys):
    folds, test, feats = board
    hidden = Evaluation({}, "", None, [], test.query_camids, [], test.gallery_camids)
    build_with_folds(tmp_path, folds, hidden, feats)
    out, found = tuned(tmp_path, capsys)
    assert found["elsewhere"] is None and "on the test" not in out and found["problems"][0]["rungs"][1]["taken"]


def test_another_seed_draws_other_lists_and_the_test_can_still_be_asked_for(tmp_path, board, capsys):
    build_with_folds(tmp_path, *board)
    drawn = [
        [
            judge.feats[0][: len(judge.evaluation.query_pids)].tobytes()
            for judge in fold_boards(case_of(tmp_path), "cpu", seed, ())
        ]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert case_of(tmp_path).name == case_of(tmp_path, "--evaluation", "train").name == "train"
    assert case_of(tmp_path, "--evaluation", "test").folds == ()


@pytest.mark.parametrize(
    ("sets", "argv", "words"),
    [
        (["ensemble.whiten=test"], (), ["ensemble.whiten", "--evaluation test"]),
        (["ensemble.expand=database"], (), ["ensemble.expand"]),
        (["ensemble.tracks=mean"], (), ["ensemble.tracks"]),
        (["ensemble.domains=colours"], (), ["ensemble.domains"]),
        (["ensemble.group_by=domain"], (), ["ensemble.group_by"]),
        ([], ("--evaluation", "holdout"), ["'holdout'", "has test"]),
    ],
)
def test_what_folds_cannot_say(tmp_path, board, capsys, sets, argv, words):
    build_with_folds(tmp_path, *board, sets=sets)
    with pytest.raises(SystemExit) as left:
        run(lambda: tune.main(["--runs", str(tmp_path), *argv]))
    said = capsys.readouterr().err
    assert left.value.code == 2 and all(word in said for word in words), said


def test_a_build_without_folds_and_what_reads_none(tmp_path, board, capsys):
    store, record = build_with_folds(tmp_path, *board)
    plain = replace(record, folds=None)
    address = Address("builds", "plain", {"of": 1})
    store.get(address, lambda folder: save_record(folder, plain))
    for command, key, words in (
        (tune, address.key, "build with --folds 5"),
        (worth, None, "'train': builds/drawn-"),
    ):
        argv = ["--runs", str(tmp_path), "--evaluation", "train", *(["--build", key] if key else [])]
        with pytest.raises(SystemExit):
            run(lambda command=command, argv=argv: command.main(argv))
        assert words in capsys.readouterr().err


def test_where_the_test_has_no_cameras_those_of_the_folds_decide_nothing(tmp_path, board):
    """Neither who asks nor which answers are junk: the same images by one camera or by several have the same scores."""
    folds, test, feats = board
    blind = replace(test, query_camids=[-1] * len(test.query_camids), gallery_camids=[-1] * len(test.gallery_camids))
    found = []
    for name, cameras in (("several", [camids for *_, camids in folds]), ("one", [[3] * len(c) for *_, c in folds])):
        given = [(of, pids, camids) for (of, pids, _), camids in zip(folds, cameras, strict=True)]
        build_with_folds(tmp_path / name, given, blind, feats)
        found.append(totals(tmp_path / name, MIXES[0]))
    assert len(found[0]) == 52 and not np.isnan(found[0]).any() and found[0].tolist() == found[1].tolist()


def test_groups_of_the_re_ranking_are_the_cameras_of_each_fold(tmp_path, board, capsys):
    """Settings by cameras are tried where every list has them, and scored alike by the fast and the exact scorer."""
    build_with_folds(tmp_path / "cameras", *board)
    case = case_of(tmp_path / "cameras")
    assert "ca_jaccard" in tune.grid_of(case).searched
    boards = problems(case, "cpu", 0)["all"]
    mix = FusionSettings((1.0, 0.5), RERANKERS["ca_jaccard"]())
    np.testing.assert_allclose(boards.fast(40, grouped=True).totals(mix), boards.totals(mix), atol=1e-6)
    folds, *rest = board
    build_with_folds(tmp_path / "none", [(of, pids, [-1] * len(pids)) for of, pids, _ in folds], *rest)
    assert "ca_jaccard" not in tune.grid_of(case_of(tmp_path / "none")).searched
