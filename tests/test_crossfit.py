"""Choices on half of the persons, where it is known what they are worth."""

import numpy as np
import pytest

from configs.errors import DataError
from ensemble import crossfit
from ensemble.crossfit import halves, tune
from ensemble.mix import Mix
from ensemble.seek import Grid, tidy

GRID = Grid(k1=(5, 20), k2=(1, 6), lam=(0.3, 0.5), power=(2,), fusion=("sum_then_rerank",), known=(), steps=4)
PIDS = np.repeat(np.arange(40), 3)
BASE = Mix((1.0, 1.0))


def noisy(seed, spread, bonus):
    """Totals that depend on a mix by `bonus`, and on the person and the mix by chance."""

    def totals(mix):
        key = [int(1e4 * x) for x in (*mix.weights, mix.lam)] + [mix.k1, mix.k2, len(mix.rerank), seed]
        return 0.5 + bonus(mix) + spread * np.random.default_rng(key).standard_normal(40)[PIDS]

    return totals


def test_halves_share_no_identity_and_leave_none_out():
    asked = np.ones(120, bool)
    asked[:3] = False  # person 0 cannot be scored
    a, b = halves(PIDS, asked, 0)
    assert not set(PIDS[a]) & set(PIDS[b]) and set(PIDS[a]) | set(PIDS[b]) == set(range(1, 40))
    assert ((a | b) == asked).all() and abs(len(set(PIDS[a])) - len(set(PIDS[b]))) <= 1
    again, other = halves(PIDS, asked, 0)[0], halves(PIDS, asked, 1)[0]
    assert (again == a).all() and (other != a).any()


def test_too_few_persons_to_halve():
    with pytest.raises(DataError, match=r"9 persons .* at least 10.*--holdout"):
        halves(np.arange(9), np.ones(9, bool), 0)


def test_a_gain_that_is_noise_is_not_taken():
    """Each half finds settings that look better on it; on the other half they are worth nothing."""
    for seed in range(4):
        totals = noisy(seed, 0.1, lambda mix: 0.0)
        found = tune(totals, totals, PIDS, BASE, GRID, 0)
        assert found.mix == BASE
        for rung in found.rungs:
            assert not rung.taken and rung.apparent > 0.005 and rung.optimism > 0


def test_a_gain_that_is_real_is_taken():
    totals = noisy(0, 0.02, lambda mix: 0.1 * (mix.k1 == 5 and mix.rerank != "none"))
    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    settings, weights = found.rungs
    assert settings.taken and settings.gain.mean == pytest.approx(0.1, abs=0.02)
    assert not weights.taken and weights.over == "settings"  # equal weights stay
    assert found.mix.weights == (1.0, 1.0) and found.mix.k1 == 5


def test_weights_are_taken_for_a_gain_of_their_own():
    totals = noisy(1, 0.01, lambda mix: 0.2 * mix.weights[0] / sum(mix.weights))
    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    assert not found.rungs[0].taken and found.rungs[1].taken
    assert found.rungs[1].over == "default" and found.mix.weights == (1.0, 0.0)
    assert found.rungs[1].gain.mean == pytest.approx(0.1, abs=0.02)


def test_a_member_no_better_than_chance_gets_no_weight_however_lucky():
    """The second member alone is as chance is, and yet every mix with a little of it looks better by luck."""

    def totals(mix):
        share = mix.weights[1] / sum(mix.weights)
        alone = 0.1 if share == 1 else 0.6 + 0.2 * share
        return alone + 0.05 * np.random.default_rng(int(1e4 * share)).standard_normal(40)[PIDS]

    chance = np.full(120, 0.1)
    found = tune(totals, totals, PIDS, BASE, GRID, 0, chance=chance).rungs[1]
    assert found.noise == ((1,),) * 3 and all(mix.weights == (1.0, 0.0) for mix in found.chosen)
    without = tune(totals, totals, PIDS, BASE, GRID, 0).rungs[1]
    assert without.noise == ((),) * 3 and without.chosen[2].weights[1] > 0


def test_where_no_member_is_better_than_chance_none_is_left_out():
    totals = noisy(4, 0.1, lambda mix: 0.0)
    found = tune(totals, totals, PIDS, BASE, GRID, 0, chance=np.full(120, 0.5)).rungs[1]
    assert found.noise[2] in ((), (0,), (1,))
    high = tune(totals, totals, PIDS, BASE, GRID, 0, chance=np.full(120, 0.9)).rungs[1]
    assert high.noise == ((),) * 3


def test_each_half_is_scored_by_what_the_other_chose():
    """Persons of one half want k1 5, those of the other 20: whichever is chosen on one costs on the other."""
    a, _ = halves(PIDS, np.ones(120, bool), 0)

    def totals(mix):
        return np.where(a == (mix.k1 == 5), 0.9, 0.1)

    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    rung = found.rungs[0]
    assert [mix.k1 for mix in rung.chosen[:2]] == [5, 20]
    assert rung.total == pytest.approx(0.1)
    assert rung.apparent == pytest.approx(0.4) and rung.optimism == pytest.approx(0.8)


def test_decisions_are_by_the_exact_totals():
    """A search that is led astray finds what the exact score does not confirm."""
    fast, exact = noisy(2, 0.0, lambda mix: 0.1 * (mix.k1 == 5)), noisy(2, 0.001, lambda mix: -0.1 * (mix.k1 == 5))
    found = tune(fast, exact, PIDS, BASE, GRID, 0)
    assert found.mix == BASE and found.rungs[0].gain.high < 0


def test_one_member_has_one_rung():
    totals = noisy(3, 0.01, lambda mix: 0.0)
    assert [rung.name for rung in tune(totals, totals, PIDS, Mix((1.0,)), GRID, 0).rungs] == ["settings"]


def test_queries_that_cannot_be_scored_are_left_out():
    def totals(mix):
        return np.where(PIDS < 5, np.nan, 0.5 + 0.2 * (mix.k1 == 5))

    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    assert found.persons == 35 and found.queries == 105
    assert found.base_total == pytest.approx(0.5) and found.rungs[0].total == pytest.approx(0.7)


def test_the_same_seed_gives_the_same_answer():
    totals = noisy(5, 0.1, lambda mix: 0.05 * (mix.k1 == 5))
    one, other = (tune(totals, totals, PIDS, BASE, GRID, 3) for _ in range(2))
    assert one == other and one.mix == tidy(one.mix)
    assert (crossfit.level_of(1), crossfit.level_of(2)) == (0.975, 0.9875)
