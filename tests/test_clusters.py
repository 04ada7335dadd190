"""Clusters of a sparse graph against scipy on the whole matrix, and against definitions written with loops and sets."""

import itertools

import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from sklearn.cluster import DBSCAN

from configs.errors import ConfigError
from ensemble.clusters import METHODS, PairGraph, graph_of_lists, method_of
from ensemble.clusters.registry import describe

KNOWING = [name for name in METHODS if name != "dbscan"]


def drawn(seed, n=60, groups=12, share=0.5, ties=False):
    """A graph with clusters in it, and its whole matrix with 1 where the graph has no pair."""
    rng = np.random.default_rng(seed)
    who = rng.integers(0, groups, n)
    dist = np.where(who[:, None] == who, rng.uniform(0.05, 0.6, (n, n)), rng.uniform(0.3, 1.2, (n, n)))
    dist = np.triu(np.where(rng.random((n, n)) < share, dist, 1), 1)
    if ties:
        dist = np.round(8 * dist) / 8
    dist = np.minimum(dist + dist.T, 1).astype(np.float32)
    first, second = (side.astype(np.int32) for side in np.nonzero(np.triu(dist < 1, 1)))
    np.fill_diagonal(dist, 0)
    return PairGraph(n, first, second, dist[first, second]), dist, who


def parts(labels):
    """The clusters as sets of images."""
    return {frozenset(np.flatnonzero(labels == c).tolist()) for c in np.unique(labels)}


def chained(dist, threshold):
    """Connected parts by growing each from one image."""
    left, found = set(range(len(dist))), set()
    while left:
        part, new = set(), {min(left)}
        while new:
            part |= new
            new = {j for i in new for j in left if dist[i, j] <= threshold} - part
        found.add(frozenset(part))
        left -= part
    return found


def slow_average(dist, threshold, known=None):
    """The two clusters of the smallest mean, again and again; equal ones by their lowest images."""
    known = [-1] * len(dist) if known is None else list(known)
    held = {pid: [i for i, k in enumerate(known) if k == pid] for pid in set(known) - {-1}}
    clusters = [*held.values(), *([i] for i, k in enumerate(known) if k == -1)]
    while True:
        best = None
        for a, b in itertools.combinations(sorted(clusters, key=min), 2):
            if all(any(known[i] >= 0 for i in side) for side in (a, b)):
                continue
            mean = round(float(np.mean([np.float64(dist[i, j]) for i in a for j in b])), 9)
            if mean <= threshold + 1e-9 and (best is None or mean < best[0]):
                best = mean, a, b
        if best is None:
            return {frozenset(cluster) for cluster in clusters}
        clusters = [c for c in clusters if c not in best[1:]] + [best[1] + best[2]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.2, 0.45, 0.7, 0.95])
def test_average_linkage_is_scipys_with_missing_pairs_at_1(seed, threshold):
    graph, dist, _ = drawn(seed, share=0.3 + 0.1 * seed)
    tree = hierarchy.average(squareform(dist.astype(np.float64), checks=False))
    want = hierarchy.fcluster(tree, threshold, "distance")
    got = method_of("average", {"threshold": threshold}).labels(graph)
    assert parts(got) == parts(want)
    assert (threshold == 0.95) or 1 < len(parts(want)) < graph.n


@pytest.mark.parametrize("seed", range(4))
def test_equal_distances_are_merged_by_the_lower_image(seed):
    graph, dist, _ = drawn(seed, n=24, groups=5, ties=True)
    for threshold in (0.25, 0.5, 0.75):
        got = method_of("average", {"threshold": threshold}).labels(graph)
        assert parts(got) == slow_average(dist, threshold)


