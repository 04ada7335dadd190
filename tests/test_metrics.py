"""Scores against the oracle, from lists and by counting."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import metrics
from ensemble.kernels import rank_counts
from ensemble.metrics.retrieval_metrics import from_lists
from tests import oracles


def drawn(rng, n_query, n_gallery, pids, ties):
    labels = [rng.integers(0, pids, n) for n in (n_query, n_gallery)]
    cams = [rng.integers(0, 3, n) for n in (n_query, n_gallery)]
    dist = rng.integers(0, 5, (n_query, n_gallery)) if ties else rng.random((n_query, n_gallery))
    return labels, cams, dist.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 8),
    st.one_of(st.integers(1, 30), st.integers(150, 260)),
    st.integers(1, 6),
    st.sampled_from(metrics.AP_RULES),
    st.sampled_from(metrics.JUNK_RULES),
    st.one_of(st.none(), st.integers(1, 40)),
    st.booleans(),
)
def test_lists_and_counting_equal_the_oracle(seed, n_query, n_gallery, pids, ap, junk, top_k, ties):
    (qp, gp), (qc, gc), dist = drawn(np.random.default_rng(seed), n_query, n_gallery, pids, ties)
    top_k = None if ap == "market" else top_k
    want = oracles.evaluate(
        dist, qp, gp, qc, gc, ap=ap, junk="market" if junk != "none" else "none", top_k=top_k
    )  # fmt: skip
    order = np.argsort(dist, axis=1, kind="stable")
    blocks = [(slice(a, min(n_query, a + 3)), dist[a : a + 3]) for a in range(0, n_query, 3)]
    options = {"ap": ap, "junk": junk, "top_k": top_k}
    if not want["scored"]:
        with pytest.raises(ValueError, match="no query can be scored"):
            metrics.evaluate(order, qp, gp, qc, gc, **options)
        return
    for score in (
        metrics.evaluate(order, qp, gp, qc, gc, **options),
        metrics.evaluate_blocks(blocks, qp, gp, qc, gc, **options),
    ):
        assert score.map == pytest.approx(want["map"])
        assert score.rank1 == pytest.approx(want["rank1"])
        cut = [want["cmc"][min(r, len(want["cmc"])) - 1] for r in metrics.CMC_RANKS]
        assert score.cmc == pytest.approx(cut)
        assert (score.scored, score.skipped) == (want["scored"], want["skipped"])
        if top_k is None and not math.isnan(want["minp"]):
            assert score.minp == pytest.approx(want["minp"])
        assert score.total == pytest.approx((want["rank1"] + want["map"]) / 2)
        assert np.nanmean(score.ap_per_query) == pytest.approx(want["map"])
        assert np.nanmean(score.hit_per_query) == pytest.approx(want["rank1"])
        np.testing.assert_array_equal(np.isnan(score.hit_per_query), np.isnan(score.ap_per_query))


@pytest.mark.parametrize(("ap", "want"), [("hits", 0.8333), ("relevant", 0.3333), ("relevant_at_k", 0.4167)])
def test_the_worked_example(ap, want):
    """Hits at ranks 1 and 3 of a list of 4, five relevant."""
    gallery = [1, 0, 1, 0, 1, 1, 1]
    score = metrics.evaluate([[0, 1, 2, 3]], [1], gallery, ap=ap)
    assert score.map == pytest.approx(want, abs=1e-4)
    assert score.minp == 0  # the hardest right image is not in the list
    assert f"ap={ap}|k=4|junk=none|scored=1|skipped=0" in score.signature


def test_a_query_without_a_right_image():
    lists, pids = [[0, 1], [1, 0]], ([1, 9], [1, 2])
    assert metrics.evaluate(lists, *pids, ap="hits").scored == 2
    assert metrics.evaluate(lists, *pids, ap="hits").map == pytest.approx(0.5)
    relevant = metrics.evaluate(lists, *pids, ap="relevant")
    assert (relevant.scored, relevant.skipped, relevant.map) == (1, 1, 1.0)
    assert np.isnan(relevant.ap_per_query[1])


def test_unknown_identities_are_never_right():
    score = metrics.evaluate([[0, 1], [0, 1]], [3, -1], [-1, 3], ap="hits")
    assert (score.scored, score.skipped, score.rank1, score.map) == (1, 1, 0.0, 0.5)


def every_way(dist, *labels, **options):
    """The scores of whole lists sorted from distances, and of the distances counted."""
    order = np.argsort(dist, axis=1, kind="stable")
    blocks = [(slice(0, len(dist)), dist.astype(np.float32))]
    return metrics.evaluate(order, *labels, **options), metrics.evaluate_blocks(blocks, *labels, **options)


@pytest.mark.parametrize("junk", metrics.JUNK_RULES)
@pytest.mark.parametrize("ap", metrics.AP_RULES)
def test_without_labels_it_is_as_if_the_query_were_not_there_and_the_image_a_stranger(ap, junk):
    rng = np.random.default_rng(7)
    (qp, gp), (qc, gc), dist = drawn(rng, 12, 40, 5, ties=False)
    gp[gp == 4] = 3  # so that a query of 4 has no right image
    qp[[1, 4, 9]], gp[rng.permutation(40)[:15]] = (-1, -2, -1), -1
    gp[:2] = -2
    told, strangers = qp >= 0, np.where(gp < 0, 100 + np.arange(40), gp)
    want = oracles.evaluate(
        dist[told], qp[told], strangers, qc[told], gc, ap=ap, junk="market" if junk != "none" else "none"
    )
    for score in every_way(dist, qp, gp, qc, gc, ap=ap, junk=junk):
        assert (score.map, score.rank1) == (pytest.approx(want["map"]), pytest.approx(want["rank1"]))
        assert (score.scored, score.skipped) == (want["scored"], want["skipped"] + 3)
        assert np.isnan(score.ap_per_query[~told]).all() and np.isnan(score.hit_per_query[~told]).all()


def test_lists_of_nobody_find_nothing():
    facts = from_lists(
        np.array([[0, 1], [1, 0]], np.int32), *np.array([[-1, 5], [0, 0], [-1, 5], [0, 0]]), junk=False, top_k=2
    )
    assert [column.tolist() for column in facts] == [[0, 1], [0, 1], [0, 1], [0, 1]]


def test_junk_is_left_out_by_default_where_the_rule_is_market_and_cameras_are_told():
    """A list of own, stranger, right, own, right: without its own camera's images right at 2 and 3, with them at
    1, 3, 4 and 5."""
    dist, labels, cams = np.arange(5.0)[None], ([1], [1, 0, 1, 1, 1]), ([1], [1, 1, 2, 1, 3])
    without, counted = (1 / 2 + 2 / 3) / 2, (1 / 1 + 2 / 3 + 3 / 4 + 4 / 5) / 4
    for score in every_way(dist, *labels, *cams):
        assert score.map == pytest.approx(without) and score.rank1 == 0
        assert "|junk=same_pid_same_cam|" in score.signature
    left_in = [every_way(dist, *labels, *cams, junk="none"), every_way(dist, *labels)]
    left_in += [every_way(dist, *labels, *cams, ap=ap) for ap in metrics.AP_RULES if ap != "market"]
    for score in (score for pair in left_in for score in pair):
        assert score.map == pytest.approx(counted) and score.rank1 == 1
        assert "|junk=none|" in score.signature


@pytest.mark.parametrize("weights", [(1, 1), (3, 0.25), (0, 1), (1, 0), (0.1, 0.2)])
def test_a_total_is_the_weighted_sum_whatever_the_weights_sum_to(weights):
    """Right at rank 1, and right at rank 2 alone: rank-1 is 1/2 and mAP 3/4."""
    for score in every_way(np.array([[0.0, 1], [0, 1]]), [1, 2], [1, 2], weights=weights):
        assert (score.rank1, score.map) == (0.5, 0.75)
        assert score.total == pytest.approx(weights[0] / 2 + weights[1] * 3 / 4)


def test_signature_says_what_the_caller_adds():
    score = metrics.evaluate([[0]], [1], [1], ap="hits", weights=(0.25, 0.75), extra={"k1": 20, "members": "r50"})
    assert score.signature.endswith("weights=0.25*rank1+0.75*map|k1=20|members=r50")
    assert score.total == 1


def test_many_right_images_are_ranked_together():
    """Over a few dozen right images counting turns to bisection: the same ranks."""
    rng = np.random.default_rng(0)
    dist = rng.integers(0, 40, (5, 600)).astype(np.float32)
    pids = np.zeros(5, int), rng.integers(0, 2, 600)
    counted = metrics.evaluate_blocks([(slice(0, 5), dist)], *pids)
    listed = metrics.evaluate(np.argsort(dist, axis=1, kind="stable"), *pids)
    np.testing.assert_array_equal(counted.ap_per_query, listed.ap_per_query)
    assert counted.minp == listed.minp


@pytest.mark.parametrize(
    ("order", "options", "says"),
    [
        ([[0, 1]], {"ap": "voc"}, "unknown AP rule 'voc'"),
        ([[0, 1]], {"junk": "all"}, "unknown junk rule"),
        ([[0, 1]], {"junk": "same_pid_same_cam"}, "needs cameras"),
        ([[0]], {}, "full lists of 2"),
        ([[0, 1]], {"top_k": 1}, "give no top_k"),
        ([[0, 1]], {"ap": "hits", "top_k": 0}, "top_k is 0"),
        ([[0, 2]], {}, "gallery indices 0..1"),
        ([0, 1], {}, "want \\(1, K\\)"),
        ([[0, 1]], {"query_camids": [1]}, "one side only"),
        ([[0, 1]], {"query_camids": [1, 2], "gallery_camids": [1, 1]}, "1 identities and 2 cameras"),
        ([[1, 1]], {}, "order of query 0 holds gallery index 1 more than once"),
        ([[0, 2**32]], {}, "order holds 0..4294967296: want gallery indices 0..1"),
        ([[0.2, 1.7]], {}, "order holds float64: want gallery indices.*np.argsort"),
        ([[False, True]], {}, "order holds bool"),
        ([[0, 1], [0]], {}, "order: list is not an array of one shape: want \\(1, K\\)"),
        ([[0, 1]], {"ap": "hits", "top_k": 1.5}, "top_k is 1.5: want a whole number"),
        ([[0, 1]], {"weights": (0.5,)}, "weights are .*: want two finite numbers"),
        ([[0, 1]], {"weights": (math.nan, 1)}, "weights are .*: want two finite numbers"),
    ],
)
def test_bad_input_is_named(order, options, says):
    with pytest.raises(ValueError, match=says):
        metrics.evaluate(order, [1], [1, 2], **options)


AS_THEY_COME = {
    "lists": list,
    "text": lambda ids: [f"fox {i}" if i >= 0 else "" for i in ids],
    "objects": lambda ids: np.array([f"fox {i}" if i >= 0 else None for i in ids], dtype=object),
    "bytes": lambda ids: np.array([b"%d" % i for i in ids]),
    "floats, NaN unknown": lambda ids: np.array([i if i >= 0 else math.nan for i in ids]),
    "unsigned": lambda ids: np.array([i if i >= 0 else 255 for i in ids], np.uint8),
    "tensor": lambda ids: torch.tensor(np.array(ids)),
    "a column": lambda ids: np.array(ids)[:, None],
    "large": lambda ids: [i if i < 0 else 2**62 + i for i in ids],
}


@pytest.mark.parametrize("kind", AS_THEY_COME)
def test_ids_are_taken_as_people_have_them(kind):
    """Names, tensors, columns of tables: the score is that of whole numbers, from lists and from blocks."""
    rng = np.random.default_rng(5)
    (qp, gp), (qc, gc), dist = drawn(rng, 6, 30, 4, ties=False)
    if kind != "unsigned":
        qp[0], gp[3] = -1, -1
    order = np.argsort(dist, axis=1)
    want = metrics.evaluate(order, qp, gp, qc, gc)
    given = [AS_THEY_COME[kind](ids.tolist()) for ids in (qp, gp, qc, gc)]
    lists = torch.tensor(order) if kind == "tensor" else order.tolist()
    blocks = [(slice(0, 6), torch.tensor(dist).requires_grad_() if kind == "tensor" else dist.tolist())]
    assert metrics.evaluate(lists, *given) == want == metrics.evaluate_blocks(blocks, *given)


@pytest.mark.parametrize(
    ("query", "gallery", "says"),
    [
        ([1.2], [1, 2], "query identities: 1.2 is not an id: want whole numbers or text"),
        ([1], [math.inf, 2], "gallery identities: inf is not an id"),
        ([True], [1, 2], "query identities: True is not an id"),
        ([{}], [1, 2], "query identities: {} is not an id"),
        (["1"], [1, 2], "query identities are text; gallery identities are numbers: write all ids as text"),
        ([1], ["1", 2.0], "gallery identities are text"),
        ([2**64], [1, 2], "18446744073709551616 does not fit in 64 bits"),
        ([[1, 2], [3]], [1, 2], "query identities: list is not an array of one shape: want \\(N,\\), one per image"),
        ([[1, 2], [3, 4]], [1, 2], "query identities: shape \\(2, 2\\): want \\(N,\\), one per image"),
        (None, [1, 2], "query identities: shape \\(\\)"),
        ([], [1, 2], "query: 0 identities"),
    ],
)
def test_ids_that_are_none_are_named(query, gallery, says):
    with pytest.raises(ValueError, match=says):
        metrics.evaluate([[0, 1]], query, gallery)


def test_an_unknown_camera_is_shared_by_none():
    """One missing camera leaves the junk rule on for everybody else; and two unknown ones are not one."""
    order, pids = [[0, 1, 2], [0, 1, 2]], ([7, 7], [7, 7, 8])
    whole = metrics.evaluate(order, *pids, [1, 2], [1, 3, 3])
    hole = metrics.evaluate(order, *pids, [1, 2], [1, 3, -1])
    np.testing.assert_array_equal(hole.ap_per_query, whole.ap_per_query)
    unknown = metrics.evaluate(order, *pids, [-1, 2], [-1, 3, 3])
    assert unknown.ap_per_query.tolist() == [1, 1] and "junk=same_pid_same_cam" in unknown.signature


@pytest.mark.parametrize("blocks", [np.zeros((1, 2)), [np.zeros((1, 2))], 5, [(0, np.zeros((1, 2)))]])
def test_what_is_no_stream_of_blocks(blocks):
    with pytest.raises(ValueError, match=r"want pairs \(slice of queries"):
        metrics.evaluate_blocks(blocks, [1], [1, 2])


def test_blocks_that_do_not_fit():
    dist = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="consecutive rows"):
        metrics.evaluate_blocks([(slice(1, 3), dist)], [1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="hold 2 queries; 3"):
        metrics.evaluate_blocks([(slice(0, 2), dist)], [1, 1, 1], [1, 1, 1])
    with pytest.raises(ValueError, match="NaN"):
        metrics.evaluate_blocks([(slice(0, 2), dist * np.nan)], [1, 1], [1, 1, 1])


def test_a_row_with_nan_among_what_is_near_has_no_ranks():
    row = np.array([0.5, np.nan, 0.25, 0.75], np.float32)
    assert rank_counts.ranks(row, np.array([2, 3])).tolist() == [-1, -1]
    assert rank_counts.ranks(row[[0, 2, 3]], np.array([1, 2])).tolist() == [1, 3]
