"""Queries that are gallery images: lists, re-ranking and scores against brute force over the union of images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble import metrics, neighbours, rerank
from ensemble.kernels import device
from ensemble.neighbours import DistanceMatrices, distance_blocks
from tests import cuda_twin, oracles
from tests.features import clustered, signs, unit_rows

SHAPES = {"all against all": (0, 40, 0), "some": (6, 20, 14), "gallery of more": (0, 9, 30), "few in 400": (5, 9, 400)}
K1, K2, LAM = 6, 3, 0.3


class Union:
    """U images, of which some are queries, some gallery images, and `both` are both; in any order."""

    def __init__(self, alone, both, more, *, kind="clustered", sequences=False, seed=0):
        rng = np.random.default_rng([seed, alone, both, more])
        n = alone + both + more
        made = {"clustered": lambda: clustered(rng, n, 16, max(1, n // 5)), "ties": lambda: signs(rng, n, 4)}
        self.feats = [made[kind](), unit_rows(rng, n, 8) if kind == "clustered" else signs(rng, n, 16)]
        self.weights = [1.0, 0.5]
        self.query, self.gallery = rng.permutation(alone + both), alone + rng.permutation(both + more)
        place = {image: row for row, image in enumerate(self.gallery.tolist())}
        self.own = [place.get(image, -1) for image in self.query.tolist()]
        self.sequence = rng.integers(-1, n // 3, n) if sequences else np.full(n, -1)
        self.left = [
            {g for g, y in enumerate(self.gallery) if y == x or -1 < self.sequence[x] == self.sequence[y]}
            for x in self.query
        ]
        sides = self.sequence[self.query], self.sequence[self.gallery]
        self.left_out = neighbours.leave_out(len(self.query), len(self.gallery), self.own, sides)
        self.dist = oracles.fused_distance(self.feats, self.weights).astype(np.float32).astype(float)

    @property
    def rows(self):
        """The members' features as a search takes them: queries, then gallery."""
        return [np.concatenate([a[self.query], a[self.gallery]]) for a in self.feats]

    def plain(self):
        return self.dist[np.ix_(self.query, self.gallery)]

    def reranked(self):
        return oracles.k_reciprocal(self.dist, 0, K1, K2, LAM, sides=(self.query, self.gallery))

    def lists(self, dist, top_k):
        """Every query's list, by sorting what is not left out."""
        return [
            [g for g in oracles.rank_list(row) if g not in left][:top_k]
            for row, left in zip(dist, self.left, strict=True)
        ]


