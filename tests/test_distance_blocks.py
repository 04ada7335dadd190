"""The plain ensemble against the oracle's sum of distances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.neighbours import distance_blocks
from tests import oracles
from tests.features import clustered, ensembles, same_lists, unit_rows


@settings(max_examples=40, deadline=None)
@given(ensembles(), st.one_of(st.none(), st.integers(1, 40)), st.integers(1, 9))
def test_lists_and_blocks_equal_the_oracle(case, top_k, block):
    feats, weights, n_query = case
    want = oracles.fused_distance(feats, weights)[:n_query, n_query:]
    order, dist = distance_blocks.rank(feats, n_query, weights=weights, top_k=top_k)
    assert order.shape == (n_query, want.shape[1] if top_k is None else min(top_k, want.shape[1]))
    assert same_lists(order, want)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
    streamed = np.concatenate([d for _, d in distance_blocks.blocks(feats, n_query, weights=weights, block=block)])
    np.testing.assert_allclose(streamed, want, atol=1e-5)


@pytest.mark.parametrize("penalised", [False, True])
def test_short_lists_come_from_the_search(penalised):
    """Under a sixteenth of the gallery no row is sorted."""
    rng = np.random.default_rng(0)
    feats, cams = clustered(rng, 700, 24, 50), rng.integers(-1, 3, 700)
    penalties = [(cams, 0.2)] if penalised else None
    order, dist = distance_blocks.rank(feats, 100, top_k=30, penalties=penalties)
    whole, whole_dist = distance_blocks.rank(feats, 100, penalties=penalties)
    np.testing.assert_allclose(dist, whole_dist[:, :30], atol=1e-6)
    matrix = np.empty_like(whole_dist)
    np.put_along_axis(matrix, whole.astype(int), whole_dist, 1)
    assert same_lists(order, matrix, 1e-6)


def test_streams_that_do_not_match_are_refused():
    feats = unit_rows(np.random.default_rng(1), 30, 8)
    with pytest.raises(ValueError, match="1 weights for 2 streams"):
        list(distance_blocks.summed([distance_blocks.blocks(feats, 5), distance_blocks.blocks(feats, 5)], [1.0]))
    with pytest.raises(ValueError, match="different queries"):
        distance_blocks.summed([distance_blocks.blocks(feats, 5), distance_blocks.blocks(feats, 6)], [1.0, 1.0])
    with pytest.raises(ValueError, match="different queries"):
        list(distance_blocks.summed([list(distance_blocks.blocks(feats, 5, block=b)) for b in (2, 3)], [1.0, 1.0]))
    with pytest.raises(ValueError, match="top_k is 0"):
        distance_blocks.ranked(distance_blocks.blocks(feats, 5), 0)
    with pytest.raises(ValueError, match="unknown device"):
        distance_blocks.blocks(feats, 5, device="tpu")
