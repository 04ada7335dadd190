"""The oracles against answers worked out by hand."""

import math

import numpy as np
import pytest
from pytest import approx

from tests import oracles

# Image 0 is near 1; image 2 is as far from both, so that its second neighbour is 0 by index.
THREE = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0], [2.0, 2.0, 0.0]])


def symmetric(n: int, pairs: dict[float, list[tuple[int, int]]], other: float) -> np.ndarray:
    """(n, n) distances: `other` unless a pair is listed."""
    dist = np.full((n, n), other)
    for value, listed in pairs.items():
        for i, j in listed:
            dist[i, j] = dist[j, i] = value
    np.fill_diagonal(dist, 0.0)
    return dist


def orders(dist: np.ndarray) -> list[list[int]]:
    return [oracles.rank_list(row) for row in dist]


def test_cosine_distance_of_known_angles():
    assert oracles.cosine_distance([1, 0], [0, 2]) == approx(1)
    assert oracles.cosine_distance([3, 0], [-1, 0]) == approx(2)
    assert oracles.cosine_distance([1, 0], [1, math.sqrt(3)]) == approx(0.5)
    assert oracles.cosine_distance([0.1, 0.7], [0.1, 0.7]) == 0
    with pytest.raises(ValueError, match="zero"):
        oracles.cosine_distance([0, 0], [1, 0])


def test_fused_distance_sums_members_of_different_sizes():
    two = np.array([[1.0, 0.0], [0.0, 1.0]])
    three = np.array([[0.6, 0.8, 0.0], [1.0, 0.0, 0.0]])
    fused = oracles.fused_distance([two, three], [2.0, 0.5])
    assert fused == approx(np.array([[0, 2.2], [2.2, 0]]))


def test_rank_list_breaks_ties_by_index():
    assert oracles.rank_list([2.0, 1.0, 2.0, 1.0], 3) == [1, 3, 0]
    assert oracles.rank_list([0.0, -0.0], 9) == [0, 1]


def test_scaled_distance_takes_each_row_by_its_own_maximum():
    dist = np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 4.0], [2.0, 4.0, 0.0]])
    assert oracles.scaled_distance(dist, 2) == approx(
        np.array([[0, 1 / 4, 1], [1 / 16, 0, 1], [1 / 4, 1, 0]]),
    )


def test_reciprocal_set_needs_both_directions():
    order = orders(THREE)
    assert [oracles.reciprocal_set(order, i, 2) for i in range(3)] == [{0, 1}, {0, 1}, {2}]
    assert [oracles.reciprocal_set(order, i, 3) for i in range(3)] == [{0, 1, 2}] * 3


def test_expansion_joins_a_half_set_of_which_more_than_two_thirds_is_held():
    # k1 = 6: sets of 7, half sets of 4. {1, 2, 3, 4} is tight; 0 is near 1, 2, 3 but has 4 last, and 4 has 0 last.
    tight = [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]
    dist = symmetric(
        8,
        {
            0.1: tight,
            1.0: [(0, 1), (0, 2), (0, 3)],
            2.0: [(0, 5), (0, 6), (0, 7)],
            3.0: [(5, 6), (5, 7), (6, 7)],
            9.0: [(0, 4)],
        },
        other=8.0,
    )
    order = orders(dist)
    assert oracles.reciprocal_set(order, 0, 7) == {0, 1, 2, 3, 5, 6, 7}
    assert oracles.reciprocal_set(order, 1, 4) == {1, 2, 3, 4}
    assert oracles.expanded_set(order, 0, 6) == set(range(8))


def test_expansion_refuses_exactly_two_thirds():
    # k1 = 4: sets of 5, half sets of 3. 0 holds {1, 2} of the half set {1, 2, 3}.
    dist = symmetric(
        6,
        {
            0.1: [(1, 2), (1, 3), (2, 3)],
            1.0: [(0, 1), (0, 2)],
            2.0: [(0, 4), (0, 5)],
            3.0: [(4, 5)],
            9.0: [(0, 3)],
        },
        other=8.0,
    )
    order = orders(dist)
    assert oracles.reciprocal_set(order, 0, 5) == {0, 1, 2, 4, 5}
    assert oracles.reciprocal_set(order, 1, 3) == {1, 2, 3}
    assert oracles.expanded_set(order, 0, 4) == {0, 1, 2, 4, 5}


@pytest.mark.parametrize("power", [1, 2])
def test_k_reciprocal_without_query_expansion(power):
    # V(0) = (a, 1 - a, 0), V(1) = (1 - a, a, 0), V(2) = (0, 0, 1); overlaps 2 (1 - a) and 0.
    near = 0.5**power
    a = 1 / (1 + math.exp(-near))
    expected = [0.7 * (1 - (1 - a) / a) + 0.3 * near, 0.7 * 1 + 0.3 * 1]
    got = oracles.k_reciprocal(THREE, 1, k1=1, k2=1, lam=0.3, power=power)
    assert got.shape == (1, 2)
    assert got[0].tolist() == approx(expected)


def test_k_reciprocal_with_query_expansion():
    # V(0) = V(1) = (1/2, 1/2, 0); V(2) = (a/2, (1 - a)/2, 1/2), overlap 1/2, J = 1 - (1/2) / (3/2).
    got = oracles.k_reciprocal(THREE, 1, k1=1, k2=2, lam=0.25, power=1)
    assert got[0].tolist() == approx([0.75 * 0 + 0.25 * 0.5, 0.75 * 2 / 3 + 0.25 * 1])


