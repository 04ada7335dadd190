"""The CPU kernels on their own: sets against sparse algebra, half-precision blocks against their bound."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from ensemble import neighbours
from ensemble.kernels import amx, exact_distances, ranked_lists, reciprocal_sets, topk
from ensemble.neighbours.block_search import FORMATS, FloatBlocks, HalfBlocks, choose_block_precision
from ensemble.neighbours.similarity import as_source
from tests.features import clustered, signs, unit_rows

ROOT = Path(__file__).parent.parent


def first(order, c):
    """The 0/1 matrix of each row's first c."""
    n = len(order)
    return sp.csr_array((np.ones(n * c), order[:, :c].ravel(), np.arange(0, n * c + 1, c)), shape=(n, n))


@pytest.mark.parametrize(("k1", "groups"), [(20, 25), (7, 60), (3, 200)])
def test_expanded_sets_are_the_sparse_algebra(k1, groups):
    """R = A o A^T, E = [R o (R R_h^T) > 2/3 |R_h|], and the sets are the pattern of R + E R_h."""
    feats = clustered(np.random.default_rng(k1), 500, 24, groups)
    order = neighbours.nearest(feats, k1 + 1).order
    nearest, half = first(order, k1 + 1), first(order, round(k1 / 2) + 1)
    r, r_half = nearest * nearest.T, half * half.T
    shared, size = (r * (r @ r_half.T)).tocoo(), r_half.sum(axis=1)
    joins = 3 * shared.data > 2 * size[shared.col]
    e = sp.csr_array((joins.astype(float), (shared.row, shared.col)), shape=r.shape)
    want = (r + e @ r_half) > 0
    assert joins.any() and not joins.all()
    full = reciprocal_sets.reciprocal(order, k1 + 1, 0, 500)
    halves = reciprocal_sets.reciprocal(order, round(k1 / 2) + 1, 0, 500)
    for start, stop in ((0, 500), (123, 124)):
        indptr, members = reciprocal_sets.expanded(*full, *halves, start, stop)
        got = sp.csr_array((np.ones(members.size), members, indptr), shape=(stop - start, 500))
        assert (got != want[start:stop]).nnz == 0
        assert all(np.unique(row).size == row.size for row in np.split(members, indptr[1:-1]))


def test_query_expansion_and_overlap_are_the_sparse_algebra():
    rng = np.random.default_rng(0)
    v = sp.random_array((200, 200), density=0.05, rng=rng, dtype=np.float64).tocsr()
    order = np.argsort(rng.random((200, 200)), axis=1).astype(np.int32)
    sixths = np.rint(v.data * reciprocal_sets.UNIT / 6).astype(np.uint32)
    indptr, members, weights = reciprocal_sets.average(v.indptr.astype(np.int64), v.indices, sixths, order, 6, 0, 200)
    got = sp.csr_array((weights / reciprocal_sets.UNIT, members, indptr), shape=(200, 200))
    want = first(order, 6) @ v / 6
    np.testing.assert_allclose(got.toarray(), want.toarray(), atol=1e-8)
    inverse = reciprocal_sets.inverted(indptr, members, weights, 50)
    pointers, gallery, t = reciprocal_sets.overlap(indptr, members, weights, *inverse, 150, 10, 40)
    dense = want.toarray()
    expected = np.array([np.minimum(dense[q], dense[50:]).sum(axis=1) for q in range(10, 40)])
    found = sp.csr_array((t, gallery, pointers), shape=(30, 150)).toarray()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("power", [1, 2])
def test_weights_are_falling_exponentials_of_the_scaled_distance(power):
    rng = np.random.default_rng(power)
    farthest = np.array([1.5, 0.7, 0.0], np.float32)
    dist = np.concatenate([rng.uniform(0, high, 7) for high in farthest]).astype(np.float32)
    got = reciprocal_sets.weighed(np.array([0, 7, 14, 21]), dist, farthest, power, reciprocal_sets.UNIT / 6)
    for row in range(3):
        d = dist[7 * row : 7 * row + 7].astype(float)
        s = (d / float(farthest[row])) ** power if row < 2 else np.zeros(7)
        want = np.exp(-s) / np.exp(-s).sum() / 6
        np.testing.assert_allclose(got[7 * row : 7 * row + 7] / reciprocal_sets.UNIT, want, atol=2e-9)


def possible():
    """The formats of this CPU; the others are skipped aloud."""
    return [
        pytest.param(name, marks=[] if kind in amx.formats() else pytest.mark.skip(f"this CPU multiplies no {name}"))
        for name, kind in FORMATS.items()
        if kind
    ]


def hard(case):
    """Features at the ends of what the formats hold: random, sparse, one of a tiny part, of equal signs."""
    rng = np.random.default_rng(1)
    feats = unit_rows(rng, 150, 75)
    if case == "tiny":
        feats[:, ::2] *= np.float32(1e-6)
    if case == "positive":
        feats = np.abs(feats)
    if case == "one":
        feats = np.eye(75, dtype=np.float32)[rng.integers(0, 75, 150)]
    return feats / np.linalg.norm(feats, axis=1, keepdims=True)


