"""The bootstrap against every possible draw of a small sample, against normal theory, and for its coverage."""

import itertools

import numpy as np
import pytest

from ensemble.bootstrap import difference, interval


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
    with pytest.raises(ValueError, match="nothing to draw from"):
        interval([np.nan, np.nan])


def test_queries_of_one_person_are_drawn_together():
    """50 people of 20 equal queries say no more than 50 queries."""
    people = np.random.default_rng(3).random(50)
    values, groups = np.repeat(people, 20), np.repeat(np.arange(50), 20)
    alone, together, honest = interval(values), interval(values, groups=groups), interval(people)
    assert together.high - together.low == pytest.approx(honest.high - honest.low, rel=0.05)
    assert together.high - together.low > 3 * (alone.high - alone.low)


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
