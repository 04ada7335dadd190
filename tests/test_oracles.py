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


def test_expansion_tests_against_the_set_before_it_grew():
    # 1's half set {1, 2, 3, 4} brings 4 in; 5's, {4, 5, 6, 7}, is 3/4 held with 4 and 2/4 without, so 7 stays out.
    order = [
        [0, 1, 2, 3, 5, 6, 7, 4],
        [1, 2, 3, 4, 0, 5, 6, 7],
        [2, 1, 3, 0, 4, 5, 6, 7],
        [3, 1, 2, 0, 4, 5, 6, 7],
        [4, 1, 5, 2, 3, 6, 7, 0],
        [5, 6, 4, 7, 0, 1, 2, 3],
        [6, 5, 0, 1, 2, 3, 4, 7],
        [7, 5, 6, 4, 1, 2, 3, 0],
    ]
    assert oracles.reciprocal_set(order, 0, 7) == {0, 1, 2, 3, 5, 6}
    assert oracles.expanded_set(order, 0, 6) == {0, 1, 2, 3, 4, 5, 6}


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


def test_label_smoothing_in_both_conventions():
    # Softmax of (log 2, 0, 0) is (1/2, 1/4, 1/4).
    logits = np.array([[math.log(2), 0.0, 0.0]])
    recipe = -(0.7 * math.log(1 / 2) + 0.3 * math.log(1 / 4))
    torch = -(0.8 * math.log(1 / 2) + 0.2 * math.log(1 / 4))
    assert oracles.label_smoothing_loss(logits, [0], 0.3, "recipe") == approx(recipe)
    assert oracles.label_smoothing_loss(logits, [0], 0.3, "torch") == approx(torch)
    assert oracles.label_smoothing_loss(logits, [0], 0.3 * 3 / 2, "torch") == approx(recipe)


def test_label_smoothing_is_a_mean_and_survives_large_logits():
    logits = np.array([[1000.0, 1000.0], [0.0, math.log(3)]])
    expected = (math.log(2) - math.log(1 / 4)) / 2
    assert oracles.label_smoothing_loss(logits, [1, 0], 0.0) == approx(expected)


# Angles 0, 90, 60 and 180 degrees: images 0 and 1 are one identity, 2 and 3 the other; lengths do not matter.
FOUR = np.array([[2.0, 0.0], [0.0, 1.0], [0.5, math.sqrt(0.75)], [-5.0, 0.0]])
FARTHEST_OWN = [1.0, 1.0, 1.5, 1.5]
NEAREST_OTHER = [0.5, 1 - math.sqrt(0.75), 1 - math.sqrt(0.75), 1.0]


def test_batch_hard_pairs_by_angle():
    pairs = oracles.batch_hard_pairs(FOUR, [4, 4, 9, 9])
    assert [pair[0] for pair in pairs] == approx(FARTHEST_OWN)
    assert [pair[1] for pair in pairs] == approx(NEAREST_OTHER)


def test_batch_hard_triplet_with_margin_and_soft():
    gaps = [p - n for p, n in zip(FARTHEST_OWN, NEAREST_OTHER, strict=True)]
    assert oracles.batch_hard_triplet(FOUR, [4, 4, 9, 9], 0.3) == approx(sum(gaps) / 4 + 0.3)
    soft = sum(math.log(1 + math.exp(gap)) for gap in gaps) / 4
    assert oracles.batch_hard_triplet(FOUR, [4, 4, 9, 9], "soft") == approx(soft)


def test_batch_hard_triplet_counts_images_that_cost_nothing():
    # Image 2 is alone: positive 0, negative 1. Images 0 and 1 are the same, negatives at 1 too. All gaps are -1.
    feats = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]])
    assert oracles.batch_hard_triplet(feats, [0, 0, 1], 0.3) == 0
    assert oracles.batch_hard_triplet(feats, [0, 0, 1], 1.5) == approx(0.5)
    with pytest.raises(ValueError, match="negatives"):
        oracles.batch_hard_triplet(feats, [0, 0, 0], 0.3)


def test_center_loss_and_its_step():
    feats = np.array([[3.0, 4.0], [1.0, 0.0]])
    centers = np.array([[0.0, 0.0], [9.0, 9.0], [1.0, 2.0]])
    assert oracles.center_loss(feats, [0, 2], centers, "sum") == approx(25 / 2 + 4 / 2)
    assert oracles.center_loss(feats, [0, 2], centers) == approx((25 / 2 + 4 / 2) / 2)
    moved = oracles.center_step(feats, [0, 2], centers, lr=0.5)
    assert moved == approx(np.array([[0.75, 1.0], [9.0, 9.0], [1.0, 1.5]]))
    both = oracles.center_step(feats, [0, 0], centers, lr=0.5, reduction="sum")
    assert both[0].tolist() == approx([2.0, 2.0])


def test_total_loss():
    assert oracles.total_loss(10.0, 2.0) == approx(2.8)


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [
        (1, 3.5e-6),
        (5, 1.75e-5),
        (10, 3.5e-5),
        (11, 3.5e-4),
        (40, 3.5e-4),
        (41, 3.5e-5),
        (70, 3.5e-5),
        (71, 3.5e-6),
        (120, 3.5e-6),
    ],
)
def test_learning_rate_at_each_bound(epoch, rate):
    assert oracles.learning_rate(epoch) == approx(rate)


