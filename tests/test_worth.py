"""What members are worth, where it is known beforehand."""

import json

import numpy as np
import pytest
from rich.console import Console

from configs.console.command import run
from configs.schema import Competition, ScoreWeights
from configs.store.store import Address, Store
from ensemble import worth
from ensemble.fusion.partitions import parts_of
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.results.build_record import Evaluation
from ensemble.results.manifests import training_seconds
from ensemble.tune.exact_scorer import Judge, of_parts
from ensemble.worth import correlation, measure
from tests.boards import people

RULE = Competition(name="x", layout="table", format="naic_json", top_k=200, ap="market", junk="none")
PLAIN = NoReranking()


def test_a_member_that_knows_all_and_one_that_knows_nothing():
    rng = np.random.default_rng(0)
    feats, evaluation = people(rng, spreads=(0.3, None))
    judge = Judge(feats, ["good", "noise"], evaluation, RULE)
    found = measure(judge, [FusionSettings((1.0, 0.2), PLAIN)], ["good", "noise"])
    good, bad = found.members
    assert good.alone.mean == pytest.approx(1) and found.total.mean == pytest.approx(1)
    assert bad.alone.mean < 0.4
    assert good.left_out.mean == pytest.approx(1 - bad.alone.mean) and good.left_out.beyond_zero
    assert bad.left_out.mean == pytest.approx(0) and not bad.left_out.beyond_zero


def test_copies_err_alike_and_lose_nothing():
    rng = np.random.default_rng(1)
    feats, evaluation = people(rng, spreads=(1.5,))
    judge = Judge(feats * 2, ["a", "b"], evaluation, RULE)
    found = measure(judge, [FusionSettings((1.0, 1.0), PLAIN)], ["a", "b"])
    assert found.members[0].left_out.mean == pytest.approx(0)
    np.testing.assert_allclose(found.correlation, 1)


def test_by_domain_it_is_what_the_merged_lists_lose():
    """A member that knows the first domain alone, one that knows the second alone: each is missed where it knows."""
    rng = np.random.default_rng(4)
    feats, evaluation = people(rng, n_people=20, queries=2, each=6, spreads=(0.3, 0.3, None))
    q, g = len(evaluation.query_pids), len(evaluation.gallery_pids)
    here = [np.array(pids) < 10 for pids in (evaluation.query_pids, evaluation.gallery_pids)]
    noise, day = feats.pop(), np.concatenate(here)
    feats = [np.where(day[:, None], feats[0], noise), np.where(day[:, None], noise, feats[1])]
    found = parts_of(*(["day" if x else "night" for x in side] for side in here), [], q, q + g)
    judge = of_parts(Judge(feats, ["a", "b"], evaluation, RULE), found)
    got = measure(
        judge,
        [FusionSettings((1.0, 0.0), PLAIN), FusionSettings((0.5, 1.0), PLAIN)],
        ["a", "b"],
    )
    assert got.members[0].weights == (1.0, 0.5) and got.total.mean == pytest.approx(1)
    assert got.members[0].left_out is None  # without it the first domain has nobody
    alone = judge.totals(*[FusionSettings((0.0, 1.0), PLAIN)] * 2)
    assert got.members[1].alone.mean == pytest.approx(alone.mean())
    assert alone[~here[0]].mean() == pytest.approx(1) and alone[here[0]].mean() < 0.5
    without = judge.totals(FusionSettings((1.0, 0.0), PLAIN), FusionSettings((0.5, 0.0), PLAIN))
    assert without[here[0]].mean() == pytest.approx(1)
    assert got.members[1].left_out.mean == pytest.approx(1 - without.mean()) and got.members[1].left_out.beyond_zero


def test_intervals_are_over_persons():
    """10 persons ask twice each. The first member finds 5 of them with both queries, the second nobody: hits are
    binomial of 10, P(1 or fewer) = 0.011 and P(2 or fewer) = 0.055. Of 20 queries, 6 to 14 would be hits."""
    persons = np.eye(10, dtype=np.float32)
    asked, away = np.repeat(persons, 2, axis=0), -persons
    feats = [
        np.concatenate([asked, np.where(np.arange(10)[:, None] < 5, persons, away)]),
        np.concatenate([asked, away]),
    ]
    pids = list(range(10))
    evaluation = Evaluation({}, "", None, np.repeat(pids, 2).tolist(), [-1] * 20, pids, [-1] * 10)
    rule = RULE.model_copy(update={"score": ScoreWeights(rank1=1, map=0)})
    found = measure(Judge(feats, ["a", "b"], evaluation, rule), [FusionSettings((1.0, 0.5), PLAIN)], ["a", "b"])
    first, second = found.members
    for one in (found.total, first.alone, first.left_out):
        assert (one.mean, one.low, one.high) == pytest.approx((0.5, 0.2, 0.8)) and one.level == 0.95
    for one in (second.alone, second.left_out):
        assert (one.mean, one.low, one.high) == (0, 0, 0)


