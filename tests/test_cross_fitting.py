"""Choices on half of the persons, where it is known what they are worth."""

import numpy as np
import pytest
from scipy.stats import binom

from configs.errors import DataError
from ensemble.fusion.strategy import FusionSettings
from ensemble.tune import cross_fitting
from ensemble.tune.cross_fitting import split_persons, tune
from ensemble.tune.ensemble_selection import normalised
from tests.boards import grid, k1, k2, lam


def few(k1=(5, 20), k2=(1, 6), lam=(0.3, 0.5)):
    return grid(k1=k1, k2=k2, lam=lam, power=(2,), fusion=("sum_then_rerank",), steps=4)


GRID = few()
PIDS = np.repeat(np.arange(40), 3)
BASE = FusionSettings((1.0, 1.0))


def noisy(seed, spread, bonus):
    """Totals that depend on a mix by `bonus`, and on the person and the mix by chance."""

    def totals(mix):
        key = [int(1e4 * x) for x in (*mix.weights, lam(mix))] + [
            k1(mix),
            k2(mix),
            mix.reranks,
            seed,
        ]
        return 0.5 + bonus(mix) + spread * np.random.default_rng(key).standard_normal(40)[PIDS]

    return totals


def test_halves_share_no_identity_and_leave_none_out():
    asked = np.ones(120, bool)
    asked[:3] = False  # person 0 cannot be scored
    a, b = split_persons(PIDS, asked, 0)
    assert not set(PIDS[a]) & set(PIDS[b]) and set(PIDS[a]) | set(PIDS[b]) == set(range(1, 40))
    assert ((a | b) == asked).all() and abs(len(set(PIDS[a])) - len(set(PIDS[b]))) <= 1
    again, other = split_persons(PIDS, asked, 0)[0], split_persons(PIDS, asked, 1)[0]
    assert (again == a).all() and (other != a).any()


def test_too_few_persons_to_halve():
    with pytest.raises(DataError, match=r"9 query identities.* at least 10.*--holdout"):
        split_persons(np.arange(9), np.ones(9, bool), 0)


def test_a_gain_that_is_noise_is_not_taken():
    """Each half finds settings that look better on it; on the other half they are worth nothing."""
    for seed in range(4):
        totals = noisy(seed, 0.1, lambda mix: 0.0)
        found = tune(totals, totals, PIDS, BASE, GRID, 0)
        assert found.mix == BASE
        for rung in found.rungs:
            assert not rung.taken and rung.apparent > 0.005 and rung.optimism > 0


def test_a_gain_that_is_real_is_taken():
    totals = noisy(0, 0.02, lambda mix: 0.1 * (k1(mix) == 5 and mix.reranks))
    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    settings, weights = found.rungs
    assert settings.taken and settings.gain.mean == pytest.approx(0.1, abs=0.02)
    assert not weights.taken and weights.over == "settings"  # equal weights stay
    assert found.mix.weights == (1.0, 1.0) and k1(found.mix) == 5


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


def won_by(persons):
    """Of 40 persons so many gain 0.1, with all three of their queries, and the others lose it."""
    return np.where(persons > PIDS, 0.1, -0.1)


@pytest.mark.parametrize(("persons", "noise"), [(24, (0,)), (25, (0,)), (26, ()), (40, ()), (0, (0,))])
def test_better_than_chance_is_said_of_persons_with_an_error_of_a_twentieth(persons, noise):
    """Member 0 beats chance on so many of 40; member 1 on all. A resampled number of persons won is binomial: half of
    them or fewer in 0.13 of the draws where 24 are, 0.07 where 25 and 0.036 where 26. Of 120 single queries, 72 would
    do."""

    def totals(mix):
        return 0.5 + won_by(persons if mix.weights == (1.0, 0.0) else 40)

    assert binom.cdf(20, 40, 24 / 40) > 0.1 and 0.03 < binom.cdf(20, 40, 26 / 40) < 0.04
    assert binom.cdf(60, 120, 72 / 120) < 0.02
    everybody = np.ones(120, bool)
    assert cross_fitting.noise_among(totals, BASE, PIDS, everybody, np.full(120, 0.5)) == noise
    assert cross_fitting.noise_among(totals, BASE, PIDS, everybody, None) == ()


