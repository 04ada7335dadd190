"""Re-ranking against the oracle written from the paper."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ensemble import neighbours, rerank
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import DistanceMatrices
from tests import oracles
from tests.features import clustered, ensembles, same_lists, unit_rows


def reranked(feats, n_query, k1, k2, lam, power):
    near = neighbours.nearest(feats, max(k1 + 1, k2))
    return near, rerank.k_reciprocal(near, feats, n_query, k1=k1, k2=k2, lam=lam, power=power)


@settings(max_examples=40, deadline=None)
@given(
    ensembles(most=28),
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([1, 2]),
    st.one_of(st.none(), st.integers(1, 12)),
    st.booleans(),
)
def test_equals_the_oracle(case, k1, k2, lam, power, top_k, long_lists):
    feats, weights, n_query = case
    search = {"n_query": n_query, "top_k": top_k, "near_share": 1e9} if long_lists and top_k else {}
    near = neighbours.nearest(feats, max(k1 + 1, k2), weights=weights, **search)
    setting = {"k1": k1, "k2": k2, "lam": lam, "power": power}
    order, dist = rerank.k_reciprocal(near, feats, n_query, weights=weights, top_k=top_k, **setting)
    want_dist = oracles.fused_distance(feats, weights)
    assume(not fragile(want_dist))
    want = oracles.k_reciprocal(want_dist, n_query, k1, k2, lam, power)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
    assert same_lists(order, want)


def fragile(dist):
    """Whether two distances of a row differ by so little that float32 may not tell which is less."""
    gaps = np.diff(np.sort(dist, axis=1), axis=1)
    return bool(((gaps > 0) & (gaps < 1e-6)).any())


@pytest.mark.parametrize("power", [1, 2])
def test_first_k_whole_lists_and_blocks_agree(power):
    feats = clustered(np.random.default_rng(0), 900, 48, 80)
    setting = {"k1": 15, "k2": 4, "lam": 0.4, "power": power}
    near, (order, dist) = reranked(feats, 200, 15, 4, 0.4, power)
    streamed = list(rerank.blocks(near, feats, 200, block=64, **setting))
    np.testing.assert_allclose(np.concatenate([b for _, b in streamed]), by_index(order, dist), atol=1e-6)
    assert [rows.start for rows, _ in streamed] == [0, 64, 128, 192]
    for top_k in (5, 90, 400):
        with_lists = neighbours.nearest(feats, 16, n_query=200, top_k=top_k, near_share=1)
        for source in (near, with_lists):
            first, first_dist = rerank.k_reciprocal(source, feats, 200, top_k=top_k, **setting)
            np.testing.assert_allclose(first_dist, dist[:, :top_k], atol=1e-6)
            assert same_lists(first, by_index(order, dist), 1e-6)


def by_index(order, dist):
    """Whole ranked lists as a matrix (Q, G)."""
    out = np.empty_like(dist)
    np.put_along_axis(out, order.astype(np.int64), dist, 1)
    return out


def test_overlap_lifts_an_image_over_nearer_ones():
    """An exact first-K list holds images that are not among the K nearest: the pruning must not lose them."""
    feats = clustered(np.random.default_rng(3), 400, 8, 12, spread=0.9)
    _, (order, dist) = reranked(feats, 60, 20, 6, 0.05, 2)
    short = neighbours.nearest(feats, 21, n_query=60, top_k=10)
    first, _ = rerank.k_reciprocal(short, feats, 60, lam=0.05, top_k=10)
    nearest = short.near_order[:, :10]
    assert (first != nearest).any()
    assert any(set(a) - set(b) for a, b in zip(first.tolist(), nearest.tolist(), strict=True))
    assert same_lists(first, by_index(order, dist), 1e-6)


@pytest.mark.parametrize(("n_query", "top_k"), [(40, 20), (30, 5), (50, 9)])
def test_kept_lists_of_another_length_or_of_other_queries_are_not_used(n_query, top_k):
    """They hold 5 of each of 40 queries; what is asked for is searched for where that does not do."""
    feats = clustered(np.random.default_rng(6), 700, 16, 40)
    near = neighbours.nearest(feats, 21, n_query=40, top_k=5, device="cpu")
    order, dist = rerank.k_reciprocal(near, feats, n_query, top_k=top_k, device="cpu")
    whole, whole_dist = rerank.k_reciprocal(neighbours.nearest(feats, 21), feats, n_query, device="cpu")
    np.testing.assert_array_equal(order, whole[:, :top_k])
    np.testing.assert_array_equal(dist, whole_dist[:, :top_k])


def test_a_setting_costs_no_new_search():
    feats = clustered(np.random.default_rng(4), 150, 16, 20)
    near = neighbours.nearest(feats, 40, n_query=30, top_k=10, near_share=0.5)
    want_dist = oracles.fused_distance([feats], [1.0])
    for k1, k2, lam in ((5, 1, 0.2), (20, 6, 0.3), (39, 12, 0.8)):
        order, dist = rerank.k_reciprocal(near, feats, 30, k1=k1, k2=k2, lam=lam, top_k=10)
        want = oracles.k_reciprocal(want_dist, 30, k1, k2, lam, 2)
        np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
        assert same_lists(order, want)


@pytest.mark.parametrize("top_k", [None, 6])
def test_from_distance_matrices(tmp_path, top_k):
    rng = np.random.default_rng(5)
    dist = rng.uniform(0.1, 2, (90, 90)).astype(np.float32)
    dist = np.maximum(dist, dist.T) * (1 - np.eye(90, dtype=np.float32))
    for name, part in (("qq", dist[:20, :20]), ("qg", dist[:20, 20:]), ("gg", dist[20:, 20:])):
        np.save(tmp_path / f"{name}.npy", part)
    given_ = DistanceMatrices(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("qq", "qg", "gg")))
    near = neighbours.nearest(given_, 12, superblock=32)
    order, got = rerank.k_reciprocal(near, given_, 20, k1=11, k2=4, top_k=top_k)
    want = oracles.k_reciprocal(dist, 20, 11, 4, 0.3, 2)
    np.testing.assert_allclose(got, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
    assert same_lists(order, want)
    plain, _ = distance_blocks.rank(given_, 20, top_k=top_k)
    assert same_lists(plain, dist[:20, 20:])


def test_rerank_each_then_sum():
    rng = np.random.default_rng(6)
    feats, weights = [clustered(rng, 100, 16, 15), clustered(rng, 100, 8, 15)], [1.0, 0.48]
    each = [rerank.blocks(neighbours.nearest(a, 21), a, 25, block=10) for a in feats]
    order, dist = distance_blocks.ranked(distance_blocks.summed(each, weights), 9)
    wanted = [oracles.k_reciprocal(oracles.fused_distance([a], [1.0]), 25) for a in feats]
    want = sum(w * d for w, d in zip(weights, wanted, strict=True))
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=2e-5)
    assert same_lists(order, want)


def test_penalty_is_inside_the_distance():
    rng = np.random.default_rng(7)
    feats, cams = clustered(rng, 90, 16, 12), rng.integers(0, 3, 90)
    near = neighbours.nearest(feats, 21, penalties=[(cams, 0.1)])
    want_dist = oracles.fused_distance([feats], [1.0])
    want_dist += 0.1 * ((cams[:, None] == cams[None]) & ~np.eye(90, dtype=bool))
    want = oracles.k_reciprocal(want_dist, 20)
    for top_k in (None, 8):
        order, dist = rerank.k_reciprocal(near, feats, 20, penalties=[(cams, 0.1)], top_k=top_k)
        np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
        assert same_lists(order, want)


@pytest.mark.parametrize(
    ("n_query", "setting", "says"),
    [
        (0, {}, "n_query is 0"),
        (30, {}, "n_query is 30"),
        (5, {"k1": 0}, "k1 is 0"),
        (5, {"k2": 0}, "k2 is 0"),
        (5, {"k1": 21}, "search with k=22"),
        (5, {"lam": 1.5}, "lam is 1.5"),
        (5, {"lam": float("nan")}, "lam is nan"),
        (5, {"power": 3}, "power is 3"),
        (5, {"top_k": 0}, "top_k is 0"),
    ],
)
def test_bad_input_is_named(n_query, setting, says):
    feats = unit_rows(np.random.default_rng(0), 30, 8)
    near = neighbours.nearest(feats, 21)
    with pytest.raises(ValueError, match=says):
        rerank.k_reciprocal(near, feats, n_query, **setting)
    with pytest.raises(ValueError, match="the neighbours have 30"):
        rerank.k_reciprocal(near, feats[:29], 5)


def test_negative_distances_are_refused():
    bad = DistanceMatrices(np.zeros((2, 2)), np.array([[1.0, -0.1], [1.0, 1.0]]), np.zeros((2, 2)))
    with pytest.raises(ValueError, match="negative"):
        neighbours.nearest(bad, 2)
    with pytest.raises(ValueError, match="want \\(Q, Q\\)"):
        DistanceMatrices(np.zeros((2, 2)), np.zeros((2, 3)), np.zeros((2, 3)))
