"""The search for neighbours against sorting every distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import neighbours
from ensemble.kernels import amx
from ensemble.kernels.parallel import spans
from tests import oracles
from tests.features import clustered, ensembles, same_lists, signs, unit_rows


def precisions():
    """Every precision this CPU multiplies; the others are skipped aloud."""
    possible = {0, *amx.formats()}
    return [
        pytest.param(name, marks=[] if kind in possible else pytest.mark.skip(f"this CPU has no {name} products"))
        for name, kind in (("float32", 0), ("float16", amx.FLOAT16), ("bfloat16", amx.BFLOAT16))
    ]


def by_sorting(feats, k, weights=None):
    """Lists by float64 products rounded to float32, ties by lower index."""
    weights = weights or [1.0] * len(feats)
    sim = sum(w * (a.astype(np.float64) @ a.astype(np.float64).T) for w, a in zip(weights, feats, strict=True))
    order = np.argsort(-sim.astype(np.float32), axis=1, kind="stable")
    return order[:, :k], sim


@pytest.mark.parametrize("precision", precisions())
@pytest.mark.parametrize("superblock", [96, 700])
def test_lists_are_those_of_a_sort(precision, superblock):
    rng = np.random.default_rng(0)
    feats, weights = [clustered(rng, 700, 40, 60), unit_rows(rng, 700, 100)], [0.7, 1.9]
    near = neighbours.nearest(
        feats, 21, weights=weights, n_query=130, top_k=60, near_share=1, precision=precision, superblock=superblock
    )
    order, sim = by_sorting(feats, 21, weights)
    np.testing.assert_array_equal(near.order, order)
    np.testing.assert_allclose(near.sim, np.take_along_axis(sim, order, 1), atol=1e-6)
    np.testing.assert_allclose(near.farthest, near.total - sim.min(1), atol=1e-6)
    gallery = np.argsort(-sim[:130, 130:].astype(np.float32), axis=1, kind="stable")[:, :60]
    np.testing.assert_array_equal(near.near_order[:, :60], gallery)
    assert near.total == pytest.approx(2.6)


@pytest.mark.parametrize("precision", precisions())
def test_more_ties_than_a_pool_holds(precision):
    rng = np.random.default_rng(1)
    feats = signs(rng, 900, 4)  # 16 different rows: each is tied with some 56 copies, and with whole shells
    near = neighbours.nearest(feats, 5, n_query=100, top_k=7, precision=precision, superblock=256)
    order, sim = by_sorting([feats], 5)
    np.testing.assert_array_equal(near.order, order)
    np.testing.assert_array_equal(near.farthest, (near.total - sim.min(1)).astype(np.float32))
    np.testing.assert_array_equal(near.near_order[:, :7], np.argsort(-sim[:100, 100:], axis=1, kind="stable")[:, :7])


def test_more_ties_among_the_queries_than_a_pool_holds():
    """Every query is as near to all others; rows done again meet the queries alone, the gallery having its own list."""
    n, half = 200, 0.5**0.5
    queries = np.hstack([np.full((n, 1), half), half * np.eye(n)]).astype(np.float32)
    copies = np.hstack([np.full((n, 1), 0.6**0.5), 0.4**0.5 * np.eye(n)]).astype(np.float32)
    feats = np.vstack([queries, copies])
    near = neighbours.nearest(feats, 4, n_query=n, top_k=5, near_share=1)
    order, _ = by_sorting([feats], 4)
    np.testing.assert_array_equal(near.order, order)


def test_all_images_alike():
    feats = np.tile(unit_rows(np.random.default_rng(2), 1, 32), (400, 1))
    near = neighbours.nearest(feats, 3)
    np.testing.assert_array_equal(near.order, np.tile(np.arange(3), (400, 1)))


@settings(max_examples=60, deadline=None)
@given(ensembles(), st.integers(1, 60), st.sampled_from([32, 64]))
def test_drawn_cases(case, k, superblock):
    feats, weights, n_query = case
    near = neighbours.nearest(
        feats, k, weights=weights, n_query=n_query, top_k=k, superblock=superblock, near_share=1e9
    )
    want = oracles.fused_distance(feats, weights)
    assert near.order.shape == (len(want), min(k, len(want)))
    assert same_lists(near.order, want)
    assert same_lists(near.near_order, want[:n_query, n_query:])
    np.testing.assert_allclose(near.farthest, want.max(1), atol=1e-5)


def test_bit_for_bit_whatever_the_blocks_and_workers():
    feats = clustered(np.random.default_rng(3), 900, 64, 90)
    settings_ = [(64, 1, "auto"), (300, 2, "auto"), (900, 2, "float32")]
    one, *others = [
        neighbours.nearest(feats, 21, superblock=b, n_jobs=j, precision=p, n_query=200, top_k=40, near_share=1)
        for b, j, p in settings_
    ]
    for other in others:
        for name in ("order", "dist", "farthest", "near_order", "near_dist"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_memory_maps_and_shortened_lists(tmp_path):
    feats = unit_rows(np.random.default_rng(4), 200, 24)
    np.save(tmp_path / "a.npy", feats)
    near = neighbours.nearest(np.load(tmp_path / "a.npy", mmap_mode="r"), 20)
    np.testing.assert_array_equal(near.shortened(7).order, neighbours.nearest(feats, 7).order)
    with pytest.raises(ValueError, match="want 1 to 20"):
        near.shortened(21)


def test_penalty_separates_images_of_one_camera():
    rng = np.random.default_rng(5)
    feats, cams = unit_rows(rng, 80, 16), rng.integers(-1, 3, 80)
    near = neighbours.nearest(feats, 10, penalties=[(cams, 0.25)], superblock=32)
    want = oracles.fused_distance([feats], [1.0])
    for i in range(80):
        for j in range(80):
            if i != j and cams[i] == cams[j] >= 0:
                want[i, j] += 0.25
    assert same_lists(near.order, want)
    np.testing.assert_allclose(near.farthest, want.max(1), atol=1e-5)


def test_the_largest_penalty_leaves_an_image_its_own_nearest():
    """It would be the farthest of all if its own camera counted against it, in the products or in the rescoring."""
    feats = clustered(np.random.default_rng(8), 600, 16, 40)
    near = neighbours.nearest(feats, 2, penalties=[(np.arange(600) % 300, 3.0)], superblock=200)
    np.testing.assert_array_equal(near.order[:, 0], np.arange(600))


def test_progress_is_told():
    told = []
    feats = unit_rows(np.random.default_rng(6), 300, 8)
    neighbours.nearest(feats, 3, superblock=100, progress=lambda done, of: told.append((done, of)))
    assert told == [(i, 6) for i in range(1, 7)]
    assert spans(300, 100)[-1] == slice(200, 300)


def spoilt(value):
    feats = unit_rows(np.random.default_rng(7), 12, 8)
    feats[7] = value
    return feats


@pytest.mark.parametrize(
    ("feats", "k", "options", "says"),
    [
        (spoilt(0.0), 3, {}, r"7 \(norm 0\)"),
        (spoilt(np.nan), 3, {}, r"7 \(norm nan\)"),
        (spoilt(0.9), 3, {}, r"7 \(norm 2.546\)"),
        (unit_rows(np.random.default_rng(0), 9, 4), 0, {}, "k is 0"),
        ([unit_rows(np.random.default_rng(0), 9, 4), unit_rows(np.random.default_rng(0), 8, 4)], 2, {}, "same N"),
        ([], 2, {}, "no features"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"weights": [1.0, 2.0]}, "2 weights for 1"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"weights": [-1.0]}, "finite and >= 0"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"weights": [0.0]}, "above 0"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"n_query": 9, "top_k": 2}, "n_query is 9"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"n_query": 3}, "belong together"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"device": "gpu"}, "unknown device"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"precision": "int4"}, "unknown precision"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"n_jobs": 0}, "n_jobs is 0"),
        (unit_rows(np.random.default_rng(0), 9, 4), 2, {"penalties": [(np.zeros(3), 0.1)]}, "labels of shape"),
    ],
)
def test_bad_input_is_named(feats, k, options, says):
    with pytest.raises(ValueError, match=says):
        neighbours.nearest(feats, k, **options)
