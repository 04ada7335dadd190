"""Pseudo labels against slow answers: links and parts, DBSCAN and k-means by their definitions, the report by pairs."""

from itertools import combinations

import numpy as np
import pytest

from configs.errors import ConfigError
from ensemble.neighbours.distances import Distances
from ensemble.neighbours.knn import nearest
from ensemble.pseudo import clustering, clusters, dbscan, loop_search, score_round
from ensemble.pseudo.clustering import jaccard_graph, renumbered
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


# loop search


@pytest.mark.parametrize("threshold", [0.1, 0.15, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_loop_search_is_the_slow_one(threshold, seed):
    feats, _ = people(12, 4, noise=0.5, seed=seed)
    dist = oracles.fused_distance([feats], [1.0])
    got = loop_search(nearest(feats, 3), threshold)
    assert got.tolist() == oracles.loop_search(dist, threshold)


def test_several_members_count_by_their_mean():
    a, _ = people(10, 4, seed=1)
    b, _ = people(10, 4, width=8, seed=2)
    wanted = oracles.loop_search(oracles.fused_distance([a, b], [3.0, 1.0]) / 4, 0.3)
    assert loop_search(nearest([a, b], 2, weights=[3, 1]), 0.3).tolist() == wanted
    assert -1 in wanted and max(wanted) > 2


def test_exact_copies_find_each_other():
    feats = unit(np.eye(6)[[0, 0, 0, 1, 1, 2]])
    assert loop_search(nearest(feats, 2), 0.1).tolist() == [0, 0, 0, 1, 1, -1]


def test_links_are_followed():
    angles = np.array([0.0, 0.1, 0.19, 0.27, 2.0, 2.1])  # each nearest to the next: a chain, then a pair
    feats = unit(np.stack((np.cos(angles), np.sin(angles)), 1))
    assert loop_search(nearest(feats, 2), 0.5).tolist() == [0, 0, 0, 0, 1, 1]


def test_a_threshold_that_labels_nothing_says_what_to_change():
    feats = unit(np.eye(4))
    with pytest.raises(ConfigError, match=r"labels none of 4 images: the nearest two are 1\.000 apart.*--threshold"):
        loop_search(nearest(feats, 2), 0.5)


# dbscan


def slow_jaccard(feats: np.ndarray, k1: int, k2: int) -> np.ndarray:
    """J of all pairs: the re-ranking's oracle with lambda 0, each image once a query among all."""
    n = len(feats)
    dist = oracles.fused_distance([feats], [1.0])
    return np.array([_row(dist, q, k1, k2) for q in range(n)])


def _row(dist: np.ndarray, q: int, k1: int, k2: int) -> list[float]:
    """Row q of J, by putting image q first: the order of the images decides ties alone, and there are none."""
    order = [q] + [i for i in range(len(dist)) if i != q]
    row = oracles.k_reciprocal(dist[np.ix_(order, order)], 1, k1, k2, lam=0.0)[0]
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
    with pytest.raises(ConfigError, match=r"eps 0\.05 labels none of 30 images.*larger eps, with --eps"):
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
        clusters(Distances(dist[:2, :2], dist[:2, 2:], dist[2:, 2:]), 2)


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
