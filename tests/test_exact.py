"""Lists are those of exact distances, to the last place: whatever the products, the blocks, the workers, the kernel.

The oracle sums in long double: its distances are right to more places than float32 or float64 hold.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ensemble import metrics, neighbours, rerank
from ensemble.kernels import amx, exact_distances, half_precision
from ensemble.neighbours import block_search, distance_blocks
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.similarity import as_source
from ensemble.rerank import k_reciprocal_encoding
from tests import exact_lists, oracles
from tests.features import clustered, signs, unit_rows

ROOT = Path(__file__).parent.parent
Q = exact_lists.N_QUERY


def cosine_distances(feats, weights=(1.0,)):
    """(N, N) summed cosine distances, in long double."""
    out = 0
    for a, w in zip(feats, weights, strict=True):
        rows = a.astype(np.longdouble)
        rows /= np.sqrt((rows * rows).sum(axis=1, keepdims=True))
        out = out + w * (1 - rows @ rows.T)
    np.fill_diagonal(out, 0)
    return out


def by_exact(dist):
    """The order of rows of exact distances, as float32 tells them apart, ties by index."""
    return np.argsort(np.maximum(dist, 0).astype(np.float32), axis=1, kind="stable")


def collapsed(n, dims, spread, seed=0):
    """Unit rows within `spread` of one direction."""
    rng = np.random.default_rng(seed)
    feats = unit_rows(rng, 1, dims) + np.float32(spread) * unit_rows(rng, n, dims)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def native():
    return exact_lists.digests(exact_lists.copies(), 1, 50)


def test_whole_lists_of_copies_and_near_ties_are_exact(native):
    feats = exact_lists.copies()
    exact = cosine_distances([feats])[:Q, Q:]
    order, dist = distance_blocks.rank(feats, Q, device="cpu")
    np.testing.assert_array_equal(order, by_exact(exact))
    np.testing.assert_allclose(dist, np.sort(exact, axis=1).astype(float), rtol=1e-7, atol=1e-15)
    assert exact_lists.digest(order, dist) == native["plain"]


def test_whole_lists_do_not_depend_on_workers_and_blocks(native):
    for n_jobs, block in ((1, 7), (2, 50), (3, 13)):
        assert exact_lists.digests(exact_lists.copies(), n_jobs, block) == native


@pytest.mark.parametrize("kernel", ["Haswell", pytest.param("Sandybridge", marks=pytest.mark.slow)])
def test_whole_lists_do_not_depend_on_the_kernels_of_the_products(native, kernel):
    """OpenBLAS sums in other orders on other processors; it is told to take this one for another."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.exact_lists"],
        cwd=ROOT, env=os.environ | {"OPENBLAS_CORETYPE": kernel}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == native


@pytest.mark.parametrize("lam", [0.0, 1e-9, 0.3, 1.0])
@pytest.mark.parametrize("case", ["copies", "ties", "random"])
def test_first_k_lists_are_the_heads_of_whole_lists(lam, case):
    rng = np.random.default_rng(4)
    feats = {"copies": exact_lists.copies(), "ties": signs(rng, 300, 16), "random": clustered(rng, 300, 32, 9)}[case]
    for k in (1, 7, 40):
        near = neighbours.nearest(feats, 9, n_query=Q, top_k=k, near_share=1, device="cpu")
        setting = {"k1": 8, "k2": 3, "lam": lam, "device": "cpu"}
        whole = rerank.k_reciprocal(near, feats, Q, **setting)
        monkey_share = 1e9  # first-K lists, however short the gallery
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(k_reciprocal_encoding, "NEAR_SHARE", monkey_share)
            first = rerank.k_reciprocal(near, feats, Q, top_k=k, **setting)
        np.testing.assert_array_equal(first[0], whole[0][:, :k])
        np.testing.assert_array_equal(first[1], whole[1][:, :k])


