"""Features and distance matrices in one sum, against the dense sum of the oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import neighbours, rerank
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.similarity import FeaturesAndDistances, MemberFeatures, as_source
from tests import oracles
from tests.features import clustered, same_lists, unit_rows


def matrix(rng, n, scale):
    """(n, n) distances that are not symmetric, 0 on the diagonal, far from a cosine's range."""
    dist = np.sqrt(((rng.standard_normal((n, 1, 5)) - rng.standard_normal((1, n, 5))) ** 2).sum(2)) * scale
    np.fill_diagonal(dist, 0)
    return dist.astype(np.float32)


def parted(dist, q):
    """As the published port reads it: [[qq, qg], [qg^T, gg]]."""
    whole = np.block([[dist[:q, :q], dist[:q, q:]], [dist[:q, q:].T, dist[q:, q:]]])
    return DistanceMatrices(dist[:q, :q], dist[:q, q:], dist[q:, q:]), whole


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(8, 60), st.sampled_from([0.01, 1.0, 300.0]), st.booleans())
def test_lists_are_those_of_the_dense_sum(seed, n, scale, close):
    rng = np.random.default_rng(seed)
    q = int(rng.integers(1, n))
    feats = [clustered(rng, n, 16, max(1, n // 5)) if close else unit_rows(rng, n, 16), unit_rows(rng, n, 7)]
    distances, whole = parted(matrix(rng, n, scale), q)
    weights = [1.0, 0.5, 0.25]
    want = oracles.fused_distance(feats, weights[:2]) + 0.25 * whole
    given_ = [feats[0], feats[1], distances]
    slack = 1e-5 * max(1.0, want.max())
    order, dist = distance_blocks.rank(given_, q, weights=weights)
    assert same_lists(order, want[:q, q:], slack)
    np.testing.assert_allclose(dist, np.take_along_axis(want[:q, q:], order.astype(int), 1), atol=slack)
    near = neighbours.nearest(given_, 6, weights=weights, n_query=q, top_k=3, n_jobs=1)
    assert same_lists(near.order, want, slack)
    got = np.concatenate([d for _, d in rerank.blocks(near, given_, q, weights=weights, k1=5, k2=3, lam=0.3)])
    assert got.shape == (q, n - q) and np.isfinite(got).all()


def test_reranked_as_the_oracle_does():
    rng = np.random.default_rng(3)
    n, q = 50, 12
    feats = clustered(rng, n, 24, 8)
    distances, whole = parted(matrix(rng, n, 0.3), q)
    near = neighbours.nearest([feats, distances], 21, weights=[1.0, 0.7])
    got = np.concatenate([d for _, d in rerank.blocks(near, [feats, distances], q, weights=[1.0, 0.7], k1=8, k2=4)])
    want = oracles.k_reciprocal(oracles.fused_distance([feats], [1.0]) + 0.7 * whole, q, 8, 4, 0.3, 2)
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_matrices_alone_and_weights_of_zero():
    rng = np.random.default_rng(0)
    feats, (distances, whole) = unit_rows(rng, 20, 8), parted(matrix(rng, 20, 2.0), 5)
    order, _ = distance_blocks.rank([distances, distances], 5, weights=[1.0, 2.0])
    assert same_lists(order, 3 * whole[:5, 5:])
    assert isinstance(as_source([feats, distances], [1.0, 0.0]), MemberFeatures)
    alone = as_source([feats, distances], [0.0, 2.0])
    assert isinstance(alone, FeaturesAndDistances) and alone.features is None and alone.total == 0
    assert same_lists(distance_blocks.rank(alone, 5)[0], whole[:5, 5:])


def test_what_is_refused():
    rng = np.random.default_rng(0)
    feats, (distances, _) = unit_rows(rng, 20, 8), parted(matrix(rng, 21, 1.0), 5)
    with pytest.raises(ValueError, match=r"members with \[20, 21\] images"):
        as_source([feats, distances])
    with pytest.raises(ValueError, match="penalties need members with features"):
        as_source([distances], penalties=[(np.zeros(21), 0.1)])
    distances.gg[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        as_source([distances, distances])
