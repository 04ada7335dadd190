"""Query expansion and database augmentation against the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble.rerank import query_expansion
from tests import oracles
from tests.features import clustered, unit_rows


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 25), st.integers(1, 30), st.sampled_from([0.0, 1.0, 3.0]))
def test_equals_the_oracle(seed, n, k, alpha):
    rng = np.random.default_rng(seed)
    feats, n_query = clustered(rng, n, 8, 4), int(rng.integers(1, n))
    (got,) = query_expansion.queries(feats, n_query, k, alpha=alpha)
    want = oracles.alpha_query_expansion(feats[:n_query], feats[n_query:], k, alpha)
    np.testing.assert_allclose(got, want, atol=1e-5)
    (got,) = query_expansion.database(feats, k, alpha=alpha)
    np.testing.assert_allclose(got, oracles.database_augmentation(feats, k, alpha), atol=1e-5)


def test_plain_average_is_its_own_oracle():
    feats = clustered(np.random.default_rng(1), 60, 16, 8)
    (got,) = query_expansion.queries(feats, 20, 5)
    np.testing.assert_allclose(got, oracles.average_query_expansion(feats[:20], feats[20:], 5), atol=1e-6)


def test_copies_before_an_image_do_not_count_it_twice():
    """With more copies of lower index than the list is long, an image is not in its own list."""
    feats = np.repeat(unit_rows(np.random.default_rng(2), 2, 8), 6, axis=0)
    (got,) = query_expansion.database(feats, 2)
    np.testing.assert_allclose(got, oracles.database_augmentation(feats, 2), atol=1e-6)


def test_members_share_their_neighbours():
    rng = np.random.default_rng(3)
    feats = [clustered(rng, 50, 8, 9), clustered(rng, 50, 12, 9)]
    got = query_expansion.queries(feats, 10, 3, alpha=2.0, weights=[1.0, 3.0])
    wide = np.hstack([0.5 * feats[0], 0.75**0.5 * feats[1]])
    order = np.argsort(-(wide[:10] @ wide[10:].T), axis=1)[:, :3] + 10
    cos = np.einsum("qd,qkd->qk", wide[:10], wide[order])
    for member, mine in zip(feats, got, strict=True):
        want = member[:10] + np.einsum("qk,qkd->qd", np.maximum(cos, 0) ** 2, member[order])
        np.testing.assert_allclose(mine, want / np.linalg.norm(want, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    ("k", "alpha", "says"), [(0, 0.0, "k is 0"), (2, -1.0, "alpha is -1"), (2, float("nan"), "alpha is nan")]
)
def test_bad_input_is_named(k, alpha, says):
    feats = unit_rows(np.random.default_rng(0), 9, 4)
    with pytest.raises(ValueError, match=says):
        query_expansion.queries(feats, 3, k, alpha=alpha)
    with pytest.raises(ValueError, match=says):
        query_expansion.database(feats, k, alpha=alpha)


def test_opposite_images_have_no_mean():
    feats = np.array([[1, 0], [-1, 0]], np.float32)
    with pytest.raises(ValueError, match="image 0 and its neighbours is zero"):
        query_expansion.queries(feats, 1, 1)
