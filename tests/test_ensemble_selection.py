"""The search for a mix, on functions whose best is known."""

import itertools
from math import gcd

import pytest

from configs.schema import EACH_FIRST
from ensemble.fusion.strategy import FusionSettings
from ensemble.rerank.registry import KReciprocal, NoReranking
from ensemble.tune.ensemble_selection import greedy, hill_climb, normalised, select_and_climb
from tests.boards import grid, k1, k2, lam, power

EQUAL = FusionSettings((1.0, 1.0, 1.0))
GRID = grid(k1=(5, 10, 20), k2=(1, 3, 6), lam=(0.1, 0.3, 0.5))


def share(mix):
    return [w / sum(mix.weights) for w in mix.weights]


def near(*goal):
    """A score that falls with the distance of the weights' shares from a goal."""
    return lambda mix: -sum((a - b) ** 2 for a, b in zip(share(mix), goal, strict=True))


def bags(members, most):
    for counts in itertools.product(range(most + 1), repeat=members):
        if 0 < sum(counts) <= most and gcd(*counts) == 1:
            yield normalised(FusionSettings(tuple(map(float, counts))))


@pytest.mark.parametrize("goal", [(1, 0, 0), (0.5, 0.5, 0), (2 / 3, 1 / 3, 0), (0.25, 0.5, 0.25), (0.4, 0.4, 0.2)])
def test_greedy_equals_every_bag_of_its_size(goal):
    """Where the goal is such a bag, greedy selection gets there; nothing of the kind scores better."""
    score = near(*goal)
    found = greedy(score, EQUAL, 5, range(3))
    assert score(found) == pytest.approx(max(score(bag) for bag in bags(3, 5)))
    assert share(found) == pytest.approx(goal, abs=1e-4)


def test_a_useless_member_gets_weight_0():
    """Whatever the first two weigh, the third costs."""
    found = select_and_climb(lambda mix: -share(mix)[2], EQUAL, GRID)
    assert found.weights[2] == 0 and max(found.weights) == 1


def test_only_those_among_whom_it_chooses_get_a_weight():
    """The score likes the third best; it is not to be had."""
    found = select_and_climb(near(0.2, 0.2, 0.6), EQUAL, GRID, [0, 1])
    assert found.weights[2] == 0 and share(found)[:2] == pytest.approx([0.5, 0.5], abs=0.05)
    assert select_and_climb(near(0, 0, 1), EQUAL, GRID, [1]).weights == (0.0, 1.0, 0.0)


def test_of_equal_bags_the_first_and_smallest_is_taken():
    assert greedy(lambda mix: 0.5, EQUAL, 6, range(3)).weights == (1.0, 0.0, 0.0)


def test_line_searches_find_the_best_of_a_score_without_cross_terms():
    def score(mix):
        if not mix.reranks:
            return -99
        return (
            -abs(k1(mix) - 10) - abs(k2(mix) - 3) - abs(lam(mix) - 0.5) - (power(mix) == 2) + (mix.fusion == EACH_FIRST)
        )

    found = hill_climb(score, EQUAL, GRID)
    assert found == FusionSettings((1.0, 1.0, 1.0), KReciprocal(k1=10, k2=3, lam=0.5, power=1), fusion=EACH_FIRST)


def test_no_re_ranking_is_a_choice_too():
    found = hill_climb(lambda mix: float(not mix.reranks), EQUAL, GRID)
    assert found == FusionSettings((1.0, 1.0, 1.0), NoReranking())


def test_known_settings_are_tried_together():
    """A score that only one of them likes, and that no single change leads to."""
    found = hill_climb(
        lambda mix: float((k1(mix), k2(mix), lam(mix)) == (14, 4, 0.4)),
        EQUAL,
        grid(KReciprocal.known, k1=(5,), k2=(1,), lam=(0.1,)),
    )
    assert (found.options["k1"], found.options["k2"], found.options["lam"]) == (14, 4, 0.4)


def test_nothing_gained_is_nothing_changed():
    tried = []
    assert hill_climb(lambda mix: tried.append(mix) or 1.0, EQUAL, GRID, weights=range(3)) == EQUAL
    assert len(set(tried)) > 15


def test_one_member_has_no_weights_to_choose():
    found = select_and_climb(lambda mix: -abs(k1(mix) - 5), FusionSettings((1.0,)), GRID)
    assert found.weights == (1.0,) and found.options["k1"] == 5 and found.fusion == "sum_then_rerank"


def test_a_mix_is_written_in_one_way():
    assert normalised(FusionSettings((2.0, 2.0))) == normalised(FusionSettings((1.0, 1.0)))
    assert normalised(FusionSettings((3.0, 0.0), fusion=EACH_FIRST)) == FusionSettings(
        (1.0, 0.0)
    )  # one member: the order does not matter
    assert normalised(FusionSettings((1.0, 2.0), NoReranking())) == normalised(
        FusionSettings((0.5, 1.0), NoReranking())
    )


def test_the_reach_is_what_the_largest_settings_read():
    assert grid(k1=(5,), k2=(29,)).most_neighbours() == 29
    assert grid(k1=(25,), k2=(1,)).most_neighbours() == 26
    assert grid(k1=(5,), k2=(1,), known=({"k1": 30, "k2": 3},)).most_neighbours() == 31