def test_k_reciprocal_rounds_half_of_k1_to_even():
    # k1 = 5: half sets of round(2.5) + 1 = 3, and 3 of 3 held adds nothing; with 4 the set would grow as for k1 = 6.
    dist = symmetric(
        7,
        {
            0.1: [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)],
            1.0: [(0, 1), (0, 2), (0, 3)],
            2.0: [(0, 5), (0, 6)],
            3.0: [(5, 6)],
            9.0: [(0, 4)],
        },
        other=8.0,
    )
    order = orders(dist)
    assert oracles.reciprocal_set(order, 0, 6) == {0, 1, 2, 3, 5, 6}
    assert oracles.expanded_set(order, 0, 5) == {0, 1, 2, 3, 5, 6}


def test_k_reciprocal_with_k_over_n_takes_every_image():
    # V(i, j) = exp(-s(i, j)) over all; k2 = 9 makes every row the same mean, so J = 0 and lam s remains.
    got = oracles.k_reciprocal(THREE, 1, k1=50, k2=9, lam=0.3, power=1)
    assert got[0].tolist() == approx([0.3 * 0.5, 0.3 * 1.0])
    assert oracles.k_reciprocal(THREE, 1, k1=50, k2=9) == approx(oracles.k_reciprocal(THREE, 1, k1=3, k2=3))


def test_k_reciprocal_lam_one_is_the_scaled_distance():
    assert oracles.k_reciprocal(THREE, 2, k1=1, k2=2, lam=1, power=1)[:, 0].tolist() == approx([1, 1])


def test_k_reciprocal_of_copies_and_of_bad_rows():
    assert oracles.k_reciprocal(np.zeros((3, 3)), 1, k1=2, k2=1) == approx(np.zeros((1, 2)))
    # k1 = 1, three copies: 2 is not among its own first two, its set is empty and J = 1.
    assert oracles.k_reciprocal(np.zeros((3, 3)), 1, k1=1, k2=1, lam=0.3)[0].tolist() == approx([0, 0.7])
    with pytest.raises(ValueError, match="NaN"):
        oracles.k_reciprocal(np.full((2, 2), math.nan), 1)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("hits", (1 + 2 / 3) / 2), ("relevant", (1 + 2 / 3) / 5), ("relevant_at_k", (1 + 2 / 3) / 4)],
)
def test_average_precision_of_a_cut_list(rule, expected):
    assert oracles.average_precision([1, 0, 1, 0], 5, rule, 4) == approx(expected)
    assert oracles.average_precision([1, 0, 1, 0, 1, 1], 5, rule, 4) == approx(expected)


def test_average_precision_of_a_whole_list():
    assert oracles.average_precision([0, 1, 0, 1], 2, "market") == approx((1 / 2 + 2 / 4) / 2)
    with pytest.raises(ValueError, match="whole list"):
        oracles.average_precision([1, 0], 2, "market")


def test_average_precision_without_hits():
    assert oracles.average_precision([0, 0], 0, "hits") == 0
    assert oracles.average_precision([0, 0], 3, "relevant", 2) == 0
    assert math.isnan(oracles.average_precision([0, 0], 0, "relevant"))


def test_evaluate_market_removes_junk_and_skips_queries_with_nothing_left():
    # Query 0: 0 is junk, then a miss, then hits at ranks 2 and 3. Query 1: its one image is junk. Query 2 has none.
    # Query 3: hit at rank 1 of one.
    order = [[0, 3, 1, 2, 4], [3, 0, 1, 2, 4], [0, 1, 2, 3, 4], [4, 3, 2, 1, 0]]
    got = oracles.evaluate(
        order, [7, 8, 9, 5], [7, 7, 7, 8, 5], [1, 1, 1, 1], [1, 2, 3, 1, 2], ap="market", junk="market"
    )
    assert (got["scored"], got["skipped"]) == (2, 2)
    assert got["map"] == approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert got["minp"] == approx((2 / 3 + 1) / 2)
    assert got["cmc"] == approx([0.5, 1, 1, 1, 1])
    assert got["rank1"] == 0.5


def test_evaluate_hits_counts_queries_with_nothing_relevant():
    order = [[0, 1, 2, 3], [0, 1, 2, 3]]
    got = oracles.evaluate(order, [1, 2], [3, 1, 3, 1], ap="hits", junk="none", top_k=3)
    assert (got["scored"], got["skipped"]) == (2, 0)
    assert got["map"] == approx((1 / 2) / 2)
    assert got["cmc"] == approx([0, 0.5, 0.5])
    assert got["minp"] == approx((2 / 4) / 2)
    cut = oracles.evaluate(order, [1, 2], [3, 1, 3, 1], ap="relevant", junk="none", top_k=3)
    assert (cut["scored"], cut["skipped"], cut["map"]) == (1, 1, approx((1 / 2) / 2))


def test_evaluate_ranks_a_distance_with_ties_by_index():
    dist = np.array([[0.5, 0.5, 0.1]])
    got = oracles.evaluate(dist, [1], [2, 1, 3], ap="market", junk="none")
    assert got["cmc"] == approx([0, 0, 1])
    assert got["map"] == approx(1 / 3)


def test_evaluate_cuts_after_junk_and_knows_no_minp_of_an_incomplete_list():
    got = oracles.evaluate([[0, 1]], [1], [1, 1, 1], [1], [1, 2, 3], ap="relevant_at_k", junk="market", top_k=1)
    assert (got["map"], got["rank1"]) == (1, 1)
    assert math.isnan(got["minp"])