def test_nothing_overlapping_is_listed_by_index_at_lam_0():
    """Two far pairs of images: a query overlaps with its twin alone, and all others are at distance 1."""
    feats = np.repeat(np.eye(40, dtype=np.float32), 2, axis=0)[np.r_[0:80:2, 1:80:2]]
    near = neighbours.nearest(feats, 2, n_query=40, top_k=5, near_share=1, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(k_reciprocal_encoding, "NEAR_SHARE", 1e9)
        order, dist = rerank.k_reciprocal(near, feats, 40, k1=1, k2=1, lam=0.0, top_k=5, device="cpu")
    for q in range(40):
        assert order[q].tolist() == [q, *[g for g in range(6) if g != q][:4]]
    np.testing.assert_array_equal(dist, np.tile(np.array([0, 1, 1, 1, 1], np.float32), (40, 1)))


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_features_that_have_nearly_collapsed_keep_their_order(spread):
    """Distances of 1e-6 and less, where 1 minus a float32 similarity would keep a digit or none."""
    feats = collapsed(250, 96, spread)
    exact = cosine_distances([feats])
    near = neighbours.nearest(feats, 12, n_query=Q, top_k=15, near_share=1, device="cpu")
    np.testing.assert_array_equal(near.order, by_exact(exact)[:, :12])
    np.testing.assert_allclose(near.dist, np.sort(exact, axis=1)[:, :12], rtol=2e-7, atol=0)
    np.testing.assert_allclose(near.farthest, exact.max(axis=1).astype(float), rtol=2e-7)
    np.testing.assert_array_equal(near.near_order[:, :15], by_exact(exact[:Q, Q:])[:, :15])
    order, _ = distance_blocks.rank(feats, Q, device="cpu")
    np.testing.assert_array_equal(order, by_exact(exact[:Q, Q:]))
    got = np.concatenate([d for _, d in rerank.blocks(near, feats, Q, k1=11, k2=4, device="cpu")])
    want = oracles.k_reciprocal(exact.astype(float), Q, 11, 4, 0.3, 2)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_lengths_are_divided_by():
    """Rows are of unit length to a thousandth; their cosine is that of their directions."""
    rng = np.random.default_rng(7)
    feats = clustered(rng, 200, 24, 20) * rng.uniform(0.9992, 1.0008, (200, 1)).astype(np.float32)
    exact = cosine_distances([feats])
    near = neighbours.nearest(feats, 10, n_query=Q, top_k=9, near_share=1, device="cpu")
    np.testing.assert_array_equal(near.order, by_exact(exact)[:, :10])
    np.testing.assert_array_equal(distance_blocks.rank(feats, Q, device="cpu")[0], by_exact(exact[:Q, Q:]))
    with pytest.raises(ValueError, match=r"rows not of unit length: 5 \(norm 1\.002\)"):
        longer = feats.copy()
        longer[5] *= 1.002 / np.linalg.norm(longer[5])
        neighbours.nearest(longer, 3)


def test_features_that_float32_cannot_hold_apart_are_told_once(caplog):
    with caplog.at_level(logging.WARNING):
        neighbours.nearest(collapsed(60, 32, 1e-5), 5, device="cpu")
    assert [r.message for r in caplog.records] == [r.message for r in caplog.records if "collapsed" in r.message]
    assert len(caplog.records) == 1
    caplog.clear()
    neighbours.nearest(collapsed(60, 32, 1e-3), 5, device="cpu")
    assert not caplog.records


def near_ties(n=400, dims=512, seed=8):
    """Rows whose distances differ by less than the rounding of products in float32, and many times more in half."""
    rng = np.random.default_rng(seed)
    feats = unit_rows(rng, 8, dims)[np.arange(n) % 8] + np.float32(3e-3) * unit_rows(rng, n, dims)
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


def plain_multiply(left, right, config, kind, out):
    """`tiles.multiply` in NumPy, for processors without the units: products of the same numbers, summed in float32."""

    def rows(tiles_):
        """(groups, steps, 512) left tiles to (16 * groups, 32 * steps) numbers."""
        groups, steps = tiles_.shape[:2]
        bits = tiles_.reshape(groups, steps, 16, 32).transpose(0, 2, 1, 3).reshape(16 * groups, 32 * steps)
        return bits.view(np.float16).astype(np.float32) if kind == amx.FLOAT16 else from_bfloat16(bits)

    turned = right.view(np.uint32).reshape(*right.shape[:2], 16, 16).transpose(0, 1, 3, 2)
    out[:] = rows(left) @ rows(np.ascontiguousarray(turned).view(np.uint16).reshape(right.shape)).T


def from_bfloat16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.fixture(params=["float32", "float16", "bfloat16"])
def precision(request, monkeypatch):
    """Every format of products, by a twin where this processor lacks the units."""
    if request.param != "float32" and block_search.FORMATS[request.param] not in amx.formats():
        monkeypatch.setattr(amx, "formats", lambda: (amx.FLOAT16, amx.BFLOAT16))
        monkeypatch.setattr(half_precision, "multiply", plain_multiply)
    return request.param


@pytest.mark.parametrize("case", ["near ties", "members", "penalties"])
def test_the_bound_on_products_keeps_what_they_would_misplace(precision, case):
    """Distances that lie closer than the products err: without the slack some lists come out wrong."""
    rng, feats, options = np.random.default_rng(9), [near_ties()], {}
    if case == "members":
        feats, options = [near_ties(), near_ties(dims=40, seed=16)], {"weights": [1.0, 0.25]}
    exact = cosine_distances(feats, options.get("weights", [1.0]))
    if case == "penalties":
        labels = rng.integers(0, 5, 400)
        options["penalties"] = [(labels, 1e-4)]
        exact = exact + 1e-4 * ((labels[:, None] == labels) & ~np.eye(400, dtype=bool))
    near = neighbours.nearest(
        feats, 15, n_query=Q, top_k=12, near_share=1, precision=precision, superblock=128, device="cpu", **options
    )
    np.testing.assert_array_equal(near.order, by_exact(exact)[:, :15])
    np.testing.assert_array_equal(near.near_order[:, :12], by_exact(exact[:Q, Q:])[:, :12])
    np.testing.assert_allclose(near.farthest, exact.max(axis=1).astype(float), rtol=1e-6)
    source, blocks = as_source(feats, **options), slice(0, 400)
    chosen = block_search.choose_block_precision(source, precision, 1)
    makers = block_search.HalfBlocks if chosen.kind else block_search.FloatBlocks
    maker = makers(source, chosen, blocks) if chosen.kind else makers(source, chosen)
    (_, sim), *_ = maker.of(blocks, [blocks])
    apart = np.abs(sim[:400, :400] / chosen.scale**2 - (source.total - exact))
    assert apart.max() < chosen.slack / 2 / chosen.scale**2
    wrong = np.argsort(-sim[:400, :400], axis=1, kind="stable")[:, :15] != by_exact(exact)[:, :15]
    assert wrong.any()  # so the products alone would not do


def test_the_bound_on_sums_with_distances_keeps_what_they_would_misplace():
    rng, feats = np.random.default_rng(10), near_ties()
    exact = cosine_distances([feats])
    dense = np.abs(rng.standard_normal((400, 400))) * 1e-7
    np.fill_diagonal(dense, 0)
    dense = dense + dense.T
    given = [feats, DistanceMatrices(dense[:Q, :Q], dense[:Q, Q:], dense[Q:, Q:])]
    near = neighbours.nearest(given, 15, n_query=Q, top_k=12, near_share=1, device="cpu")
    want = exact + dense.astype(np.longdouble)
    np.testing.assert_array_equal(near.order, by_exact(want)[:, :15])
    order, _ = distance_blocks.rank(given, Q, device="cpu")
    np.testing.assert_array_equal(order, by_exact(want[:Q, Q:]))


def test_scores_of_streams_are_those_of_exact_rows():
    """Right images stand among images that float32 products cannot tell from them."""
    rng = np.random.default_rng(11)
    pids, lengths = rng.integers(0, 40, 400), rng.uniform(0.9992, 1.0008, (400, 1)).astype(np.float32)
    feats = near_ties() * lengths  # which products know nothing of
    near = neighbours.nearest(feats, 12, device="cpu")
    for stream in (
        lambda: distance_blocks.blocks(feats, Q, device="cpu"),
        lambda: rerank.blocks(near, feats, Q, k1=11, k2=3, device="cpu"),
        lambda: distance_blocks.summed(
            [distance_blocks.blocks(a, Q, device="cpu") for a in (feats, feats[:, ::-1].copy())], [1.0, 0.5]
        ),
    ):
        score = metrics.evaluate_blocks(stream(), pids[:Q], pids[Q:])
        order, _ = distance_blocks.ranked(stream(), None)
        whole = metrics.evaluate(order, pids[:Q], pids[Q:])
        np.testing.assert_array_equal(score.ap_per_query, whole.ap_per_query)
        rough = 1 - feats[:Q] @ feats[Q:].T
        wrong = metrics.evaluate_blocks([(slice(0, Q), rough)], pids[:Q], pids[Q:])
        assert (wrong.ap_per_query != score.ap_per_query).any()


def test_distances_that_are_none_are_refused():
    feats = unit_rows(np.random.default_rng(12), 20, 8)
    for value, says in ((np.inf, "1 NaN, infinite or negative"), (np.nan, "the first nan"), (-0.01, "the first -0.01")):
        dist = np.asarray(1 - feats @ feats.T)
        dist[2, 7] = value
        given = DistanceMatrices(dist[:5, :5], dist[:5, 5:], dist[5:, 5:])
        with pytest.raises(ValueError, match=says):
            neighbours.nearest([given], 3)
        with pytest.raises(ValueError, match=says):
            distance_blocks.rank([given], 5)


def test_what_rounding_left_below_0_is_0():
    """`1 - x @ x.T` is how people make distances."""
    rng = np.random.default_rng(13)
    feats = np.tile(clustered(rng, 15, 96, 3), (8, 1))
    dist = 1 - feats @ feats.T
    assert dist.min() < 0
    dist[dist < 1e-6] = rng.choice(np.array([-3e-7, -1e-7, 0], np.float32), (dist < 1e-6).sum())
    given = DistanceMatrices(dist[:20, :20], dist[:20, 20:], dist[20:, 20:])
    order, found = distance_blocks.rank([given], 20)
    np.testing.assert_array_equal(order, np.argsort(np.maximum(dist, 0)[:20, 20:], axis=1, kind="stable"))
    assert (found >= 0).all()
    near = neighbours.nearest(given, 2, n_query=20, top_k=3, near_share=1)
    np.testing.assert_array_equal(near.order, np.argsort(np.maximum(dist, 0), axis=1, kind="stable")[:, :2])
    assert (near.dist >= 0).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"feats": lambda a: [a[1], a[0]]}, "other features"),
        ({"feats": lambda a: [a[0], a[1][::-1].copy()]}, "other features"),
        ({"weights": [1.0, 0.4]}, "other features"),
        ({"penalties": [(np.arange(60) % 3, 0.1)]}, "other features"),
        ({"k1": 3.0}, "k1 is 3.0: want a whole number"),
        ({"k2": 2.5}, "k2 is 2.5: want a whole number"),
        ({"n_query": 10.0}, "n_query is 10.0"),
        ({"feats": lambda a: [a[0], a[1].astype(complex)]}, "features of complex128: want real numbers"),
    ],
)
@pytest.mark.parametrize("call", ["k_reciprocal", "blocks"])
def test_neighbours_of_something_else_are_refused(call, change, says):
    rng = np.random.default_rng(14)
    feats = [clustered(rng, 60, 16, 6), unit_rows(rng, 60, 16)]
    near = neighbours.nearest(feats, 12, weights=[1.0, 0.5], device="cpu")
    given = {"n_query": 10, "weights": [1.0, 0.5], "k1": 5, "k2": 3} | change
    feats = given.pop("feats", lambda a: a)(feats)
    with pytest.raises(ValueError, match=says):
        getattr(rerank, call)(near, feats, device="cpu", **given)


def test_a_copy_is_at_distance_0_from_itself_exactly():
    rng = np.random.default_rng(15)
    feats = np.repeat(rng.standard_normal((40, 333)).astype(np.float32), 2, axis=0)
    feats /= np.linalg.norm(feats, axis=1, keepdims=True)
    squares, _ = exact_distances.measured(feats, 0, 80)
    out = np.zeros(160)
    pairs = np.stack([np.arange(80), np.arange(80) ^ 1], axis=1).ravel().astype(np.int32)
    exact_distances.add_distances(feats, squares, np.arange(80), np.arange(0, 161, 2), pairs, 1.0, out)
    assert (out == 0).all()
