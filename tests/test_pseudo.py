"""Pseudo labels against slow answers: links and parts, DBSCAN and k-means by their definitions, the report by pairs."""

from itertools import combinations

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_build_config
from configs.schema import Pseudo
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.neighbours.knn import nearest
from ensemble.pseudo import clustering, clusters, dbscan, first_neighbours, loop_search, score_round
from ensemble.pseudo.clustering import jaccard_graph, renumbered
from ensemble.pseudo.labelling import find_groups
from ensemble.pseudo.nearest_label import first_by_reranking
from ensemble.rerank.k_reciprocal_encoding import KReciprocal
from ensemble.results.pseudo_settings import say_settings, settings_of
from tests import oracles


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def people(ids: int, each: int, noise: float = 0.35, width: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit features around one direction each, and whose they are, shuffled."""
    rng = np.random.default_rng(seed)
    pids = rng.permutation(np.repeat(np.arange(ids), each))
    directions = unit(rng.normal(size=(ids, width)))
    return unit(directions[pids] + noise * rng.normal(size=(ids * each, width)) / width**0.5), pids


def same_groups(a: np.ndarray, b: np.ndarray) -> bool:
    return [[x == y and x >= 0 for y in a] for x in a] == [[x == y and x >= 0 for y in b] for x in b]


# loop search and first neighbours

FIRST = {loop_search: oracles.loop_search, first_neighbours: oracles.first_neighbours}


@pytest.mark.parametrize("method", FIRST)
@pytest.mark.parametrize("threshold", [0.1, 0.15, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_nearest_decides_as_in_the_slow_one(method, threshold, seed):
    feats, _ = people(12, 4, noise=0.5, seed=seed)
    dist = oracles.fused_distance([feats], [1.0])
    got = method(nearest(feats, 3), threshold)
    assert got.tolist() == FIRST[method](dist, threshold)


@pytest.mark.parametrize("method", FIRST)
def test_several_members_count_by_their_mean(method):
    a, _ = people(10, 4, seed=1)
    b, _ = people(10, 4, width=8, seed=2)
    wanted = FIRST[method](oracles.fused_distance([a, b], [3.0, 1.0]) / 4, 0.3)
    assert method(nearest([a, b], 2, weights=[3, 1]), 0.3).tolist() == wanted
    assert -1 in wanted and max(wanted) > 2


def circle(*angles: float) -> np.ndarray:
    return unit(np.stack((np.cos(angles), np.sin(angles)), 1))


@pytest.mark.parametrize("method", FIRST)
def test_exact_copies_find_each_other(method):
    """0 names 1 and 1 names 0; 2 names 0, the lowest of its copies: all three have one name."""
    feats = unit(np.eye(6)[[0, 0, 0, 1, 1, 2]])
    assert method(nearest(feats, 2), 0.1).tolist() == [0, 0, 0, 1, 1, -1]


def test_each_images_label_is_its_nearest_other_image_and_links_are_not_followed():
    """0 names 1, 1 and 2 name ... 2 and 3 each other: nobody else has the name that 0 has."""
    feats = circle(0.0, 0.1, 0.19, 0.27)
    assert loop_search(nearest(feats, 2), 0.5).tolist() == [0, 1, 1, 1]
    assert first_neighbours(nearest(feats, 2), 0.5).tolist() == [0, 0, 0, 0]


def test_of_two_that_name_each_other_one_name_stays_for_all_who_have_either():
    """1 and 2 name each other, 0 names 1 and 3 names 2: four with one name. 4 and 5 are two with one."""
    feats = circle(0.0, 0.1, 0.18, 0.29, 2.0, 2.1)
    assert loop_search(nearest(feats, 2), 0.5).tolist() == [0, 0, 0, 0, 1, 1]


def test_only_distances_below_the_threshold_unless_there_is_none():
    feats = circle(0.0, 0.1, 1.0, 2.5)
    assert loop_search(nearest(feats, 2), 0.3).tolist() == [0, 0, -1, -1]
    assert loop_search(nearest(feats, 2), None).tolist() == [0, 0, 0, 1], "2 names 1; 3 names 2, and nobody else does"


@pytest.mark.parametrize("method", FIRST)
def test_a_threshold_that_labels_nothing_says_what_to_change(method):
    feats = unit(np.eye(4))
    with pytest.raises(ConfigError, match=r"labels none of 4 images: the nearest two are 1\.000 apart.*--threshold"):
        method(nearest(feats, 2), 0.5)


def slow_reranked(dist: np.ndarray, setting: KReciprocal) -> np.ndarray:
    """(N, N): every image once a query among all, 0 from itself."""
    how = (setting.k1, setting.k2, setting.lam, setting.power)
    return np.array([_row(dist, q, *how) for q in range(len(dist))])


@pytest.mark.parametrize(("k1", "k2", "lam"), [*((4, 2, x) for x in (0.0, 0.3, 0.95, 1.0)), (1, 1, 0.3), (2, 1, 0.99)])
@pytest.mark.parametrize("seed", range(2))
def test_on_the_re_ranked_distance(k1, k2, lam, seed):
    """Some have a nearest that is not the nearest by cosine, and some one with which they share nothing."""
    a, _ = people(8, 4, noise=0.9, seed=seed)
    b, _ = people(8, 4, noise=0.9, width=8, seed=seed + 5)
    setting, weights = KReciprocal(k1, k2, lam, 2), [1.0, 0.5]
    slow = slow_reranked(oracles.fused_distance([a, b], weights), setting)
    first = first_by_reranking(nearest([a, b], 5, weights=weights), [a, b], setting, weights=weights)
    off = slow + 9 * np.eye(len(a))
    np.testing.assert_allclose(first.dist, off.min(1), atol=1e-5)
    np.testing.assert_allclose(off[np.arange(len(a)), first.order], off.min(1), atol=1e-5)
    how = Pseudo(distance="reranked", threshold=None)
    got = find_groups(how, [a, b], weights, rerank=setting, seed=0, device="cpu")
    if lam > 0:  # else those that share nothing are all alike
        assert got.tolist() == oracles.loop_search(slow, None)
    plain = find_groups(Pseudo(threshold=None), [a, b], weights, rerank=setting, seed=0, device="cpu")
    same = got.tolist() == plain.tolist()
    assert same if lam == 1 else not (same and (k1, k2, lam) == (4, 2, 0.3))


def test_a_re_ranked_distance_is_told_and_counts_the_ensembles_numbers():
    one, other = (
        load_build_config(
            ["r50"], sets=[f"ensemble.k1={k1}", "ensemble.pseudo={distance: reranked, threshold: null}"]
        ).ensemble
        for k1 in (20, 30)
    )
    assert say_settings(one.pseudo) == "loop_search(threshold=none,reranked)"
    assert settings_of(one) != settings_of(other)
    one, other = (load_build_config(["r50"], sets=[f"ensemble.k1={k1}"]).ensemble for k1 in (20, 30))
    assert settings_of(one) == settings_of(other) == {"method": "loop_search", "threshold": 0.5}


@pytest.mark.parametrize("method", ["clusters", "dbscan"])
def test_a_distance_that_a_method_does_not_read_is_refused(method):
    with pytest.raises(ConfigError, match=f"distance reranked is for loop_search and first_neighbours; {method} is"):
        load_build_config(["r50"], sets=[f"ensemble.pseudo={{method: {method}, distance: reranked}}"])


# dbscan


def slow_jaccard(feats: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """J of all pairs: the re-ranking's oracle with lambda 0, each image once a query among all."""
    n = len(feats)
    dist = oracles.fused_distance([feats], [1.0])
    return np.array([_row(dist, q, k1, k2) for q in range(n)])


def _row(dist: np.ndarray, q: int, k1: int, k2: int, lam: float = 0.0, power: float = 2) -> list[float]:
    """Row q of the re-ranked distance, by putting image q first: the order decides ties alone, and there are none."""
    order = [q] + [i for i in range(len(dist)) if i != q]
    row = oracles.k_reciprocal(dist[np.ix_(order, order)], 1, k1, k2, lam, power)[0]
    result = [0.0] * len(dist)
    for place, i in enumerate(order[1:]):
        result[i] = float(row[place])
    return result


def slow_dbscan(dist: np.ndarray, eps: float, least: int) -> tuple[list[set[int]], set[int]]:
    """Groups of core images, and the images that are no core but near one (Ester et al. 1996, definitions 1 to 6)."""
    n = len(dist)
    near = [{j for j in range(n) if dist[i][j] <= eps} for i in range(n)]
    core = {i for i in range(n) if len(near[i]) >= least}
    found: list[set[int]] = []
    left = set(core)
    while left:
        reach, todo = set(), [min(left)]
        while todo:
            i = todo.pop()
            if i not in reach:
                reach.add(i)
                todo += [j for j in near[i] if j in core]
        found.append(reach)
        left -= reach
    return found, {i for i in range(n) if i not in core and near[i] & core}


@pytest.mark.parametrize(("eps", "least"), [(0.5, 4), (0.7, 3), (0.3, 2)])
def test_dbscan_is_the_slow_one(eps, least):
    feats, _ = people(6, 5, noise=0.6, seed=3)
    k1, k2 = 6, 3
    neighbours = nearest(feats, k1 + 1)
    dist = slow_jaccard(feats, k1, k2)
    graph = jaccard_graph(neighbours, feats, eps, k1=k1, k2=k2, power=2).toarray()
    wanted = np.where(dist <= eps, dist, 0)
    np.testing.assert_allclose(graph, wanted, atol=2e-5)
    cores, border = slow_dbscan(dist, eps, least)
    labels = dbscan(neighbours, feats, eps, least=least, k1=k1, k2=k2)
    assert len(cores) == labels.max() + 1 > 1
    for group in cores:
        assert len({labels[i] for i in group}) == 1 and labels[min(group)] >= 0
    assert {i for i in range(len(feats)) if labels[i] >= 0} == set().union(*cores) | border


def test_dbscan_finds_people():
    feats, pids = people(20, 10, noise=0.3)
    assert same_groups(dbscan(nearest(feats, 31), feats, 0.6, k1=9), pids)


def test_dbscan_that_labels_nothing_says_what_to_change():
    feats, _ = people(30, 1)
    with pytest.raises(ConfigError, match=r"eps 0\.05 labels none of 30 images.*larger --eps"):
        dbscan(nearest(feats, 31), feats, 0.05, k1=5)


@pytest.mark.parametrize("eps", [0.0, 1.0])
def test_eps_out_of_bounds(eps):
    feats, _ = people(5, 2)
    with pytest.raises(ConfigError, match="wanted eps above 0 and below 1"):
        dbscan(nearest(feats, 10), feats, eps)


# clusters


def test_clusters_wants_features():
    dist = 1 - (feats := people(3, 2)[0]) @ feats.T
    with pytest.raises(ValueError, match="needs features, not distance matrices"):
        clusters(DistanceMatrices(dist[:2, :2], dist[:2, 2:], dist[2:, 2:]), 2)


def test_clusters_finds_people():
    feats, pids = people(20, 10, noise=0.2)
    assert same_groups(clusters(feats, 20, seed=1), pids)


@pytest.mark.parametrize("mini", [False, True])
def test_every_image_is_with_the_nearest_mean(mini, monkeypatch):
    """k-means is done when no image would move; the mini-batch form is near it."""
    if mini:
        monkeypatch.setattr(clustering, "MINI_BATCH_ABOVE", 100)
        monkeypatch.setattr(clustering, "BLOCK", 64)
    feats, pids = people(8, 25, noise=0.25)
    labels = clusters([feats, feats], 8, weights=[1, 3])
    means = np.stack([feats[labels == g].mean(0) for g in range(8)])
    nearest_mean = ((feats[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest_mean == labels).mean() > (0.97 if mini else 0.999)
    assert labels.tolist() == clusters([feats, feats], 8, weights=[1, 3]).tolist(), "the same again"
    assert score_round(labels, pids).purity > 0.6


def test_mini_batches_of_images_in_the_order_of_their_identities(monkeypatch):
    """A list is sorted by identity: a batch of consecutive images would hold a few, and begin all centres there."""
    monkeypatch.setattr(clustering, "MINI_BATCH_ABOVE", 100)
    monkeypatch.setattr(clustering, "BLOCK", 64)
    feats, pids = people(40, 25, noise=0.25)
    order = np.argsort(pids, kind="stable")
    scored = score_round(clusters(feats[order], 40), pids[order])
    assert scored.purity > 0.9 and scored.recall > 0.9


def test_weights_count_as_in_the_mean_distance():
    """A member of weight 4 is worth four of weight 1, as in every other place; not sixteen."""
    a, _ = people(8, 6, noise=1.2, seed=3)
    b, _ = people(8, 6, noise=1.2, width=8, seed=4)
    got = clusters([a, b], 8, weights=[4, 1])
    assert same_groups(got, clusters([a, a, a, a, b], 8))
    assert not same_groups(got, clusters([a] * 16 + [b], 8))


def test_more_groups_than_images():
    with pytest.raises(ConfigError, match="30 groups of 10 images; take 1 to 10"):
        clusters(people(5, 2)[0], 30)


def test_numbers_follow_the_lowest_image():
    assert renumbered(np.array([7, -1, 3, 7, 0, 3])).tolist() == [0, -1, 1, 0, 2, 1]
    assert renumbered(np.array([-1, -1])).tolist() == [-1, -1]


# the report


def slow_report(labels: list[int], pids: list[int]) -> tuple[float, float, float]:
    pairs = [(i, j) for i, j in combinations(range(len(labels)), 2) if pids[i] >= 0 and pids[j] >= 0]
    together = [p for p in pairs if labels[p[0]] == labels[p[1]] >= 0]
    alike = [p for p in pairs if pids[p[0]] == pids[p[1]]]
    right = len(set(together) & set(alike))
    kept = 0
    for group in set(labels) - {-1}:
        inside = [pids[i] for i in range(len(labels)) if labels[i] == group and pids[i] >= 0]
        kept += max((inside.count(p) for p in inside), default=0)
    counted = sum(label >= 0 and pid >= 0 for label, pid in zip(labels, pids, strict=True))
    return kept / counted, right / len(together), right / len(alike)


@pytest.mark.parametrize("seed", range(5))
def test_report_is_the_slow_one(seed):
    rng = np.random.default_rng(seed)
    labels, pids = rng.integers(-1, 6, 60), rng.integers(-1, 5, 60)
    got = score_round(labels, pids)
    wanted = slow_report(labels.tolist(), pids.tolist())
    assert (got.purity, got.precision, got.recall) == pytest.approx(wanted)
    assert (got.images, got.groups, got.labelled) == (60, 6, int((labels >= 0).sum()))


def test_report_by_hand():
    got = score_round(np.array([0, 0, 0, 1, 1, -1]), np.array([4, 4, 5, 5, 5, 4]))
    assert got.purity == pytest.approx(4 / 5)
    assert got.precision == pytest.approx(2 / 4), "pairs 01 and 34 of 01 02 12 34"
    assert got.recall == pytest.approx(2 / 6)


def test_report_without_identities():
    for pids in (None, np.full(4, -1)):
        got = score_round(np.array([0, 0, 1, -1]), pids)
        assert (got.images, got.groups, got.labelled) == (4, 2, 3) and np.isnan(got.purity)


def test_report_of_no_group():
    got = score_round(np.full(3, -1), np.array([1, 1, 2]))
    assert got.groups == 0 and np.isnan(got.purity) and np.isnan(got.precision) and got.recall == 0
