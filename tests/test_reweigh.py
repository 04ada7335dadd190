"""Other weights from a pool of candidates, against a search under those weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import neighbours, rerank, reweigh, search
from ensemble import pool as pool_module
from ensemble.distances import Distances
from ensemble.source import source_of
from tests import oracles
from tests.features import clustered, ensembles, same_lists, unit_rows

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
    return reweigh.gather(members, 15, 100, 30)


def same(found, wanted):
    """Equal lists up to ties closer than float32 tells, equal values to 1e-6."""
    for order, sim in (("order", "sim"), ("near_order", "near_sim")):
        np.testing.assert_allclose(getattr(found, sim), getattr(wanted, sim), atol=1e-6)
        assert (getattr(found, order) != getattr(wanted, order)).mean() < 1e-3
    np.testing.assert_allclose(found.least, wanted.least, atol=1e-6)
    assert found.total == pytest.approx(wanted.total)


def rows_of(found, keep, n_query):
    q = keep[:n_query]
    return neighbours.Neighbours(
        found.order[keep], found.sim[keep], found.least[keep], found.total,
        found.near_order[q], found.near_sim[q],
    )  # fmt: skip


@pytest.mark.parametrize("weights", WEIGHTINGS)
def test_what_is_proved_is_what_a_search_finds(members, pool, weights):
    found, proved = reweigh.nearest(pool, weights)
    wanted = neighbours.nearest(members, 15, weights=weights, n_query=100, top_k=30, near_share=1)
    same(rows_of(found, proved, 100), rows_of(wanted, proved, 100))
    exact, all_proved = reweigh.nearest(pool, weights, members)
    assert all_proved.all()
    same(exact, wanted)


def test_weights_near_an_anchor_are_proved_and_far_ones_become_one(members, pool):
    near, far = [1, 0.9, 1], [0, 1, 1]
    assert reweigh.nearest(pool, near)[1].mean() > 0.9
    before = reweigh.nearest(pool, far)[1].mean()
    assert before < 1
    assert reweigh.nearest(reweigh.extended(pool, members, far), far)[1].all()


def test_no_wrong_row_is_proved():
    """Members that agree on nothing: the nearest by their sum are far down every list, and many are no candidates."""
    rng, weights = np.random.default_rng(2), [0.6, 1, 1]
    feats = [unit_rows(rng, 700, 64) for _ in range(3)]
    found, proved = reweigh.nearest(reweigh.gather(feats, 15, 100, 30, anchors=[[1, 0, 0]]), weights)
    wanted = neighbours.nearest(feats, 15, weights=weights, n_query=100, top_k=30, near_share=1)
    wrong = (found.order != wanted.order).any(axis=1) | (np.abs(found.least - wanted.least) > 1e-6)
    wrong[:100] |= (found.near_order != wanted.near_order).any(axis=1)
    assert wrong.any()
    assert not (wrong & proved).any()


def test_a_row_with_a_wrong_farthest_image_is_not_proved():
    """Identities that all members tell apart, in a space where nothing else agrees: the nearest are sure, the farthest
    is not."""
    rng, weights = np.random.default_rng(0), [0.6, 1, 1, 1]
    which = rng.integers(0, 90, 900)
    feats = [unit_noise(rng, unit_rows(rng, 90, 64)[which], 0.3) for _ in range(4)]
    found, proved = reweigh.nearest(reweigh.gather(feats, 4, 100, 4, anchors=[[1, 0, 0, 0]]), weights)
    wanted = neighbours.nearest(feats, 4, weights=weights, n_query=100, top_k=4, near_share=1)
    wrong = np.abs(found.least - wanted.least) > 1e-6
    assert (wrong & (found.order == wanted.order).all(axis=1)).any()
    assert not (wrong & proved).any()
    assert proved.any()


def test_the_few_rows_that_are_not_proved_are_searched_again():
    """20 images, 6 of them queries, on which the members agree in nothing: their nearest, and the farthest of one, are
    no candidates. All others are proved, so that no whole search is made."""
    rng, weights = np.random.default_rng(0), [0.6, 1, 1]
    shared, odd = clustered(rng, 400, 24, 30), rng.choice(400, 20, replace=False)
    feats = [unit_noise(rng, shared, 0.02) for _ in range(3)]
    odd[:7] = range(54, 61)  # the last queries, and the first gallery image
    for of_member in feats:
        of_member[odd] = unit_rows(rng, 20, 24)
    sim = sum(w * (a.astype(float) @ a.T.astype(float)) for w, a in zip(weights, feats, strict=True))
    lists = np.argsort(-sim, axis=1, kind="stable")[:, :5], np.argsort(-sim[:60, 60:], axis=1, kind="stable")[:, :8]
    values = np.sort(sim, axis=1)[:, :-6:-1], np.sort(sim[:60, 60:], axis=1)[:, :-9:-1], sim.min(axis=1)
    pool = reweigh.gather(feats, 5, 60, 8, anchors=[[1, 0, 0]])
    guess, proved = reweigh.nearest(pool, weights)
    assert 0 < (~proved).sum() <= 20
    assert [(getattr(guess, x) != want).any() for x, want in zip(("order", "near_order"), lists, strict=True)] == [
        True
    ] * 2
    assert np.abs(guess.least - values[2]).max() > 1e-3
    exact, sure = reweigh.nearest(pool, weights, feats)
    assert sure.all()
    np.testing.assert_array_equal(exact.order, lists[0])
    np.testing.assert_array_equal(exact.near_order, lists[1])
    for name, want in zip(("sim", "near_sim", "least"), values, strict=True):
        np.testing.assert_allclose(getattr(exact, name), want, atol=1e-5)


def at(rng, image, sims):
    """Unit rows as similar to one image (1, D) as is asked (n,)."""
    away = unit_rows(rng, len(sims), image.shape[1]).astype(float)
    away -= (away @ image.T) * image
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return (sims[:, None] * image + np.sqrt(1 - sims[:, None] ** 2) * away).astype(np.float32)


@pytest.mark.parametrize("what", ["sim", "near_sim", "least"])
def test_what_a_hair_separates_from_the_candidates_is_not_proved(what, monkeypatch):
    """One image and those nearest to it, or farthest: each anchor finds others first, which come to 0.001 less (of
    2.57) than what none of them finds. Everything else about it is sure: the members agree on all other images, and
    three that are nearer still are queries, where only the gallery is in doubt."""
    rng, weights, sign = np.random.default_rng(3), [1.5, 0.5, 1.0], -1 if what == "least" else 1
    monkeypatch.setattr(
        pool_module, "choose_filter", lambda source, _, jobs: search.choose_filter(source, "float32", jobs)
    )
    fans = np.linspace(-0.02, 0.02, 40)[:, None] * [
        1,
        -1,
        0,
    ]  # to 0.02 under the weights, 0.018 and 0 under the anchors
    first = np.array([[0.05, 0.05, -0.1], [-0.05, -0.05, 0.1], [0.0062] * 3])  # 0, 0 and 0.0186 under each
    sims = sign * (0.85 + np.concatenate([fans, *(row + 5e-5 * rng.random((100, 3)) for row in first)]))
    agreed = np.concatenate([[0.99] * 3 if what == "near_sim" else [], np.linspace(-0.5, 0.5, 400)])
    feats = []
    for m in range(3):
        image = unit_rows(rng, 1, 32)
        feats.append(np.concatenate([image, at(rng, image, agreed), at(rng, image, sims[:, m])]))
    row = -1 if what == "sim" else 0  # where no query, or the first
    feats = [np.roll(a, row, axis=0) for a in feats]
    pool = reweigh.gather(feats, 4, 60, 4, anchors=[[1, 1, 1], [1.45, 0.55, 1]])
    found, proved = reweigh.nearest(pool, weights)
    sim = sum(w * (a.astype(float) @ a.T.astype(float)) for w, a in zip(weights, feats, strict=True))
    want = {"sim": np.sort(sim, axis=1)[:, :-5:-1], "least": sim.min(axis=1)[:, None]}
    want["near_sim"] = np.sort(sim[:60, 60:], axis=1)[:, :-5:-1]
    missed = {name: np.abs(getattr(found, name).reshape(x.shape) - x).max(axis=1) for name, x in want.items()}
    assert 5e-4 < missed[what][row] < 2e-3
    assert all(x[row] < 1e-6 for name, x in missed.items() if name != what and (row == 0 or len(x) > 60))
    assert proved.any() and not proved[row]
    assert not any((x > 1e-5)[proved[: len(x)]].any() for x in missed.values())


@pytest.mark.parametrize("weights", [[0.6, 1, 1], [1, 1, 1], [1, 0.2, 0], [0.1, 3, 0.5]])
def test_the_bounds_hold_for_whatever_is_no_candidate(weights):
    """Every image outside a row's candidates, as similar as it really is; with anchors that outweigh w in a member."""
    rng = np.random.default_rng(5)
    feats = [unit_rows(rng, 300, 16) for _ in range(3)]
    pool = reweigh.gather(feats, 6, 60, 10, anchors=[[1, 1, 1], [1, 2, 0]])
    sim = sum(w * (a.astype(float) @ a.T.astype(float)) for w, a in zip(weights, feats, strict=True))
    others = np.ones((300, 300), bool)
    others[np.repeat(np.arange(300), np.diff(pool.indptr)), pool.index] = False
    assert others.sum(axis=1).min() > 50
    most, least, near_most = reweigh._bounds(pool, np.array(weights, float))
    above, below = np.where(others, sim, -np.inf), np.where(others, sim, np.inf)
    assert (above.max(axis=1) <= most + 1e-6).all()
    assert (below.min(axis=1) >= least - 1e-6).all()
    assert (above[:60, 60:].max(axis=1) <= near_most + 1e-6).all()
    if weights == [1, 1, 1]:  # an anchor: nothing is between the bound and the best of what it bounds but rounding
        assert np.median(most - above.max(axis=1)) < 0.05