@pytest.mark.parametrize("name", possible())
@pytest.mark.parametrize("case", ["random", "tiny", "positive", "one"])
def test_half_precision_errs_less_than_its_bound(name, case):
    members, weights = [hard(case), hard("random")], [1.7, 0.3]
    source = as_source(members, weights)
    chosen = choose_block_precision(source, name, 1)
    exact = sum(w * (a.astype(float) @ a.T.astype(float)) for w, a in zip(weights, members, strict=True))
    for cols in (slice(0, 150), slice(37, 101)):
        blocks = HalfBlocks(source, chosen, cols)
        for rows in (slice(0, 150), slice(11, 12), slice(64, 150)):
            ((part, sim),) = blocks.of(rows, [cols])
            got = sim[: rows.stop - rows.start, : part.stop - part.start] / chosen.scale**2
            error = np.abs(got - exact[rows, part]).max()
            assert error <= chosen.slack / 2 / chosen.scale**2
            assert error < 0.02 and chosen.slack / chosen.scale**2 < 0.06


def test_float32_blocks_serve_a_half_precision_search():
    source = as_source(unit_rows(np.random.default_rng(2), 40, 20))
    chosen = choose_block_precision(source, "auto", 1)
    ((_, sim),) = FloatBlocks(source, chosen).of(slice(0, 40), [slice(0, 40)])
    np.testing.assert_allclose(sim / chosen.scale**2, source.block(slice(0, 40), slice(0, 40)), rtol=1e-6)


@pytest.mark.parametrize("k", [1, 4, 30])
def test_scan_keeps_every_candidate_of_rows_and_columns(k):
    rng = np.random.default_rng(k)
    sim = np.round(rng.standard_normal((40, 70)), 1).astype(np.float32)
    rows = topk.Side(topk.empty_buffer(50, topk.capacity(k)), topk.empty_buffer(50, topk.LEAST_CAPACITY), k, 5)
    cols = topk.Side(topk.empty_buffer(80, topk.capacity(k)), topk.empty_buffer(80, topk.LEAST_CAPACITY), k, 7)
    slack = np.float32(0.05)
    topk.seed(sim, 40, 66, rows, cols, slack)
    topk.scan(sim, 40, 66, 1000, 2000, rows, cols, slack)
    for pool, low, matrix, at, base in (
        (rows.top, rows.low, sim[:, :66], 5, 2000),
        (cols.top, cols.low, sim[:, :66].T, 7, 1000),
    ):
        for i, values in enumerate(matrix):
            kept = set(pool.where[at + i, : pool.held[at + i]].tolist())
            bar = np.sort(values)[::-1][min(k, values.size) - 1] - slack
            assert {base + j for j in np.flatnonzero(values >= bar)} <= kept
            lowest = set(low.where[at + i, : low.held[at + i]].tolist())
            assert {base + j for j in np.flatnonzero(values <= values.min() + slack)} <= lowest
    assert (rows.top.held[:5] == 0).all() and (cols.top.held[73:] == 0).all()


def test_a_full_pool_says_so_and_stays_shut():
    p = topk.Side(topk.empty_buffer(1, 8), topk.empty_buffer(1, 8), 2, 0)
    topk.scan(np.ones((1, 64), np.float32), 1, 64, 0, 0, p, p._replace(k=0), np.float32(0))
    assert p.top.held[0] == -1 and p.low.held[0] == -1
    flat = topk.flattened(p.top, 2, np.float32(0))
    into = topk.empty_buffer(3, 8)
    topk.merge(into, 1, flat, 2, np.float32(0))
    assert list(into.held) == [0, -1, 0] and into.bar[1] == np.inf


def test_copies_have_one_distance_wherever_they_stand():
    """Four sums are made at a time: the place in the four must not change a bit of any."""
    rng = np.random.default_rng(3)
    feats = np.repeat(unit_rows(rng, 3, 2048), 7, axis=0)
    out = np.zeros(21)
    squares, _ = exact_distances.measured(feats, 0, 21)
    pairs = np.array([0]), np.array([0, 21]), np.arange(21, dtype=np.int32)
    exact_distances.add_distances(feats, squares, *pairs, 1.0, out)
    assert len(set(out.tolist())) == 3


def test_smallest_breaks_ties_by_index():
    dist = np.round(np.random.default_rng(4).random((20, 90)), 1).astype(np.float32)
    for k in (1, 13, 90):
        order, value = ranked_lists.smallest(dist, k)
        want = np.argsort(dist, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(order, want)
        np.testing.assert_array_equal(value, np.take_along_axis(dist, want, 1))


def test_selection_finds_the_kth_largest():
    rng = np.random.default_rng(5)
    for n in (1, 2, 9, 200):
        values = rng.integers(0, 12, n).astype(np.float32)
        for k in (1, (n + 1) // 2, n):
            assert topk.kth_largest(values.copy(), k) == np.sort(values)[::-1][k - 1]


def test_signs_are_exact():
    """The drawn features on which ties are tested do tie exactly."""
    feats = signs(np.random.default_rng(6), 50, 16).astype(np.float64)
    assert np.array_equal(feats @ feats.T * 8, np.round(feats @ feats.T * 8))


def test_import_is_quick_and_takes_no_torch():
    code = "import time; s = time.process_time(); import ensemble.rerank, sys; print(time.process_time() - s); "
    code += "print([m for m in ('torch', 'cupy', 'dask') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, loaded = done.stdout.splitlines()
    assert loaded == "[]"
    assert float(seconds) < 2  # of processor time, which other work on the machine does not stretch


@pytest.mark.parametrize("module", ["ensemble.runs", "ensemble.verify", "submit.score", "submit.check"])
def test_commands_that_only_read_load_neither_torch_nor_numba(module):
    code = f"import {module}, sys; print([m for m in ('torch', 'timm', 'numba', 'cupy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