def test_where_no_member_is_better_than_chance_none_is_left_out():
    """Both alone are a little better than one chance, and one of them than the other; none than the third."""

    def totals(mix):
        return np.full(120, {(1.0, 0.0): 0.6, (0.0, 1.0): 0.5}.get(mix.weights, 0.55))

    for chance, noise in ((0.4, ()), (0.55, (1,)), (0.7, ())):
        found = tune(totals, totals, PIDS, BASE, GRID, 0, chance=np.full(120, chance)).rungs[1]
        assert found.noise == (noise,) * 3
    totals = noisy(4, 0.1, lambda mix: 0.0)
    high = tune(totals, totals, PIDS, BASE, GRID, 0, chance=np.full(120, 0.9)).rungs[1]
    assert high.noise == ((),) * 3


def test_each_half_is_scored_by_what_the_other_chose():
    """Persons of one half want k1 5, those of the other 20: whichever is chosen on one costs on the other."""
    a, _ = split_persons(PIDS, np.ones(120, bool), 0)

    def totals(mix):
        return np.where(a == (k1(mix) == 5), 0.9, 0.1)

    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    rung = found.rungs[0]
    assert [k1(mix) for mix in rung.chosen[:2]] == [5, 20]
    assert rung.total == pytest.approx(0.1)
    assert rung.apparent == pytest.approx(0.4) and rung.optimism == pytest.approx(0.8)


def test_what_is_taken_is_what_everybody_chose():
    """One half gains most by k1 5, the other and all together by k1 7; either is a gain for whoever chooses."""
    a, b = split_persons(PIDS, np.ones(120, bool), 0)
    some = few(k1=(5, 7, 20))

    def totals(mix):
        return np.where(
            a,
            {5: 0.90, 7: 0.88, 20: 0.5}[k1(mix)],
            {5: 0.80, 7: 0.95, 20: 0.5}[k1(mix)],
        )

    found = tune(totals, totals, PIDS, BASE, some, 0)
    rung, weights = found.rungs
    assert [k1(mix) for mix in rung.chosen] == [5, 7, 7] and rung.taken
    assert rung.total == pytest.approx(0.84) and rung.gain.mean == pytest.approx(0.34)
    assert rung.apparent == pytest.approx((0.9 + 0.95) / 2 - 0.5)
    assert k1(found.mix) == 7
    assert weights.over == "settings" and weights.total == pytest.approx(0.84) and weights.gain.mean == 0
    assert weights.apparent == pytest.approx((0.9 + 0.95) / 2 - 0.84)
    np.testing.assert_allclose(found.before, 0.5)
    np.testing.assert_allclose(found.after, np.where(a, 0.88, 0.80))
    assert (b == ~a).all()


def test_the_second_choice_goes_on_from_the_first():
    """With k1 20 the second member is best left out, and then no other k1 helps; with k1 5, which is better for equal
    weights, the first is."""

    def totals(mix):
        share = mix.weights[1] / sum(mix.weights)
        if k1(mix) == 5:
            return np.full(120, 0.6 if share == 0.5 else 0.7 if share > 0.5 else 0.4)
        return np.full(120, 0.55 if share == 0 else 0.5)

    found = tune(
        totals,
        totals,
        PIDS,
        BASE,
        few(k2=(6,), lam=(0.3,)),
        0,
    )
    assert [k1(mix) for mix in found.rungs[0].chosen] == [5] * 3 and found.rungs[0].total == pytest.approx(0.6)
    assert [k1(mix) for mix in found.rungs[1].chosen] == [5] * 3 and found.rungs[1].total == pytest.approx(0.7)
    assert found.rungs[1].gain.mean == pytest.approx(0.1) and found.mix.weights[0] < found.mix.weights[1] == 1


