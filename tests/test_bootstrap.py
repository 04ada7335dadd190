"""The bootstrap against every possible draw of a small sample, against normal theory, and for its coverage."""

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from ensemble.metrics import bootstrap
from ensemble.metrics.bootstrap import Interval, difference, interval


def test_equals_every_draw_of_a_small_sample():
    """Four values have 256 draws: their exact quantiles are the limit of the bootstrap's."""
    values = [0.0, 0.2, 0.7, 1.0]
    means = sorted(sum(draw) / 4 for draw in itertools.product(values, repeat=4))
    got = interval(values, level=0.8, draws=40_000)
    assert got.mean == pytest.approx(0.475)
    assert got.low == pytest.approx(np.quantile(means, 0.1), abs=0.026)  # one step of the discrete means at most
    assert got.high == pytest.approx(np.quantile(means, 0.9), abs=0.026)


def test_equals_normal_theory_on_many_queries():
    values = np.random.default_rng(1).random(3000)
    got, half = interval(values), 1.96 * values.std() / np.sqrt(3000)
    assert got.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert got.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_a_pair_is_compared_query_by_query():
    """A small gain on every query is certain, however much the queries differ among themselves."""
    rng = np.random.default_rng(2)
    theirs = rng.random(200) * 0.9
    gain = difference(theirs + rng.uniform(0, 0.02, 200), theirs)
    assert gain.beyond_zero and 0.008 < gain.low < gain.mean < gain.high < 0.012
    assert not interval(rng.normal(0, 1, 200)).beyond_zero
    assert difference(theirs, theirs + 0.01).high < 0


def test_skipped_queries_are_left_out_of_both():
    ours, theirs = [1.0, np.nan, 0.0, 1.0], [0.0, 1.0, np.nan, 0.0]
    assert difference(ours, theirs).mean == 1.0
    assert interval([np.nan, 0.25]).mean == 0.25
    with pytest.raises(ValueError, match="every query is NaN"):
        interval([np.nan, np.nan])


def test_queries_of_one_person_are_drawn_together():
    """50 people of 20 equal queries say no more than 50 queries."""
    people = np.random.default_rng(3).random(50)
    values, groups = np.repeat(people, 20), np.repeat(np.arange(50), 20)
    alone, together, honest = interval(values), interval(values, groups=groups), interval(people)
    assert together.high - together.low == pytest.approx(honest.high - honest.low, rel=0.05)
    assert together.high - together.low > 3 * (alone.high - alone.low)


def test_a_person_counts_by_all_of_its_queries():
    """A of one query, right; B of three, wrong. Of two drawn both are A in 1/4, mean 1; A and B in 1/2, mean 1/4; both
    are B in 1/4, mean 0."""
    values, groups = [0.0, 1.0, 0.0, np.nan, 0.0], ["b", "a", "b", "a", "b"]
    middle, wide = interval(values, groups=groups, level=0.4), interval(values, groups=groups, level=0.8)
    assert (middle.low, middle.mean, middle.high) == (0.25, 0.25, 0.25)
    assert (wide.low, wide.mean, wide.high) == (0.0, 0.25, 1.0)


@pytest.mark.parametrize(("rights", "of"), [(13, 40), (20, 40), (52, 60)])
def test_hits_of_persons_are_binomial(rights, of):
    """Each person asks three times and is right in all or in none; their rows are mixed."""
    groups = np.random.default_rng(8).permutation(np.repeat(np.arange(of), 3))
    got = interval(groups < rights, groups=groups, level=0.9, draws=20_000)
    low, high = (binom.ppf(share, of, rights / of) / of for share in (0.05, 0.95))
    assert (got.low, got.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    ("low", "high", "beyond"),
    [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.1, False), (0, 0.1, False), (-0.1, 0, False)],
)
def test_a_loss_that_is_certain_is_beyond_zero_as_a_gain_is(low, high, beyond):
    assert Interval((low + high) / 2, low, high, 0.95).beyond_zero == beyond


def test_a_difference_turned_round_is_its_negative():
    rng = np.random.default_rng(9)
    one, other, groups = rng.random(60) + 0.3, rng.random(60), np.repeat(np.arange(20), 3)
    gain, loss = (difference(*pair, groups=groups) for pair in ((one, other), (other, one)))
    assert (gain.mean, gain.low, gain.high) == pytest.approx((-loss.mean, -loss.high, -loss.low))
    assert gain.low > 0 > loss.high and gain.beyond_zero and loss.beyond_zero
    told = {"level": 0.8, "draws": 90, "seed": 3}
    assert difference(one, other, groups=groups, **told) == interval(one - other, groups=groups, **told)
    assert difference(one, other, groups=groups, **told) != difference(one, other, **told)


def test_the_draws_are_the_same_in_blocks_of_any_size(monkeypatch):
    values, groups = np.random.default_rng(5).random(90), np.repeat(np.arange(30), 3)
    whole = interval(values, groups=groups, draws=700)
    monkeypatch.setattr(bootstrap, "CELLS", 30 * 64)
    assert interval(values, groups=groups, draws=700) == whole


def test_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(4)
    held = 0
    for trial in range(300):
        got = interval(rng.random(60), draws=400, seed=trial)
        held += got.low <= 0.5 <= got.high
    assert 0.90 <= held / 300 <= 0.98


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(5).random(100)
    assert interval(values, seed=7) == interval(values, seed=7) != interval(values, seed=8)


@pytest.mark.parametrize("bad", [{"level": 0.0}, {"level": 1.0}, {"draws": 0}])
def test_settings_out_of_range(bad):
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([0.5, 0.6], **bad)


def test_other_queries_are_refused():
    with pytest.raises(ValueError, match="3 and 2 queries"):
        difference([1, 2, 3], [1, 2])
