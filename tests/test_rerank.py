"""Re-ranking against the oracle written from the paper."""

import numpy as np
import pytest

from ensemble import neighbours, rerank
from tests import oracles


def unit_rows(rng, n, d):
    feats = rng.normal(size=(n, d)).astype(np.float32)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("n", "n_query", "dims", "k1", "k2", "power"),
    [(60, 10, (16,), 5, 3, 2), (120, 30, (8, 24), 20, 6, 1), (9, 3, (4,), 20, 6, 2), (3, 1, (4,), 1, 1, 2)],
)
def test_equals_the_oracle(n, n_query, dims, k1, k2, power):
    rng = np.random.default_rng(n)
    feats, weights = [unit_rows(rng, n, d) for d in dims], [0.5, 2.0][: len(dims)]
    near = neighbours.nearest(feats, max(k1 + 1, k2), weights=weights)
    order, dist = rerank.k_reciprocal(near, feats, n_query, weights=weights, k1=k1, k2=k2, power=power)
    want = oracles.k_reciprocal(oracles.fused_distance(feats, weights), n_query, k1, k2, 0.3, power)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order, 1), atol=1e-5)
    np.testing.assert_array_equal(order, np.argsort(want, axis=1, kind="stable"))