def test_a_member_added_costs_its_own_search(members):
    two = reweigh.gather(members[:2], 15, 100, 30)
    three = reweigh.extended(two, members, [0, 0, 1])
    assert len(three.anchors) == len(two.anchors) + 1
    weights = [1, 1, 0.5]
    wanted = neighbours.nearest(members, 15, weights=weights, n_query=100, top_k=30, near_share=1)
    found, proved = reweigh.nearest(three, weights)
    assert proved.mean() > 0.1
    same(rows_of(found, proved, 100), rows_of(wanted, proved, 100))
    same(reweigh.nearest(three, weights, members)[0], wanted)


@settings(max_examples=40, deadline=None)
@given(ensembles(), st.integers(1, 9), st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0]), min_size=3, max_size=3))
def test_drawn_cases_are_exact(case, k, weights):
    feats, anchor, n_query = case
    weights = weights[: len(feats)] if any(weights[: len(feats)]) else [1.0] * len(feats)
    pool = reweigh.gather(feats, k, n_query, k, anchors=[anchor])
    found, _ = reweigh.nearest(pool, weights, feats)
    want = oracles.fused_distance(feats, weights)
    assert same_lists(found.order, want)
    assert same_lists(found.near_order, want[:n_query, n_query:])
    np.testing.assert_allclose(found.total - found.least, want.max(1), atol=1e-5)


