"""The ablation's table: differences by seed, their scatter, and what is marked as more than chance."""

import math

import pytest

from tests.benchmarks.paired import beyond, pooled_scatter, rule, table


def rows(part, totals, images=1000):
    """One run a seed, all three scores the same."""
    return [
        {"part": part, "seed": seed, "rank1": t, "map": t, "total": t, "images": images} for seed, t in totals.items()
    ]


def test_differences_are_taken_seed_by_seed():
    """The baseline swings by 20 points from seed to seed, the part is 5 above it in each: 5 ± 0, not 5 ± 10."""
    some = [
        *rows("baseline", {0: 0.10, 1: 0.30, 2: 0.20}),
        *rows("mgn", {0: 0.15, 1: 0.35, 2: 0.25}),
        *rows("erase", {0: 0.09, 1: 0.32, 2: 0.20}),
    ]
    lines = table(some, asked=3).splitlines()
    assert lines[2] == "| baseline | 20.0 ± 10.0 | 20.0 ± 10.0 | 20.0 ± 10.0 |  | 1,000 | 3 |"
    assert lines[3] == "| mgn | 25.0 ± 10.0 | 25.0 ± 10.0 | 25.0 ± 10.0 | +5.0 ± 0.0 * | 1,000 | 3 |"
    assert lines[4] == "| erase | 20.3 ± 11.5 | 20.3 ± 11.5 | 20.3 ± 11.5 | +0.3 ± 1.5 | 1,000 | 3 |"


def test_missing_seeds_are_told_and_pair_with_nothing():
    some = [
        *rows("baseline", {0: 0.10, 1: 0.30}),
        *rows("mgn", {0: 0.15, 1: 0.35, 2: 0.90}),  # no baseline of seed 2
        *rows("rmgl", {1: 0.40}, images=500),
        *rows("abp", {2: 0.40}),
    ]
    lines = table(some, asked=4).splitlines()
    assert lines[2].endswith("| 1,000 | 2 of 4 |")
    assert lines[3].endswith("| +5.0 ± 0.0 * | 1,000 | 3 of 4 |")
    assert lines[4] == "| rmgl | 40.0 | 40.0 | 40.0 | +10.0 | 500 | 1 of 4 |"
    assert lines[5].endswith("| ? | 1,000 | 1 of 4 |")


def test_of_one_seed_nothing_is_marked():
    text = table([*rows("baseline", {0: 0.1}), *rows("mgn", {0: 0.9})], asked=3)
    assert "| +80.0 | 1,000 | 1 of 3 |" in text and " *" not in text and text.endswith("no difference is marked.")


def test_the_rule_names_the_limit_of_each_number_of_seeds():
    """2.66 x 0.02 / sqrt(3) and / sqrt(2), in per cent."""
    assert "the mean is 3.1 (3 seeds), 3.8 (2 seeds) or more from 0." in rule(0.02, {1, 2, 3})


def test_the_scatter_is_pooled_over_parts():
    """(1 + 0 + 1) + (4 + 0 + 4) squared, over 2 + 2 that are free; one seed alone says nothing."""
    assert pooled_scatter([(1.0, 2.0, 3.0), (-2.0, 0.0, 2.0), (7.0,), ()]) == pytest.approx(math.sqrt(10 / 4))
    assert math.isnan(pooled_scatter([(7.0,), ()]))


def test_what_is_beyond_chance():
    assert beyond((0.03, 0.01, 0.02), scatter=0.013)  # 2.66 * 0.013 / sqrt(3) = 0.01996
    assert not beyond((0.03, 0.01, 0.02), scatter=0.0131)
    assert not beyond((0.09, -0.01, 0.02), scatter=0.001)
    assert beyond((-0.03, -0.01), scatter=0.001) and not beyond((0.03,), scatter=0.001) and not beyond((), 0.001)
