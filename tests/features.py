"""Features for the retrieval tests: random, clustered, copied, and such that float32 sums are exact and tie often."""

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray


def unit_rows(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float32]:
    """(n, d) random unit rows."""
    feats = rng.standard_normal((n, d), dtype=np.float32)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


def clustered(rng: np.random.Generator, n: int, d: int, groups: int, spread: float = 0.5) -> NDArray[np.float32]:
    """(n, d) unit rows around `groups` centres: reciprocal sets of some size, as identities make them."""
    feats = unit_rows(rng, groups, d)[rng.integers(0, groups, n)] + spread * unit_rows(rng, n, d)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


def signs(rng: np.random.Generator, n: int, d: int) -> NDArray[np.float32]:
    """(n, d), d = 4, 16 or 64: entries +-1/sqrt(d), so that every similarity is exact and many are equal."""
    return (rng.integers(0, 2, (n, d)) * 2 - 1).astype(np.float32) / np.float32(d**0.5)


@st.composite
def ensembles(draw, most: int = 40):
    """(feats list, weights, n_query): 3..most images, one to three members of different D, some of weight 0."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(3, most))
    kind = draw(st.sampled_from(["random", "clustered", "ties", "copies"]))
    dims = draw(st.lists(st.sampled_from([4, 16, 64]), min_size=1, max_size=3))
    if kind == "ties":
        feats = [signs(rng, n, d) for d in dims]
    elif kind == "random":
        feats = [unit_rows(rng, n, d) for d in dims]
    else:
        feats = [clustered(rng, n, d, max(1, n // 5)) for d in dims]
    if kind == "copies":
        feats = [a[rng.integers(0, n, n) // 2] for a in feats]
    weights = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), min_size=len(dims), max_size=len(dims)))
    if not any(weights):
        weights[0] = 1.0
    n_query = draw(st.one_of(st.just(1), st.just(n - 1), st.integers(1, n - 1)))
    return feats, weights, n_query


def same_lists(order: NDArray, want_dist: NDArray, tolerance: float = 1e-5) -> bool:
    """Whether order (Q, K) lists the K smallest of want_dist (Q, G), best first, up to ties closer than tolerance."""
    listed = np.take_along_axis(want_dist, order.astype(np.int64), 1)
    sorted_dist = np.sort(want_dist, axis=1)[:, : order.shape[1]]
    unique = all(len(set(row)) == len(row) for row in order.tolist())
    return unique and bool((np.abs(listed - sorted_dist) <= tolerance).all())
