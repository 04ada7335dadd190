"""Totals tried fast against whole searches."""

import itertools

import numpy as np
import pytest

from configs.schema import EACH_FIRST, Competition
from ensemble.fusion.partitions import make_partitions
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.tune import fast_scorer
from ensemble.tune.exact_scorer import ExactScorer, of_parts
from ensemble.tune.fast_scorer import FastScorer, RecentResults
from tests.boards import people

RULES = {
    "market": {"ap": "market", "junk": "same_pid_same_cam"},
    "hits": {"ap": "hits", "junk": "none"},
    "relevant_at_k": {"ap": "relevant_at_k", "junk": "same_pid_same_cam"},
}
MIXES = (
    FusionSettings((1.0, 1.0, 1.0)),
    FusionSettings((1.0, 0.5, 0.0), KReciprocal(k1=7, k2=3, lam=0.5, power=1)),
    FusionSettings((0.2, 1.0, 1.0), KReciprocal(k1=5, k2=1, lam=0.0)),
    FusionSettings((1.0, 1.0, 0.5), NoReranking()),
    FusionSettings((1.0, 1.0, 0.5), KReciprocal(k1=7, k2=3, lam=0.5, power=1), fusion=EACH_FIRST),
    FusionSettings((1.0, 0.3, 0.0), KReciprocal(k1=10), fusion=EACH_FIRST),
)


def judge_of(rule, **changes):
    shape = {"n_people": 40, "each": 8, "queries": 2, "spreads": (1.3, 1.6, 2.0), "cameras": True}
    feats, evaluation = people(np.random.default_rng(0), **shape | changes)
    competition = Competition(name="x", layout="table", format="naic_json", top_k=20, **RULES[rule])
    return ExactScorer(feats, ["a", "b", "c"], evaluation, competition)


@pytest.fixture(scope="module", params=RULES)
def both(request):
    judge = judge_of(request.param)
    return judge, FastScorer(judge, 21)


@pytest.mark.parametrize("mix", MIXES, ids=FusionSettings.describe)
def test_equals_a_whole_search_where_lists_are_of_the_whole_gallery(both, mix):
    judge, tried = both
    assert tried.depth == 240
    want = judge.totals(mix)
    assert 0.2 < np.nanmean(want) < 0.98
    np.testing.assert_allclose(tried.totals(mix), want, atol=1e-9)


def test_what_is_kept_between_mixes_is_of_the_right_settings(both):
    judge, tried = both
    for mix in changes():
        np.testing.assert_allclose(tried.totals(mix), judge.totals(mix), atol=1e-9)


def test_what_is_kept_of_cut_lists_is_of_the_right_settings(monkeypatch):
    monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    judge = judge_of("hits")
    tried = FastScorer(judge, 21)
    assert tried.pairs is None
    for mix in changes():
        np.testing.assert_allclose(tried.totals(mix), judge.totals(mix), atol=1e-9)


@pytest.mark.parametrize(
    "mix", [mix for mix in MIXES if mix.options.get("lam", 1)], ids=FusionSettings.describe
)  # lam 0 ties nearly everything
def test_cut_lists_of_a_large_gallery_are_scored_as_the_competition_does(mix, monkeypatch):
    """Lists of 200 of 240: what is scored lies in their first 20, and the sets reach no further than they do."""
    monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    judge = judge_of("hits")
    tried = FastScorer(judge, 21)
    assert tried.depth == 200
    np.testing.assert_allclose(tried.totals(mix), judge.totals(mix), atol=1e-9)


def test_cut_lists_of_market_are_a_little_low(monkeypatch):
    monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    judge = judge_of("market")
    tried = FastScorer(judge, 21)
    assert tried.depth == 202  # two images of a person by one camera at most: junk takes no place
    got, want = tried.totals(MIXES[3]), judge.totals(MIXES[3])
    assert (got <= want + 1e-9).all() and np.nanmean(want) - np.nanmean(got) < 0.01


def test_lists_leave_room_for_the_most_junk_there_could_be(monkeypatch):
    """Five gallery images of a person by three cameras: two by two of them, and one by the third."""
    monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    assert FastScorer(judge_of("market", n_people=60, each=7), 3).depth == 202
    assert FastScorer(judge_of("hits", n_people=60, each=7), 3).depth == 200
    assert FastScorer(judge_of("market", n_people=60, each=7, cameras=False), 3).depth == 200


def test_a_mix_is_tried_once_however_it_is_written(both):
    _, tried = both
    tried.totals(FusionSettings((1.0, 1.0, 1.0)))
    before = len(tried.kept)
    assert (tried.totals(FusionSettings((2.0, 2.0, 2.0))) == tried.totals(FusionSettings((1.0, 1.0, 1.0)))).all()
    assert len(tried.kept) == before