def close(order, found, dist, left, top_k):
    """Whether a list holds the nearest that are not left out, best first, up to rounding, and ends in -1."""
    kept = [g for g in order if g >= 0]
    allowed = sorted(dist[g] for g in range(len(dist)) if g not in left)[:top_k]
    ends = [*order] == kept + [-1] * (len(order) - len(kept)) and np.isinf(found[len(kept) :]).all()
    same = np.allclose(dist[kept], allowed, atol=2e-6) and np.allclose(found[: len(kept)], allowed, atol=2e-6)
    return ends and same and len({*kept}) == len(kept) == len(allowed) and not {*kept} & left


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("top_k", [None, 1, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_lists_are_those_of_the_gallery_without_what_is_left_out(shape, top_k, sequences):
    case = Union(*SHAPES[shape], sequences=sequences)
    given = {"weights": case.weights, "top_k": top_k, "left_out": case.left_out}
    order, _ = neighbours.rank(case.rows, len(case.query), **given)
    want = case.lists(case.plain(), top_k)
    assert [[g for g in row if g >= 0] for row in order.tolist()] == want
    assert order.shape[1] == max(map(len, want)) and (order[:, 0] >= 0).all()


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("top_k", [None, 2, 7])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_is_one_node_of_the_graph(shape, top_k, sequences):
    case = Union(*SHAPES[shape], sequences=sequences)
    given = {"weights": case.weights, "left_out": case.left_out}
    near = neighbours.nearest(case.rows, K1 + 1, n_query=len(case.query), top_k=top_k or 3, near_share=1.0, **given)
    assert len(near.order) == len(case.dist), "each image once"
    found = rerank.k_reciprocal(near, case.rows, len(case.query), k1=K1, k2=K2, lam=LAM, top_k=top_k, **given)
    want = case.reranked()
    for row in zip(*found, want, case.left, strict=True):
        assert close(*row, top_k)
    lists = [[g for g in row if g >= 0] for row in found[0].tolist()]
    same = sum(one == other for one, other in zip(lists, case.lists(want, top_k), strict=True))
    assert same > 0.9 * len(lists), "the others differ by rounding alone"


def test_a_copy_would_vote_twice():
    """Without the rule a query's row of the gallery is another node, and the answers are others."""
    case = Union(*SHAPES["all against all"])
    near = neighbours.nearest(case.rows, K1 + 1, weights=case.weights)
    two = rerank.k_reciprocal(near, case.rows, len(case.query), weights=case.weights, k1=K1, k2=K2, lam=LAM)
    wrong = case.left_out.drop(*two, None)[0].tolist()
    assert sum(one != other for one, other in zip(wrong, case.lists(case.reranked(), None), strict=True)) > 10


@pytest.mark.parametrize(("reranked", "kind"), [(False, "clustered"), (False, "ties"), (True, "clustered")])
def test_all_against_all_is_each_image_asked_of_the_others(kind, reranked):
    """The rule equals the split form: query i, and a gallery without i. Re-ranked, the graph has i once in both."""
    case = Union(0, 24, 0, kind=kind)
    near = neighbours.nearest(case.rows, 7, weights=case.weights, left_out=case.left_out)
    given = {"weights": case.weights, "left_out": case.left_out}
    rows = len(case.query)
    whole = (
        rerank.k_reciprocal(near, case.rows, rows, k1=K1, k2=K2, lam=LAM, **given)
        if reranked
        else neighbours.rank(case.rows, rows, **given)
    )
    for q in range(rows):
        kept = np.delete(case.gallery, case.own[q])
        feats = [np.concatenate([a[case.query[q : q + 1]], a[kept]]) for a in case.feats]
        alone = neighbours.nearest(feats, 7, weights=case.weights)
        one = (
            rerank.k_reciprocal(alone, feats, 1, weights=case.weights, k1=K1, k2=K2, lam=LAM)
            if reranked
            else neighbours.rank(feats, 1, weights=case.weights)
        )
        assert [kept[g] for g in one[0][0]] == case.gallery[whole[0][q, : len(kept)]].tolist()
        np.testing.assert_allclose(one[1][0], whole[1][q, : len(kept)], atol=1e-6)


def test_distances_instead_of_features():
    case = Union(*SHAPES["some"])
    q, g = case.query, case.gallery
    given = DistanceMatrices(*(case.dist[np.ix_(a, b)] for a, b in ((q, q), (q, g), (g, g))))
    near = neighbours.nearest([given], K1 + 1, left_out=case.left_out)
    order, dist = rerank.k_reciprocal(near, [given], len(q), k1=K1, k2=K2, lam=LAM, left_out=case.left_out)
    for row in zip(order, dist, case.reranked(), case.left, strict=True):
        assert close(*row, None)


@pytest.mark.parametrize("penalised", [False, True])
def test_streams_lists_and_scores_agree(penalised):
    case = Union(*SHAPES["some"], kind="ties")
    labels = np.random.default_rng(3).integers(-1, 3, len(case.dist))
    both = np.concatenate([labels[case.query], labels[case.gallery]])
    given = {"weights": case.weights, "penalties": [(both, 0.25)] if penalised else None}
    stream = neighbours.without(neighbours.blocks(case.rows, len(case.query), **given), case.left_out)
    dist = np.concatenate([block for _, block in stream])
    other = (labels[:, None] == labels) & (labels >= 0)[:, None] & ~np.eye(len(labels), dtype=bool)
    want = (case.dist + (0.25 * other if penalised else 0))[np.ix_(case.query, case.gallery)]
    for row, left, expected in zip(dist, case.left, want, strict=True):
        assert {*np.flatnonzero(np.isinf(row))} == left
        np.testing.assert_allclose(np.delete(row, [*left]), np.delete(expected, [*left]), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(metrics.AP_RULES),
    st.sampled_from(metrics.JUNK_RULES),
    st.sampled_from(["lists", "short lists", "blocks", "stream"]),
    st.booleans(),
)
def test_scores_equal_the_oracle(seed, ap, junk, way, sequences):
    rng = np.random.default_rng(seed)
    case = Union(*rng.integers([0, 2, 1], 10), kind="ties", sequences=sequences, seed=seed)
    people, cams = (rng.integers(-1, most, len(case.dist)) for most in (4, 3))
    ids = people[case.query], people[case.gallery], cams[case.query], cams[case.gallery]
    dist = case.plain().astype(np.float32)
    top_k = None if ap == "market" else int(rng.integers(1, 9))
    unknown = [-100 - np.arange(len(side)) for side in (case.query, case.gallery)]  # nobody's, and of no camera
    strangers = [np.where(side < 0, other, side) for side, other in zip(ids, unknown * 2, strict=True)]
    strangers[1] = np.where(ids[1] < 0, -900, ids[1])
    strangers[3] = np.where(ids[3] < 0, -900, ids[3])
    asked = ids[0] >= 0
    left = [one for one, told in zip(case.left, asked, strict=True) if told]
    rule = {"ap": ap, "junk": "market" if junk != "none" else "none", "top_k": top_k, "left_out": left}
    want = oracles.evaluate(dist[asked], strangers[0][asked], strangers[1], strangers[2][asked], strangers[3], **rule)
    given = {"ap": ap, "junk": junk, "top_k": top_k, "left_out": case.left_out}

    def score():
        if way == "blocks":
            return metrics.evaluate_blocks([(slice(0, len(dist)), dist)], *ids, **given)
        if way == "stream":
            blocks = neighbours.blocks(case.rows, len(case.query), weights=case.weights, device="cpu")
            return metrics.evaluate_blocks(blocks, *ids, **given)
        order = np.argsort(dist, axis=1, kind="stable").astype(np.int32)
        if way == "short lists":
            order = distance_blocks.ranked([(slice(0, len(dist)), dist)], None, left_out=case.left_out)[0]
        return metrics.evaluate(order, *ids, **given)

    if not want["scored"]:
        with pytest.raises(ValueError, match="no query can be scored"):
            score()
        return
    got = score()
    assert (got.map, got.rank1) == (pytest.approx(want["map"]), pytest.approx(want["rank1"]))
    assert (got.scored, got.scored + got.skipped) == (want["scored"], len(case.query))
    assert f"|junk={'+'.join(sorted({*case.left_out.rules, junk} - {'none'}))}|" in got.signature
    if top_k is None:
        assert got.minp == pytest.approx(want["minp"])


def test_lists_that_miss_an_image_are_not_full():
    case = Union(0, 5, 0)
    people = np.zeros(5, int)
    with pytest.raises(ValueError, match="images missing"):
        metrics.evaluate(np.full((5, 4), -1), people, people, left_out=case.left_out)


@pytest.mark.parametrize(
    ("own", "told"),
    [([0, 0], "two queries are the same"), ([0], "want \\(2,\\)"), ([0, 3], "0..2"), ([-2, 0], "-1 for none")],
)
def test_rows_that_cannot_be(own, told):
    with pytest.raises(ValueError, match=told):
        neighbours.leave_out(2, 3, own)
    assert neighbours.leave_out(2, 3, [-1, -1], ([-1, 5], [-1, 6, -1])) is None


def test_neighbours_of_two_copies_are_refused():
    case = Union(0, 30, 0)
    near = neighbours.nearest(case.rows, 7, weights=case.weights)
    with pytest.raises(ValueError, match="60 images, the features 30"):
        rerank.k_reciprocal(near, case.rows, 30, weights=case.weights, k1=K1, k2=K2, left_out=case.left_out)


@pytest.mark.parametrize("shape", ["all against all", "some", "few in 400"])
def test_a_cuda_device_gives_the_lists_and_scores_of_the_cpu(shape, tmp_path, monkeypatch):
    pytest.importorskip("cupy")
    cuda_twin.Card(cuda_twin.compiled(tmp_path)).patch(monkeypatch)
    monkeypatch.setattr(device, "cuda_problem", lambda: None)
    case = Union(*SHAPES[shape], sequences=shape == "some")
    n_query, people = len(case.query), np.random.default_rng(5).integers(0, 9, len(case.dist))
    given = {"weights": case.weights, "left_out": case.left_out}
    found = []
    for where in ("cuda", "cpu"):
        near = neighbours.nearest(case.rows, K1 + 1, n_query=n_query, top_k=5, device=where, **given)
        both = {**given, "device": where}
        lists = [rerank.k_reciprocal(near, case.rows, n_query, k1=K1, k2=K2, top_k=k, **both) for k in (5, None)]
        lists += [neighbours.rank(case.rows, n_query, top_k=k, **both) for k in (5, None)]
        streams = [
            rerank.blocks(near, case.rows, n_query, k1=K1, k2=K2, **both),
            neighbours.blocks(case.rows, n_query, weights=case.weights, device=where),
        ]
        pids = people[case.query], people[case.gallery]
        scores = [metrics.evaluate_blocks(one, *pids, left_out=case.left_out) for one in streams]
        found.append((near, lists, scores))
    (one, lists, scores), (other, want, wanted) = found
    np.testing.assert_array_equal(one.order, other.order)
    assert one.made_of == other.made_of
    for mine, theirs in zip(lists, want, strict=True):
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_allclose(mine[1], theirs[1], atol=1e-6)
    assert [s.ap_per_query.tolist() for s in scores] == [s.ap_per_query.tolist() for s in wanted]


@pytest.mark.parametrize("shape", ["all against all", "some"])
def test_groups_are_those_of_the_images(shape):
    """CA-Jaccard of the union: a query's copy is no neighbour of its own, of its camera or of another."""
    case = Union(*SHAPES[shape])
    cams = np.random.default_rng(2).integers(-1, 3, len(case.dist))
    setting = rerank.CAJaccard(k1_intra=2, k1_inter=5, k2_intra=2, k2_inter=2, lam=LAM)
    both = np.concatenate([cams[case.query], cams[case.gallery]])
    given = {"weights": case.weights, "left_out": case.left_out}
    near = neighbours.nearest(case.rows, 6, groups=both, device="cpu", **given)
    order, dist = setting.lists(near, case.rows, len(case.query), device="cpu", **given)
    images = neighbours.nearest(case.feats, 6, groups=cams, weights=case.weights, device="cpu")
    twice = [np.concatenate([a, a]) for a in case.feats]
    apart = neighbours.leave_out(len(cams), len(cams), np.arange(len(cams)))
    assert len(near.intra_order) == len(near.inter_order) == len(cams), "each image once"
    every = setting.lists(images, twice, len(cams), device="cpu", weights=case.weights, left_out=apart)
    want = np.full((len(cams), len(cams)), np.inf)
    for i in range(len(cams)):
        kept = every[0][i] >= 0
        want[i, every[0][i][kept]] = every[1][i][kept]
    for row in zip(order, dist, want[np.ix_(case.query, case.gallery)], case.left, strict=True):
        assert close(*row, None)