def test_three_at_equal_distances():
    """0 and 1 merge first; 2 is then (0.4 + 1) / 2 from them."""
    graph = PairGraph(3, np.array([0, 1], np.int32), np.array([1, 2], np.int32), np.array([0.4, 0.4], np.float32))
    assert method_of("average", {"threshold": 0.6}).labels(graph).tolist() == [0, 0, 1]
    assert method_of("average", {"threshold": 0.71}).labels(graph).tolist() == [0, 0, 0]
    assert method_of("connected", {"threshold": 0.4}).labels(graph).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.1, 0.2, 0.35])
def test_connected_parts_are_those_grown_by_hand(seed, threshold):
    graph, dist, _ = drawn(seed)
    want = chained(dist, np.float32(threshold))
    assert parts(method_of("connected", {"threshold": threshold}).labels(graph)) == want
    nobody = np.full(graph.n, -1)
    assert parts(method_of("connected", {"threshold": threshold}).labels(graph, nobody)) == want


@pytest.mark.parametrize("least", [2, 3])
def test_dbscan_is_that_of_the_whole_matrix_with_noise_apart(least):
    graph, dist, _ = drawn(3)
    want = DBSCAN(eps=0.25, min_samples=least, metric="precomputed").fit_predict(dist)
    assert (want < 0).any() and want.max() > 0
    got = method_of("dbscan", {"threshold": 0.25, "least": least}).labels(graph)
    assert parts(got) == parts(np.where(want < 0, 1000 + np.arange(graph.n), want))


def known_of(who, seed, share=0.4):
    """The identities of some images of half of the groups."""
    rng = np.random.default_rng(seed + 100)
    return np.where((rng.random(len(who)) < share) & (who % 2 == 0), who, -1)


@pytest.mark.parametrize("name", KNOWING)
@pytest.mark.parametrize("seed", range(4))
def test_known_identities_never_merge_and_are_never_split(name, seed):
    graph, _, who = drawn(seed)
    known, joined = known_of(who, seed), 0
    for threshold in (0.1, 0.4, 0.8, 0.99):
        labels = method_of(name, {"threshold": threshold}).labels(graph, known)
        for cluster in parts(labels):
            assert len({known[i] for i in cluster} - {-1}) <= 1
            joined += {known[i] >= 0 for i in cluster} == {True, False}
        for pid in set(known.tolist()) - {-1}:
            assert len(set(labels[known == pid].tolist())) == 1
    assert joined > 0, "no unknown image joined a known identity"


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_anchored_average_linkage_is_the_slow_one(seed, ties):
    graph, dist, who = drawn(seed, n=26, groups=6, ties=ties)
    known = known_of(who, seed)
    for threshold in (0.4, 0.6, 0.85):
        got = method_of("average", {"threshold": threshold}).labels(graph, known)
        assert parts(got) == slow_average(dist, threshold, known)


def test_an_image_between_two_identities_goes_to_the_nearer_and_a_tie_to_the_lower_pair():
    first, second = np.array([0, 1], np.int32), np.array([2, 2], np.int32)
    for dist, want in (([0.3, 0.2], [0, 1, 1]), ([0.2, 0.3], [0, 1, 0]), ([0.2, 0.2], [0, 1, 0])):
        graph = PairGraph(3, first, second, np.array(dist, np.float32))
        for name in KNOWING:
            labels = method_of(name, {"threshold": 0.9}).labels(graph, np.array([7, 4, -1]))
            assert labels.tolist() == want, (name, dist)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_the_images_changes_nothing(name):
    rng = np.random.default_rng(0)
    n, k = 80, 12
    dist = rng.uniform(0.02, 1.1, (n, n)).astype(np.float32) ** 2
    dist = np.minimum(dist, dist.T)
    who = np.arange(n) // 4 % 5
    limit = 0.3 if name == "average" else 0.0007
    known = None if name == "dbscan" else np.where(np.arange(n) % 4 == 0, who, -1)

    def clustered(to):
        """Image i of the lists is image to[i]."""
        moved = dist[np.ix_(to, to)]
        order = np.argsort(moved, axis=1, kind="stable")[:, :k].astype(np.int32)
        graph = graph_of_lists(order, np.take_along_axis(moved, order, 1))
        labels = method_of(name, {"threshold": limit}).labels(graph, None if known is None else known[to])
        return {frozenset(to[i] for i in part) for part in parts(labels)}

    first = clustered(np.arange(n))
    assert n // 10 < len(first) < n
    assert all(clustered(rng.permutation(n)) == first for _ in range(5))