def test_the_rate_is_of_all_that_was_tried(monkeypatch):
    """By a clock that is a second on whenever it is looked at: every mix takes one, and one that is kept none."""
    tried, clock = FastScorer(judge_of("hits"), 3), itertools.count()
    monkeypatch.setattr(fast_scorer.time, "monotonic", lambda: float(next(clock)))
    for weights in ((1.0, 1.0, 1.0), (1.0, 0.5, 1.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)):
        tried.totals(FusionSettings(weights, NoReranking()))
    assert (tried.seconds, tried.rate) == (3, 60)


@pytest.mark.parametrize("fusion", ["sum_then_rerank", EACH_FIRST])
def test_settings_beyond_the_reach_are_refused(fusion):
    """Lists of 6 neighbours would be read to the 21st."""
    tried = FastScorer(judge_of("hits"), 6)
    for settings, wanted in (({"k1": 20}, 21), ({"k1": 6}, 7), ({"k1": 3, "k2": 7}, 7)):
        with pytest.raises(ValueError, match=f"read {wanted} neighbours per image, but the candidates have 6"):
            tried.totals(FusionSettings((1.0, 1.0, 1.0), KReciprocal(**{"k2": 2} | settings), fusion=fusion))
    assert np.isfinite(tried.totals(FusionSettings((1.0, 1.0, 1.0), KReciprocal(k1=5, k2=6), fusion=fusion))).all()


def test_the_last_few_results_are_kept():
    made, lately = [], RecentResults(2)
    for key in "abacb":
        assert lately.get(key, lambda key=key: made.append(key) or key.upper()) == key.upper()
    assert made == ["a", "b", "c", "b"], "a was asked for again, so b had to go for c"
    assert list(lately.kept) == ["c", "b"]


def changes():
    """One thing changed at a time, so that whatever is kept from the mix before is asked for again."""
    for change in (
        {},
        {"k1": 9},
        {"power": 1},
        {"power": 1, "k2": 2},
        {"power": 1, "k2": 2, "lam": 0.6},
        {"k1": 9, "lam": 0.6},
    ):
        for fusion in ("sum_then_rerank", EACH_FIRST):
            yield FusionSettings(
                (1.0, 1.0, 0.5), KReciprocal(**{"k1": 12, "k2": 4, "lam": 0.3, "power": 2} | change), fusion=fusion
            )
    yield FusionSettings((1.0, 0.2, 0.5), KReciprocal(k1=9, lam=0.6), fusion=EACH_FIRST)
    yield FusionSettings((1.0, 0.2, 0.5), KReciprocal(k1=9, lam=0.6))


def part_of(judge, tracks):
    """The smaller of two domains: 30 queries, and a gallery of 50 images, on tracks of up to three or on none."""
    q, g = len(judge.evaluation.query_pids), len(judge.evaluation.gallery_pids)
    sides = [
        ["few" if i < small else "many" for i in np.random.default_rng(1).permutation(n)]
        for n, small in ((q, 30), (g, 50))
    ]
    units = (np.arange(g) // 3).tolist() if tracks else []
    return of_parts(judge, make_partitions(*sides, units, q, q + g)[:1])


@pytest.mark.parametrize("tracks", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_part_is_tried_as_it_is_judged(rule, tracks, monkeypatch):
    """Lists begin with the part's own; right images of another domain count, on whole lists and cut ones."""
    judge = part_of(judge_of(rule), tracks)
    for whole in (fast_scorer.WHOLE, 0) if rule != "market" else (fast_scorer.WHOLE,):
        monkeypatch.setattr(fast_scorer, "WHOLE", whole)
        tried = FastScorer(judge, 21)
        assert tried.n_query == 30 and tried.source.n == 30 + len(judge.parts[0].units)
        for mix in (mix for mix in MIXES if mix.options.get("lam", 1)):
            want = judge.totals(mix)
            assert len(want) == 30 and 0.1 < np.nanmean(want) < 0.98
            np.testing.assert_allclose(tried.totals(mix), want, atol=1e-9)


def test_tracks_alone_are_one_part_of_everything():
    judge = judge_of("market")
    q, g = len(judge.evaluation.query_pids), len(judge.evaluation.gallery_pids)
    judge = of_parts(judge, make_partitions([], [], (np.arange(g) // 4).tolist(), q, q + g))
    tried = FastScorer(judge, 21)
    assert tried.depth == g / 4
    for mix in MIXES[:4]:
        if mix.options.get("lam", 1):
            np.testing.assert_allclose(tried.totals(mix), judge.totals(mix), atol=1e-9)


def test_chance_is_the_score_of_lists_without_order():
    judge = judge_of("market", spreads=(None, None, None), n_people=60)
    noise = judge.totals(FusionSettings((1.0, 1.0, 1.0), NoReranking()))
    chance = judge.chance(0)
    assert chance.shape == noise.shape and 0.01 < np.nanmean(chance) < 0.1
    assert np.nanmean(chance) == pytest.approx(np.nanmean(noise), abs=0.02)
    assert (judge.chance(0) == chance).all() and (judge.chance(1) != chance).any()
