"""CA-Jaccard against the oracle written from the paper, and by every command that ranks."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.schema import EACH_FIRST, Competition
from ensemble import build, metrics, neighbours, rerank
from ensemble.fusion.strategy import FusionSettings, fusion_settings
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.rerank import k_reciprocal_encoding
from ensemble.rerank.ca_jaccard import CAJaccard
from ensemble.results.cache_keys import labels_hash
from ensemble.tune import __main__ as tune
from ensemble.tune import fast_scorer
from ensemble.tune.exact_scorer import ExactScorer
from ensemble.tune.fast_scorer import FastScorer
from submit import make
from submit.report import __main__ as report
from tests import exact_lists, oracles
from tests.boards import finished_build
from tests.boards import people as some_people
from tests.features import clustered, ensembles, same_lists, signs
from tests.tables import built, write_table
from tests.test_k_reciprocal_encoding import fragile

SMALL = CAJaccard(3, 5, 2, 3)
Q = exact_lists.N_QUERY


def searched(feats, groups, k=21, **given):
    return neighbours.nearest(feats, k, groups=groups, device="cpu", **given)


@settings(max_examples=60, deadline=None)
@given(
    ensembles(most=28),
    st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), st.integers(0, 5)),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([1, 2]),
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(1, 6),
    st.integers(0, 1000),
)
def test_equals_the_oracle(case, sizes, lam, power, top_k, cameras, seed):
    """Ties, copies, cameras with one image, and images whose camera is unknown are among the cases."""
    feats, weights, n_query = case
    setting = CAJaccard(*sizes, lam, power)
    groups = np.random.default_rng(seed).integers(-1, cameras, len(feats[0]))
    kept = {"n_query": n_query, "top_k": top_k, "near_share": 1e9} if top_k and seed % 2 else {}
    near = searched(feats, groups, setting.neighbours_read(10**6), weights=weights, **kept)
    order, dist = setting.lists(near, feats, n_query, weights=weights, top_k=top_k, device="cpu")
    plain = oracles.fused_distance(feats, weights)
    assume(not fragile(plain))
    want = oracles.ca_jaccard(plain, groups.tolist(), n_query, *sizes, lam, power)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
    assert same_lists(order, want)


def test_the_oracle_by_hand():
    """Five images on a line, of cameras a, a, b, b, b; one neighbour of either kind, no expansion."""
    at = np.array([0.0, 1.0, 1.5, 4.0, 4.5])
    got = oracles.ca_jaccard(np.abs(at[:, None] - at), [0, 0, 1, 1, 1], 2, 1, 1, 1, 0, 0.0, 1)
    # Intra: 0-1 and 3-4 are mutual; 2 is alone, for 3 has 4. Inter: 0 and 1 have 2 and 3; 2, 3 and 4 have 1 and 0.
    rows = [{0, 1, 2, 3}, {0, 1, 2, 3}, {2, 0, 1}, {3, 4, 0, 1}, {3, 4}]
    far = np.abs(at[:, None] - at).max(axis=1)
    v = np.zeros((5, 5))
    for i, members in enumerate(rows):
        for j in members:
            v[i, j] = np.exp(-abs(at[i] - at[j]) / far[i])
        v[i] /= v[i].sum()
    shared = np.minimum(v[:2, None], v[None, 2:]).sum(axis=2)
    np.testing.assert_allclose(got, 1 - shared / (2 - shared), atol=1e-12)


def test_expansion_over_one_image_is_over_the_first_of_its_list():
    """Which is a copy of lower index where there is one: the two have the same encoding then."""
    feats, groups = np.eye(8, dtype=np.float32)[[0, 1, 2, 3, 4, 5, 6, 0]], np.array([0, 0, 0, -1, -1, 1, 1, 0])
    setting = CAJaccard(1, 1, 1, 0, 0.0, 1)
    order, dist = setting.lists(searched(feats, groups, 2), feats, 1, device="cpu")
    assert (order[0, 0], dist[0, 0]) == (6, 0)
    want = oracles.ca_jaccard(oracles.fused_distance([feats], [1]), groups.tolist(), 1, 1, 1, 1, 0, 0.0, 1)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-6)


@pytest.mark.parametrize("case", ["clustered", "ties", "copies", "crowd"])
@pytest.mark.parametrize("cameras", [1, 6, 500])
def test_both_lists_are_those_of_whole_sorts(case, cameras):
    """For any block, worker and precision; `crowd` has more candidates at one distance than a buffer holds."""
    rng = np.random.default_rng(1)
    feats = {
        "clustered": clustered(rng, 340, 32, 20),
        "ties": signs(rng, 340, 16),
        "copies": exact_lists.copies(),
        "crowd": clustered(rng, 3, 16, 3)[rng.integers(0, 3, 340)],
    }[case]
    n, groups = len(feats), rng.integers(-1 if cameras > 1 else 0, cameras, len(feats))
    whole = neighbours.nearest(feats, n, device="cpu")
    alike = (groups[:, None] == groups) & (groups >= 0) | np.eye(n, dtype=bool)
    for block, n_jobs, precision in ((64, 1, "auto"), (400, 2, "float32"), (97, 3, "auto")):
        kept = {"n_query": Q, "top_k": 9, "near_share": 1} if n_jobs > 1 else {}
        found = searched(feats, groups, 8, superblock=block, n_jobs=n_jobs, precision=precision, **kept)
        for kind, wanted in (("intra", alike), ("inter", ~alike)):
            order, dist = getattr(found, f"{kind}_order"), getattr(found, f"{kind}_dist")
            for i in range(n):
                places = [p for p, j in enumerate(whole.order[i]) if wanted[i, j]][:8]
                assert order[i].tolist() == whole.order[i, places].tolist() + [-1] * (8 - len(places))
                assert dist[i].tolist() == whole.dist[i, places].tolist() + [np.inf] * (8 - len(places))
        plain = neighbours.nearest(feats, 8, device="cpu", **kept)
        for name in ("order", "dist", "farthest", "near_order", "near_dist"):
            np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
        for name in ("order", "intra_order", "inter_dist"):
            np.testing.assert_array_equal(getattr(found.shortened(3), name), getattr(found, name)[:, :3])


def test_a_short_list_of_many_copies_ends_in_nothing():
    """More copies than are kept of the least similar, and fewer than the list is long."""
    feats, groups = np.tile(np.eye(1, 8, dtype=np.float32), (200, 1)), np.arange(200) % 5
    found = searched(feats, groups, 60)
    for i in range(200):
        assert found.intra_order[i].tolist() == [*range(i % 5, 200, 5), *[-1] * 20]
        assert found.inter_order[i].tolist() == [j for j in range(200) if j % 5 != i % 5][:60]
    assert (found.farthest == 0).all()


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("case", ["copies", "ties", "random"])
def test_first_k_and_blocks_are_those_of_whole_lists(lam, case, monkeypatch):
    rng = np.random.default_rng(4)
    feats = {"copies": exact_lists.copies(), "ties": signs(rng, 300, 16), "random": clustered(rng, 300, 32, 9)}[case]
    groups, setting = rng.integers(-1, 4, len(feats)), CAJaccard(4, 8, 2, 3, lam)
    for k in (1, 7, 40):
        near = searched(feats, groups, 9, n_query=Q, top_k=k, near_share=1)
        order, dist = setting.lists(near, feats, Q, device="cpu")
        for n_jobs, block in ((1, 7), (3, 50)):
            streamed = setting.stream(near, feats, Q, block=block, n_jobs=n_jobs, device="cpu")
            got = distance_blocks.ranked(streamed, None)
            np.testing.assert_array_equal(got[0], order)
            np.testing.assert_array_equal(got[1], dist)
        with monkeypatch.context() as patch:
            patch.setattr(k_reciprocal_encoding, "NEAR_SHARE", 1e9)
            first = setting.lists(near, feats, Q, top_k=k, device="cpu")
        np.testing.assert_array_equal(first[0], order[:, :k])
        np.testing.assert_array_equal(first[1], dist[:, :k])


def test_a_score_from_blocks_is_that_of_the_lists():
    rng = np.random.default_rng(5)
    feats, groups, pids = clustered(rng, 300, 32, 30), rng.integers(0, 4, 300), np.arange(300) % 25
    near = searched(feats, groups)
    order, _ = SMALL.lists(near, feats, Q, device="cpu")
    want = metrics.evaluate(order, pids[:Q], pids[Q:])
    got = metrics.evaluate_blocks(SMALL.stream(near, feats, Q, device="cpu"), pids[:Q], pids[Q:])
    np.testing.assert_array_equal(got.ap_per_query, want.ap_per_query)


def test_one_camera_leaves_the_jaccard_distance_without_half_sets():
    """With k1 = 1 a half set is the image itself, so there it is k-reciprocal re-ranking."""
    feats = clustered(np.random.default_rng(6), 200, 16, 60)
    for groups in (np.zeros(200, int), np.full(200, 7)):
        near = searched(feats, groups)
        got = CAJaccard(1, 20, 3, 3).lists(near, feats, Q, device="cpu")
        want = rerank.k_reciprocal(near, feats, Q, k1=1, k2=3, device="cpu")
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_allclose(got[1], want[1], atol=1e-6)


def test_an_unknown_camera_is_a_camera_of_its_own():
    rng = np.random.default_rng(7)
    feats, groups = clustered(rng, 200, 16, 20), rng.integers(0, 3, 200)
    some = rng.permutation(200)[:70]
    for unknown in (some, np.arange(200)):
        bare, own = groups.copy(), groups.copy()
        bare[unknown], own[unknown] = -1, 100 + unknown
        lists = [SMALL.lists(searched(feats, g), feats, Q, device="cpu") for g in (bare, own)]
        np.testing.assert_array_equal(*(dist for _, dist in lists))
        np.testing.assert_array_equal(*(order for order, _ in lists))


def test_from_distance_matrices_and_with_a_penalty():
    rng = np.random.default_rng(8)
    feats, groups = clustered(rng, 90, 16, 12), rng.integers(0, 3, 90)
    plain = oracles.fused_distance([feats], [1.0])
    given_ = DistanceMatrices(plain[:20, :20], plain[:20, 20:], plain[20:, 20:])
    order, dist = SMALL.lists(searched(given_, groups, superblock=32), given_, 20, top_k=6, device="cpu")
    want = oracles.ca_jaccard(plain, groups.tolist(), 20, 3, 5, 2, 3)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)
    more = {"penalties": [(groups, 0.1)], "device": "cpu"}
    near = neighbours.nearest(feats, 21, groups=groups, **more)
    plain += 0.1 * ((groups[:, None] == groups) & ~np.eye(90, dtype=bool))
    order, dist = SMALL.lists(near, feats, 20, top_k=6, **more)
    want = oracles.ca_jaccard(plain, groups.tolist(), 20, 3, 5, 2, 3)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order.astype(int), 1), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k1_intra": 0}, "k1_intra is 0: want at least 1"),
        ({"k1_inter": 0}, "k1_inter is 0"),
        ({"k2_intra": 0}, "k2_intra is 0"),
        ({"k2_inter": -1}, "k2_inter is -1: want at least 0"),
        ({"k1_inter": 2.5}, "k1_inter is 2.5: want a whole number"),
        ({"lam": 1.5}, "lam is 1.5"),
        ({"power": 3}, "power is 3"),
    ],
)
def test_bad_options_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        CAJaccard(**options)


def test_neighbours_that_do_not_do_are_named():
    feats, other = (clustered(np.random.default_rng(s), 60, 16, 9) for s in (0, 1))
    groups = np.arange(60) % 3
    with pytest.raises(ValueError, match="searched without groups: search with groups="):
        SMALL.lists(neighbours.nearest(feats, 21), feats, 9)
    with pytest.raises(ValueError, match=r"k1_inter 20, .*: search with k=21"):
        CAJaccard().lists(searched(feats, groups, 20), feats, 9)
    with pytest.raises(ValueError, match="found with other features"):
        SMALL.lists(searched(feats, groups), other, 9)
    with pytest.raises(ValueError, match="n_query is 60"):
        SMALL.lists(searched(feats, groups), feats, 60)
    for bad in (groups[:59], groups.astype(float), [["a"]] * 60):
        with pytest.raises(ValueError, match=r"want \(60,\) whole numbers, below 0 for unknown"):
            searched(feats, bad)


def test_a_plan_is_checked_before_anything_is_made():
    plan = load_build_config(["r50"], sets=["ensemble.rerank={name: ca_jaccard, k1_inter: 9}", "ensemble.lam=0.2"])
    mix = fusion_settings(plan.ensemble, ["r50"])
    assert mix.reranker == CAJaccard(5, 9, 3, 3, 0.2)
    assert mix.describe() == "ca_jaccard(k1_intra=5,k1_inter=9,k2_intra=3,k2_inter=3,lam=0.2,power=2)"
    assert mix.groups([0, -1]) == [0, -1] and FusionSettings((1.0,)).groups(None) is None
    for cameras in (None, [-1, -1]):
        with pytest.raises(ConfigError, match=r"goes by ensemble\.group_by camera, and no camera is known"):
            mix.groups(cameras)
    plan = load_build_config(["r50"], sets=["ensemble.rerank=ca_jaccard", "ensemble.tracks=mean"])
    with pytest.raises(ConfigError, match="goes with domains none and tracks none"):
        fusion_settings(plan.ensemble, ["r50"])


@pytest.mark.parametrize("fusion", ["sum_then_rerank", EACH_FIRST])
def test_a_build_its_dry_run_its_submission_and_its_report(fusion, tiny_build, tmp_path, capsys):
    """On the features that are kept; the distances are those of the oracle."""
    runs = shutil.copytree(tiny_build.runs, tmp_path / "runs")
    argv = [str(runs) if part == str(tiny_build.runs) else part for part in tiny_build.argv]
    argv += ["--set", "ensemble.rerank={name: ca_jaccard, k1_inter: 7}", "--set", f"ensemble.fusion={fusion}"]
    before, kept = set(runs.glob("rankings/*")), set(runs.glob("neighbours/*"))
    build.main([*argv, "--dry-run"])
    assert "kept: a, b; to make: none" in capsys.readouterr().err and set(runs.glob("rankings/*")) == before
    build.main(argv)
    (ranking,) = set(runs.glob("rankings/*")) - before
    record = json.loads((runs / json.loads((runs / "last.json").read_text())["build"] / "build.json").read_text())
    evaluation = record["evaluations"]["test"]
    banks = [np.load(runs / key / "feats.npy") for key in evaluation["banks"].values()]
    order, dist = (np.load(ranking / f"{name}.npy") for name in ("order", "dist"))
    cameras = [*evaluation["query_camids"], *evaluation["gallery_camids"]]
    assert len(set(cameras)) > 2
    if fusion == EACH_FIRST:
        want = sum(oracles.ca_jaccard(oracles.fused_distance([b], [1]), cameras, len(order), k1_inter=7) for b in banks)
    else:
        want = oracles.ca_jaccard(oracles.fused_distance(banks, [1, 1]), cameras, len(order), k1_inter=7)
    np.testing.assert_allclose(dist, np.take_along_axis(want, order, 1), atol=1e-5)
    assert same_lists(order, want)
    for made in set(runs.glob("neighbours/*")) - kept:
        request = json.loads((made / "manifest.json").read_text())["request"]
        assert request["groups"] == labels_hash(cameras) and (made / "inter_order.npy").exists()
    make.main(["--runs", str(runs), "--out", str(tmp_path / "submission")])
    rows = json.loads((tmp_path / "submission" / "score.json").read_text())["scores"]["test"]
    assert "ca_jaccard(k1_intra=5,k1_inter=7," in rows[-1]["signature"]
    report.main(["--runs", str(runs), "--out", str(tmp_path / "report")])
    assert "ca_jaccard" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_a_build_by_a_column_and_what_it_refuses(tmp_path):
    """The domain of the table is the group, such as a modality; an empty one is unknown. Nobody knows a camera."""
    rng = np.random.default_rng(9)
    feats, domains = clustered(rng, 26, 8, 4), rng.integers(-1, 2, 26)
    names = [f"{i:02d}.jpg" for i in range(26)]
    rows = [
        f"p{i % 4},{name},test,{int(i < 6)},{int(i >= 6)},{['', 'visible', 'infrared'][domains[i] + 1]}"
        for i, name in enumerate(names)
    ]
    write_table(tmp_path / "data", "label,path,split,is_query,is_gallery,domain", rows)
    np.savez(tmp_path / "m.npz", names=np.array(names), feats=feats)
    given_ = tmp_path / "data", tmp_path / "runs", tmp_path / "m.npz", "ensemble.rerank=ca_jaccard"
    with pytest.raises(ConfigError, match=r"goes by ensemble\.group_by camera, and no camera is known"):
        built(*given_)
    lists, scores = built(*given_, "ensemble.group_by=domain")
    want = oracles.ca_jaccard(oracles.fused_distance([feats], [1]), domains.tolist(), 6)
    assert same_lists(np.array([[int(name[:2]) - 6 for name in lists[f"{q:02d}.jpg"]] for q in range(6)]), want)
    assert "power=2),group_by=domain" in scores[-1]["signature"]
    plan = load_build_config(["r50"], sets=["ensemble.group_by=domain"]).ensemble
    tuned = FusionSettings((1.0,), CAJaccard(), group_by=tune.defaults(plan).group_by)
    assert "ensemble.group_by=domain" in tune.sets(tuned, ["r50"])


@pytest.mark.parametrize("whole", [True, False])
def test_tuning_scores_it_as_a_whole_search_does(whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(fast_scorer, "WHOLE", 0)
    shape = {"n_people": 40, "each": 8, "queries": 2, "spreads": (1.3, 1.6, 2.0), "cameras": True}
    board, evaluation = some_people(np.random.default_rng(0), **shape)
    rules = {"top_k": 20, "ap": "hits", "junk": "none"}
    judge = ExactScorer(
        board, ["a", "b", "c"], evaluation, Competition(name="x", layout="table", format="naic_json", **rules)
    )
    evaluation.gallery_camids[::3] = [-1] * len(evaluation.gallery_camids[::3])
    camids = [*evaluation.query_camids, *evaluation.gallery_camids]
    tried = FastScorer(judge, 21, groups=camids)
    for fusion in ("sum_then_rerank", EACH_FIRST):
        lam = 0.2 if whole else 0.6  # a list of the 200 nearest may lack an image that overlaps
        for sizes in ((3, 9, 2, 2), (3, 9, 2, 4), (3, 9, 1, 4), (3, 5, 1, 4), (1, 5, 1, 0)):  # each changes one size
            mix = FusionSettings((1.0, 0.5, 0.0), CAJaccard(*sizes, lam), fusion)
            np.testing.assert_allclose(tried.totals(mix), judge.totals(mix), atol=1e-9)
    with pytest.raises(ValueError, match=r"k1_inter 21, .* read 22 neighbours per image, but the candidates have 21"):
        tried.totals(FusionSettings((1.0, 1.0, 1.0), CAJaccard(3, 21)))
    with pytest.raises(ValueError, match="collected without groups"):
        FastScorer(judge, 21).totals(FusionSettings((1.0, 1.0, 1.0), CAJaccard(3, 9)))


@pytest.mark.parametrize("cameras", [True, False])
def test_tuning_tries_it_where_cameras_are_known(cameras, tmp_path, capsys, monkeypatch):
    """Totals are made up: it gains, and the printed line builds with it."""
    shape = {"n_people": 40, "each": 4, "queries": 2, "d": 24, "spreads": (1.2, 1.4), "cameras": cameras}
    finished_build(tmp_path, *some_people(np.random.default_rng(3), **shape), ["r50", "rx50"])
    seen = set()

    def totals(self, mix):
        seen.add(type(mix.reranker).__name__)
        judge = self if isinstance(self, ExactScorer) else self.judge
        gain = 0.3 + 0.01 * mix.reranker.k2_inter if isinstance(mix.reranker, CAJaccard) else 0
        return np.full(len(judge.evaluation.query_pids), 0.3 + gain)

    monkeypatch.setattr(ExactScorer, "totals", totals)
    monkeypatch.setattr(FastScorer, "totals", totals)
    tune.main(["--runs", str(tmp_path)])
    said = capsys.readouterr().out
    assert ("CAJaccard" in seen) == cameras
    assert ("--set 'ensemble.rerank={name: ca_jaccard, k1_intra: " in said and "k2_inter: 6}'" in said) == cameras