def test_warmups():
    assert [oracles.constant_warmup(t, 1.0, 0.1, 2) for t in range(4)] == approx([0.1, 0.1, 1, 1])
    assert [oracles.gradual_warmup(t, 1.0, 9, 4) for t in range(6)] == approx([1, 3, 5, 7, 9, 9])
    assert [oracles.gradual_warmup(t, 2.0, 1, 4) for t in range(6)] == approx([0, 0.5, 1, 1.5, 2, 2])
    assert oracles.gradual_warmup(7, 1.0, 9, 4, lambda t, base: base / t) == approx(3)


def test_cosine_rate():
    got = [oracles.cosine_rate(t, 1.0, 6, 0.2) for t in (0, 2, 3, 4, 6)]
    assert got == approx([1, 0.8, 0.6, 0.4, 0.2])


def test_check_pk_batch():
    oracles.check_pk_batch([3, 5, 3, 5], 2, 2, [0, 1, 0, 2], {3: 1, 5: 7})
    with pytest.raises(AssertionError, match="3 identities"):
        oracles.check_pk_batch([1, 2, 3, 1], 2, 2)
    with pytest.raises(AssertionError, match="do not have"):
        oracles.check_pk_batch([1, 1, 1, 2], 2, 2)
    with pytest.raises(AssertionError, match="repeats"):
        oracles.check_pk_batch([3, 5, 3, 5], 2, 2, [0, 1, 0, 1], {3: 1, 5: 7})


def test_resampling_expectation_at_the_bounds():
    # 1 and 100 stay; 2 and 99 gain half on average, with variances 1 and 99^2 / 4.
    assert oracles.resampling_expectation([1, 2, 99, 100]) == approx((1 + 3 + 148.5 + 100, 1 + 99**2 / 4))


def test_first_neighbours_follows_chains_and_leaves_the_far_alone():
    # On a line: 1 -> 0, 2 -> 1 (its other neighbour is farther), 0 <-> 1; 3 <-> 5; 4 is far from all.
    at = [0.0, 0.2, 0.5, 10.0, 20.0, 10.1]
    dist = np.abs(np.subtract.outer(at, at))
    assert oracles.first_neighbours(dist, 0.5) == [0, 0, 0, 1, -1, 1]
    assert oracles.first_neighbours(dist, 0.25) == [0, 0, -1, 1, -1, 1]
    assert oracles.first_neighbours(dist, 0.15) == [-1, -1, -1, 0, -1, 0]


def test_first_neighbours_wants_strictly_nearer_and_takes_the_lower_of_two():
    assert oracles.first_neighbours(np.array([[0.0, 0.5], [0.5, 0.0]]), 0.5) == [-1, -1]
    # 0 is as near 1 as 2, and goes with 1; 2 and 3 have each other.
    dist = np.array([[0, 0.3, 0.3, 9], [0.3, 0, 9, 9], [0.3, 9, 0, 0.1], [9, 9, 0.1, 0]])
    assert oracles.first_neighbours(dist) == [0, 0, 1, 1]


def test_first_neighbours_does_not_need_symmetry():
    # 0 names 1, and 1, whose own row is far from everything, is still touched by that link.
    dist = np.array([[0, 0.1, 0.9], [0.9, 0, 0.9], [0.9, 0.9, 0]])
    assert oracles.first_neighbours(dist) == [0, 0, -1]


def test_loop_search_takes_the_nearest_as_the_label_and_merges_the_names_of_two():
    # As above: 0 and 1 name each other, so 1's name is 0's; 2 names 1. 3 and 5 name each other, 4 names 5.
    at = [0.0, 0.2, 0.5, 10.0, 20.0, 10.1]
    dist = np.abs(np.subtract.outer(at, at))
    assert oracles.loop_search(dist, None) == [0, 0, 0, 1, 1, 1]
    assert oracles.loop_search(dist, 0.25) == [0, 0, -1, 1, -1, 1]
    # A chain, each nearer to the next: 0 names 1, 1 names 2, 2 and 3 name each other. Nobody follows 0's name.
    at = [0.0, 0.4, 0.7, 0.9]
    dist = np.abs(np.subtract.outer(at, at))
    assert oracles.loop_search(dist, 0.5) == [0, 1, 1, 1]


SQUARE = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])


def test_average_query_expansion():
    # (1, 0) + (0.6, 0.8) = (1.6, 0.8), along (2, 1).
    got = oracles.average_query_expansion(SQUARE[:1], SQUARE[1:], 1)
    assert got[0].tolist() == approx([2 / math.sqrt(5), 1 / math.sqrt(5)])
    # All of the gallery: (1, 0) + (0.6, 0.8) + (0, 1) + (-1, 0) = (0.6, 1.8), along (1, 3).
    got = oracles.average_query_expansion(SQUARE[:1], SQUARE[1:], 7)
    assert got[0].tolist() == approx([1 / math.sqrt(10), 3 / math.sqrt(10)])


def test_alpha_query_expansion_weights_by_similarity():
    # Weights 0.6^2, 0 and 0: (1, 0) + 0.36 (0.6, 0.8) = (1.216, 0.288).
    got = oracles.alpha_query_expansion(SQUARE[:1], SQUARE[1:], 3, 2)
    assert got[0].tolist() == approx([1.216 / math.hypot(1.216, 0.288), 0.288 / math.hypot(1.216, 0.288)])


def test_database_augmentation_uses_the_features_as_they_came():
    # Nearest others: 0 -> 1, 1 -> 2 (0.8 against 0.6), 2 -> 1, 3 -> 2.
    sums = [[1.6, 0.8], [0.6, 1.8], [0.6, 1.8], [-1.0, 1.0]]
    expected = [[x / math.hypot(x, y), y / math.hypot(x, y)] for x, y in sums]
    assert oracles.database_augmentation(SQUARE, 1) == approx(np.array(expected))