@pytest.mark.parametrize("name", KNOWING)
def test_two_known_identities_stay_apart_however_near(name):
    graph = PairGraph(3, np.array([0, 0], np.int32), np.array([1, 2], np.int32), np.array([0.1, 0.2], np.float32))
    method = method_of(name, {"threshold": 0.9})
    assert method.labels(graph, np.array([7, 4, -1])).tolist() == [0, 1, 0]
    assert method.labels(graph, np.array([7, 7, 4])).tolist() == [0, 0, 1]


def test_a_pair_has_the_smaller_of_its_entries_once():
    order = np.array([[1, 2, 0], [0, 3, -1], [3, 0, 1], [-1, -1, -1]], np.int32)
    dist = np.array([[0.4, 2.2, 0.0], [0.6, 1.0, 9], [1.9, 2.0, 0.2], [9, 9, 9]], np.float32)
    graph = graph_of_lists(order, dist, scale=2)
    told = dict(zip(zip(graph.first.tolist(), graph.second.tolist(), strict=True), graph.dist.tolist(), strict=True))
    assert told == pytest.approx({(0, 1): 0.2, (1, 2): 0.1, (1, 3): 0.5, (2, 3): 0.95})
    apart = graph_of_lists(order, dist, scale=[2, 2, 2, 2], apart=["x", "x", "x", "y"])
    assert list(zip(apart.first.tolist(), apart.second.tolist(), strict=True)) == [(0, 1), (1, 2)]
    with pytest.raises(ValueError, match="NaN"):
        graph_of_lists(order, np.where(dist == 0.4, np.nan, dist).astype(np.float32))
    with pytest.raises(ValueError, match=r"images 0\.\.3"):
        graph_of_lists(order + 2, dist)


@pytest.mark.parametrize(
    ("first", "dist", "said"),
    [([1, 1], [0.1, 0.2], "without repeats"), ([2, 1], [0.1, 0.2], "first < second"), ([0, 1], [0.1, 1.0], "below 1")],
)
def test_a_graph_that_is_none(first, dist, said):
    with pytest.raises(ValueError, match=said):
        PairGraph(4, np.array(first, np.int32), np.array([2, 2], np.int32), np.array(dist, np.float32))


def test_no_pair_and_one_image():
    none = np.empty(0, np.int32)
    for name in METHODS:
        graph = PairGraph(3, none, none, np.empty(0, np.float32))
        assert method_of(name, {}).labels(graph).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("ward", {}, "unknown method 'ward'; ensemble/clusters/registry.py has: average, connected, dbscan"),
        ("average", {"least": 3}, "has no option 'least'; it has: threshold"),
        ("average", {"threshold": 1.0}, "want 0 to below 1"),
        ("dbscan", {"threshold": 0.0}, "want above 0"),
        ("dbscan", {"least": 1}, "2 or more"),
    ],
)
def test_a_method_that_is_none(name, options, said):
    with pytest.raises(ConfigError, match=said):
        method_of(name, options)


def test_what_a_method_says_of_itself_and_refuses():
    assert describe(method_of("dbscan", {"threshold": 0.4})) == "dbscan(threshold=0.4,least=2)"
    graph, _, who = drawn(0)
    with pytest.raises(ValueError, match="takes no known identities"):
        method_of("dbscan", {}).labels(graph, who)
    with pytest.raises(ValueError, match="one identity an image"):
        method_of("average", {}).labels(graph, who[:-1])