def test_copies_that_overflow_the_search():
    """Hundreds of copies: those rows are searched whole, and their bounds still hold."""
    rng = np.random.default_rng(1)
    feats = [np.vstack([np.repeat(unit_rows(rng, 2, 12), 300, axis=0), clustered(rng, 200, 12, 9)]) for _ in range(2)]
    pool = reweigh.gather(feats, 5, 150, 8)
    for weights in ([1, 1], [1, 0.7]):
        wanted = neighbours.nearest(feats, 5, weights=weights, n_query=150, top_k=8, near_share=1)
        same(reweigh.nearest(pool, weights, feats)[0], wanted)


def test_it_feeds_the_reranking(members, pool):
    weights = [1, 1.2, 0.9]
    found, _ = reweigh.nearest(pool, weights, members)
    wanted = neighbours.nearest(members, 15, weights=weights, n_query=100, top_k=30, near_share=1)
    want_order, want_dist = rerank.k_reciprocal(wanted, members, 100, weights=weights, k1=10, k2=4, top_k=30)
    for source in (source_of(members).weighted(weights), reweigh.remembering(pool, members, weights)):
        order, dist = rerank.k_reciprocal(found, source, 100, k1=10, k2=4, top_k=30)
        np.testing.assert_allclose(dist, want_dist, atol=1e-5)
        assert (order != want_order).mean() < 1e-3


def test_what_the_pool_keeps_is_read_and_the_rest_computed(members, pool):
    rng, weights = np.random.default_rng(3), [0.3, 1, 2]
    index, indptr, rows = rng.integers(0, 700, 90).astype(np.int32), np.array([0, 40, 40, 90]), np.array([5, 8, 300])
    recalled = pool.recall(rows, indptr, index, weights)
    left = np.repeat(rows, np.diff(indptr))
    exact = sum(w * (a[left].astype(float) * a[index]).sum(axis=1) for w, a in zip(weights, members, strict=True))
    known = [j in pool.index[pool.indptr[i] : pool.indptr[i + 1]] for i, j in zip(left, index, strict=True)]
    assert 0 < np.sum(known) < 90
    np.testing.assert_array_equal(~np.isnan(recalled), known)
    np.testing.assert_allclose(recalled[known], exact[known], atol=1e-6)
    source = reweigh.remembering(pool, members, weights)
    np.testing.assert_allclose(source.pairs(rows, indptr, index), exact, atol=1e-6)


def test_bad_input_is_named(members, pool):
    with pytest.raises(ValueError, match="2 weights for 3"):
        reweigh.nearest(pool, [1, 1])
    with pytest.raises(ValueError, match="one at least above 0"):
        reweigh.nearest(pool, [0, 0, 0])
    with pytest.raises(ValueError, match="700 by 3, and takes one member more"):
        reweigh.extended(pool, members[:2], [1, 1])
    with pytest.raises(ValueError, match="k is 0"):
        reweigh.gather(members, 0, 100, 30)
    with pytest.raises(ValueError, match="n_query is 700"):
        reweigh.gather(members, 3, 700, 30)
    one = np.ones((2, 2))
    with pytest.raises(ValueError, match="without penalties"):
        reweigh.gather(Distances(one, one, one), 1, 2, 1)
    with pytest.raises(ValueError, match="without penalties"):
        reweigh.gather(source_of(members, None, [(np.zeros(700, int), 0.1)]), 3, 100, 5)