def test_what_a_half_chooses_does_not_depend_on_the_other():
    """All totals and all chance of one half are others: what the other half chose, and left out, stays."""
    a, b = split_persons(PIDS, np.ones(120, bool), 0)
    plain, other = (
        noisy(7, 0.1, lambda mix: 0.02 * mix.weights[0]),
        noisy(8, 0.3, lambda mix: 0.5 * (k2(mix) == 1)),
    )
    chance = 0.45 + 0.1 * np.random.default_rng(0).random(120)
    found = tune(plain, plain, PIDS, BASE, GRID, 0, chance=chance)
    for changed, half in ((b, 0), (a, 1)):

        def totals(mix, changed=changed):
            return np.where(changed, other(mix), plain(mix))

        again = tune(totals, totals, PIDS, BASE, GRID, 0, chance=np.where(changed, 0.0, chance))
        for one, two in zip(found.rungs, again.rungs, strict=True):
            assert (one.chosen[half], one.noise[half]) == (two.chosen[half], two.noise[half])
        assert again.rungs[0].chosen[1 - half] != found.rungs[0].chosen[1 - half]


@pytest.mark.parametrize(("persons", "taken"), [(26, False), (28, True)])
def test_a_gain_is_of_persons_and_not_of_queries(persons, taken):
    """Each of 40 persons wins or loses a tenth with all three queries. The mean of resampled persons is binomial, and
    at 97.5 % its bound is below 0 for 26 winners; by single queries it would be far above."""
    fast, exact = (
        noisy(0, 0.0, lambda mix: 0.1 * (k1(mix) == 5) - 0.2),
        noisy(0, 0.0, lambda mix: won_by(persons) * (k1(mix) == 5)),
    )
    found = tune(fast, exact, PIDS, FusionSettings((1.0,)), GRID, 0)
    rung = found.rungs[0]
    low, high = (0.2 * binom.ppf(share, 40, persons / 40) / 40 - 0.1 for share in (0.0125, 0.9875))
    assert (rung.gain.low, rung.gain.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    np.testing.assert_array_equal(found.before, 0.5)
    assert found.base_total == 0.5 and rung.total == pytest.approx(0.5 + won_by(persons).mean())
    assert rung.gain.level == 0.975 and rung.gain.mean == pytest.approx(won_by(persons).mean())
    assert rung.taken == taken and (k1(found.mix) == 5) == taken
    assert 0.2 * binom.ppf(0.0125, 120, persons / 40) / 120 - 0.1 > 0


def test_the_seed_is_of_the_halves_and_of_the_draws():
    """Every half chooses alike, so that another seed changes nothing of the gain but its interval."""
    each = np.random.default_rng(0).random(40)[PIDS]
    totals = [lambda mix: 0.5 + each * (k1(mix) == 5)] * 2
    one, again, other = (tune(*totals, PIDS, FusionSettings((1.0,)), GRID, seed).rungs[0] for seed in (0, 0, 1))
    assert one == again and one.chosen == other.chosen
    assert one.gain.mean == pytest.approx(other.gain.mean) and one.gain.low != other.gain.low


def test_decisions_are_by_the_exact_totals():
    """A search that is led astray finds what the exact score does not confirm."""
    fast, exact = (
        noisy(2, 0.0, lambda mix: 0.1 * (k1(mix) == 5)),
        noisy(2, 0.001, lambda mix: -0.1 * (k1(mix) == 5)),
    )
    found = tune(fast, exact, PIDS, BASE, GRID, 0)
    assert found.mix == BASE and found.rungs[0].gain.high < 0


def test_one_member_has_one_rung():
    totals = noisy(3, 0.01, lambda mix: 0.0)
    assert [rung.name for rung in tune(totals, totals, PIDS, FusionSettings((1.0,)), GRID, 0).rungs] == ["settings"]


def test_queries_that_cannot_be_scored_are_left_out():
    def totals(mix):
        return np.where(PIDS < 5, np.nan, 0.5 + 0.2 * (k1(mix) == 5))

    found = tune(totals, totals, PIDS, BASE, GRID, 0)
    assert found.persons == 35 and found.queries == 105
    assert found.base_total == pytest.approx(0.5) and found.rungs[0].total == pytest.approx(0.7)


def test_the_same_seed_gives_the_same_answer():
    totals = noisy(5, 0.1, lambda mix: 0.05 * (k1(mix) == 5))
    one, other = (tune(totals, totals, PIDS, BASE, GRID, 3) for _ in range(2))
    assert one == other and one.mix == normalised(one.mix)
    assert (cross_fitting.level_of(1), cross_fitting.level_of(2)) == (0.975, 0.9875)