def test_a_member_that_does_harm_is_a_loss_beyond_chance(capsys):
    """Without the second member, of twice the weight and no knowledge, the first finds everybody."""
    feats, evaluation = people(np.random.default_rng(0), n_people=20, spreads=(0.3, None))
    found = measure(
        Judge(feats, ["good", "harm"], evaluation, RULE),
        [FusionSettings((0.5, 1.0), PLAIN)],
        ["good", "harm"],
    )
    good, harm = found.members
    assert harm.left_out.high < 0 < good.left_out.low
    assert harm.left_out.mean == pytest.approx(found.total.mean - good.alone.mean)
    assert good.left_out.mean == pytest.approx(found.total.mean - harm.alone.mean)
    worth.show(Console(width=120), found, "test")
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "more than chance" in line}
    lost = [told.split("more")[0].split()[-4] for told in (rows["good"], rows["harm"])]
    assert [text[0] for text in lost] == ["+", "-"]


def test_the_only_member_cannot_be_left_out():
    feats, evaluation = people(np.random.default_rng(2))
    found = measure(Judge(feats, ["a"], evaluation, RULE), [FusionSettings((1.0,), KReciprocal(k1=3, k2=2))], ["a"])
    assert found.members[0].left_out is None and found.members[0].alone == found.total


def test_correlation_is_pearsons_over_queries_that_all_answered():
    rng = np.random.default_rng(3)
    errors = rng.random((3, 40))
    want = np.corrcoef(errors[:, 1:])
    errors[1, 0] = np.nan
    np.testing.assert_allclose(correlation(errors), want, atol=1e-12)
    assert correlation(np.array([[0.5, 0.5], [0.0, 1.0]])) == ((0.0, 0.0), (0.0, pytest.approx(1.0)))


def test_training_time_is_that_of_the_weights_the_features_name(tmp_path):
    store = Store(tmp_path)
    weights, other = (Address("members", "a", {"seed": seed}) for seed in (0, 1))
    for address, seconds in ((weights, (1.5, 2.0)), (other, (100.0,))):
        lines = "\n".join(
            json.dumps({"epoch": i, "lr": 1, "loss": 1, "terms": {}, "apart": 1, "images": 8, "seconds": s})
            for i, s in enumerate(seconds)
        )
        store.get(address, lambda folder, lines=lines: (folder / "epochs.jsonl").write_text(lines + "\n"))
    features = Address("features", "a-test", {"weights": weights.digest})
    store.get(features, lambda folder: (folder / "x").write_text(""))
    assert training_seconds(store, features.key) == 3.5
    outside = Address("features", "b-test", {"file": "b.npz"})
    store.get(outside, lambda folder: (folder / "x").write_text(""))
    assert training_seconds(store, outside.key) is None and training_seconds(store, "features/none-0") is None


def test_the_command_on_a_build(tiny_build, capsys):
    worth.main(["--runs", str(tiny_build.runs)])
    said = capsys.readouterr().out
    assert "alone, re-ranked" in said  # not the totals of submit.make's rows of members, which are not
    assert "AP 'market'" in said and "lost without it" in said and "correlation of errors" in said
    rows = [line.split() for line in said.splitlines() if line.startswith(("a ", "b "))]
    assert len(rows) == 4 and rows[0][1] == "1" and rows[0][-1] == "s"  # weight 1, some seconds of training
    before = {p: p.stat().st_mtime_ns for p in tiny_build.runs.glob("worth/*/worth.json")}
    worth.main(["--runs", str(tiny_build.runs)])
    assert {p: p.stat().st_mtime_ns for p in tiny_build.runs.glob("worth/*/worth.json")} == before
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--build", "builds/no-such"], ["'builds/no-such'", "builds/own-"]),
        (["--evaluation", "holdout"], ["'holdout'", "has test", "--holdout 0.2"]),
        (["--runs", "nowhere"], ["nowhere", "ensemble.build"]),
    ],
)
def test_what_is_not_there_is_named(tiny_build, capsys, argv, words):
    with pytest.raises(SystemExit) as left:
        run(lambda: worth.main(["--runs", str(tiny_build.runs), *argv]))
    said = capsys.readouterr().err
    assert left.value.code == 2 and all(word in said for word in words)
