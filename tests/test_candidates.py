"""Neighbours under other weights from a pool of candidates, against a search under those weights."""

import numpy as np
import pytest

from ensemble import neighbours, rerank
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.similarity import as_source
from ensemble.tune import candidates
from tests.features import clustered, unit_rows

WEIGHTINGS = ([1, 1, 1], [1, 0.5, 1], [0, 1, 0], [0.2, 1, 3], [1, 0, 0.1])


@pytest.fixture(scope="module")
def members():
    """Three members that agree on 30 identities, and differ by noise."""
    rng = np.random.default_rng(0)
    shared = clustered(rng, 700, 24, 30, spread=1.0)
    return [unit_noise(rng, shared, noise) for noise in (0.5, 0.7, 0.9)]


def unit_noise(rng, shared, noise):
    feats = shared + noise * unit_rows(rng, *shared.shape)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def pool(members):
    return candidates.collect_candidates(members, 15, 100, 30)


def searched(members, weights):
    return neighbours.nearest(members, 15, weights=weights, n_query=100, top_k=30, near_share=1, device="cpu")


@pytest.mark.parametrize("weights", WEIGHTINGS)
def test_it_finds_nearly_what_a_search_finds(members, pool, weights):
    """At an anchor, a member alone or equal weights, everything; beside them, all but some places."""
    found, wanted = candidates.nearest(pool, weights), searched(members, weights)
    anchor = weights in ([1, 1, 1], [0, 1, 0])
    for order, dist in (("order", "dist"), ("near_order", "near_dist")):
        right = getattr(wanted, order)[:, : getattr(found, order).shape[1]]
        same = getattr(found, order) == right
        assert same.mean() > (0.999 if anchor else 0.97)  # float32 products tell all but the nearest of ties
        value = getattr(wanted, dist)[:, : right.shape[1]]
        np.testing.assert_allclose(getattr(found, dist)[same], value[same], atol=2e-6)
    assert (np.abs(found.farthest - wanted.farthest) < 2e-6).mean() > (0.999 if anchor else 0.9)
    assert found.total == pytest.approx(wanted.total)


def test_members_that_agree_on_nothing_are_its_limit():
    """The nearest by their sum are far down every list: another anchor brings them in."""
    rng, weights = np.random.default_rng(2), [0.6, 1, 1]
    feats = [unit_rows(rng, 700, 64) for _ in range(3)]
    wanted = searched(feats, weights).order
    poor, good = (
        (
            candidates.nearest(candidates.collect_candidates(feats, 15, 100, 30, anchors=[a]), weights).order == wanted
        ).mean()
        for a in ([1, 0, 0], weights)
    )
    assert poor < 0.9 and good > 0.999


def test_copies_that_overflow_the_search():
    """Hundreds of copies: those rows are searched whole."""
    rng = np.random.default_rng(1)
    feats = [np.vstack([np.repeat(unit_rows(rng, 2, 12), 300, axis=0), clustered(rng, 200, 12, 9)]) for _ in range(2)]
    pool = candidates.collect_candidates(feats, 5, 150, 8)
    wanted = neighbours.nearest(feats, 5, n_query=150, top_k=8, near_share=1, device="cpu")
    found = candidates.nearest(pool, [1, 1])
    np.testing.assert_allclose(found.dist, wanted.dist, atol=2e-6)
    np.testing.assert_allclose(found.near_dist, wanted.near_dist[:, :8], atol=2e-6)


def test_it_feeds_the_reranking(members, pool):
    weights = [1, 1.2, 0.9]
    setting = {"weights": weights, "k1": 10, "k2": 4, "top_k": 30, "device": "cpu"}
    want_order, want_dist = rerank.k_reciprocal(searched(members, weights), members, 100, **setting)
    order, dist = rerank.k_reciprocal(candidates.nearest(pool, weights), members, 100, **setting)
    same = order == want_order
    assert same.mean() > 0.97
    np.testing.assert_allclose(dist[same], want_dist[same], atol=0.02)


def test_bad_input_is_named(members, pool):
    with pytest.raises(ValueError, match="2 weights for 3"):
        candidates.nearest(pool, [1, 1])
    with pytest.raises(ValueError, match="at least one above 0"):
        candidates.nearest(pool, [0, 0, 0])
    with pytest.raises(ValueError, match="k is 0"):
        candidates.collect_candidates(members, 0, 100, 30)
    with pytest.raises(ValueError, match="n_query is 700"):
        candidates.collect_candidates(members, 3, 700, 30)
    one = np.ones((2, 2))
    with pytest.raises(ValueError, match="without penalties"):
        candidates.collect_candidates(DistanceMatrices(one, one, one), 1, 2, 1)
    with pytest.raises(ValueError, match="without penalties"):
        candidates.collect_candidates(as_source(members, None, [(np.zeros(700, int), 0.1)]), 3, 100, 5)
