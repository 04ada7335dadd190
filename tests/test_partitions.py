"""Retrieval by domains and tracks, against each part run by itself with the oracles."""

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.schema import Ensemble
from ensemble.fusion import partitions
from ensemble.fusion.strategy import FusionSettings
from ensemble.neighbours import distance_blocks
from ensemble.neighbours.distances import DistanceMatrices
from ensemble.rerank.registry import KReciprocal, NoReranking, name_of
from tests import oracles
from tests.features import clustered, unit_rows

SETTINGS = {"flip": True, "rerank": "k_reciprocal", "k1": 5, "k2": 3, "lam": 0.3, "power": 2}


def ensemble(**changes):
    return Ensemble.model_validate(SETTINGS | changes)


def setup(seed=0, q=11, g=40, domains=("green", "normal")):
    rng = np.random.default_rng(seed)
    feats = [clustered(rng, q + g, 16, 8), unit_rows(rng, q + g, 8)]
    return feats, [list(rng.choice(domains, n)) for n in (q, g)], q, q + g


def mixes(mix, settings, found):
    """One a part: the mix, with what the domain has of its own."""
    names = [f"m{i}" for i in range(len(mix.weights))]
    plan = {"weights": dict(zip(names, mix.weights, strict=True)), "rerank": name_of(mix.reranker), **mix.options}
    return partitions.mixes_of(Ensemble.model_validate(settings.model_dump() | plan), names, found)


def whole(feats, weights, mix, settings, found, q):
    """(Q, G) distances in the order of the queries, and the lists."""
    dist = np.full((q, len(feats[0]) - q), np.nan, np.float32)
    for rows, block in partitions.blocks(mixes(mix, settings, found), feats, found, q, "cpu"):
        dist[rows] = block
    return dist


def alone(feats, weights, query, gallery, k1, k2, lam, q):
    """One domain by itself: its images alone, by the oracle."""
    rows = [*query, *(q + np.array(gallery, int))]
    return oracles.k_reciprocal(oracles.fused_distance([a[rows] for a in feats], weights), len(query), k1, k2, lam, 2)


def test_equals_each_domain_run_by_itself():
    feats, (asked, there), q, n = setup()
    settings = ensemble(domains="colours", domain_settings={"green": {"k1": 3, "k2": 2, "lam": 0.6}})
    found = partitions.make_partitions(asked, there, [], q, n)
    mix = FusionSettings((1.0, 0.5), KReciprocal(**{k: SETTINGS[k] for k in ("k1", "k2", "lam", "power")}))
    order, dist = distance_blocks.ranked(partitions.blocks(mixes(mix, settings, found), feats, found, q, "cpu"), 8)
    for name, (k1, k2, lam) in (("green", (3, 2, 0.6)), ("normal", (5, 3, 0.3))):
        query = [i for i in range(q) if asked[i] == name]
        gallery = [j for j in range(n - q) if there[j] == name]
        assert query and len(gallery) >= 8
        want = alone(feats, [1.0, 0.5], query, gallery, k1, k2, lam, q)
        for i, row in zip(query, want, strict=True):
            assert [gallery[j] for j in oracles.rank_list(row, 8)] == order[i].tolist()
            np.testing.assert_allclose(dist[i], np.sort(row)[:8], atol=2e-5)


def test_a_domain_with_weights_and_a_fusion_of_its_own():
    feats, (asked, there), q, n = setup(seed=1)
    own = {"green": {"weights": {"m0": 0.2}, "fusion": "rerank_then_sum"}, "normal": {"weights": {"m1": 0}, "k1": 4}}
    settings = ensemble(domains="colours", domain_settings=own)
    found, mix = partitions.make_partitions(asked, there, [], q, n), FusionSettings((1.0, 0.5), KReciprocal(k1=5, k2=3))
    dist = whole(feats, None, mix, settings, found, q)
    for part in found:
        rows = [*part.query, *(q + part.gallery)]
        one, other = (oracles.fused_distance([a[rows]], [1.0]) for a in feats)
        ranked = [oracles.k_reciprocal(d, len(part.query), 5, 3, 0.3, 2) for d in (one, other)]
        want = 0.2 * ranked[0] + ranked[1]  # the member that is not named weighs 1
        if part.name == "normal":
            want = oracles.k_reciprocal(one, len(part.query), 4, 3, 0.3, 2)
        np.testing.assert_allclose(dist[np.ix_(part.query, part.gallery)], want, atol=2e-5)
    said = partitions.describe(mixes(mix, settings, found), found, (1.0, 0.5))
    assert said.startswith("green[0.2,1]:k_reciprocal(k1=5,k2=3,lam=0.3,power=2),rerank_then_sum+normal[1,0]:k_")
    assert partitions.describe([mix, mix], found, (1.0, 0.5)).startswith("green:k_")


def test_some_parts_answer_their_own_queries_alone():
    feats, (asked, there), q, n = setup(seed=2)
    found, mix = partitions.make_partitions(asked, there, [], q, n), FusionSettings((1.0, 0.5), KReciprocal(k1=5, k2=3))
    every = whole(feats, None, mix, ensemble(domains="colours"), found, q)
    blocks = list(partitions.blocks([mix], feats, found[1:], q, "cpu"))
    assert blocks[0][0] == slice(0, len(found[1].query)) and len(blocks) == 1
    assert (blocks[0][1] == every[found[1].query]).all()


def test_every_query_is_answered_over_the_whole_gallery_and_others_follow():
    """A domain of three images, and one of none: the list goes on with the others by plain distance."""
    feats, _, q, n = setup()
    asked = ["few"] * 3 + ["none"] * 2 + ["many"] * (q - 5)
    there = ["few"] * 3 + ["many"] * (n - q - 5) + ["unasked"] * 2
    settings = ensemble(domains="table")
    mix = FusionSettings((1.0, 0.5), KReciprocal(k1=5, k2=3))
    found = partitions.make_partitions(asked, there, [], q, n)
    order, dist = distance_blocks.ranked(partitions.blocks(mixes(mix, settings, found), feats, found, q, "cpu"), n - q)
    plain = oracles.fused_distance(feats, [1.0, 0.5])[:q, q:]
    for i in range(q):
        assert sorted(order[i].tolist()) == list(range(n - q))
        assert (np.diff(dist[i]) >= 0).all()
        own = [j for j in range(n - q) if there[j] == asked[i]]
        assert sorted(order[i, : len(own)].tolist()) == own
        others = [j for j in oracles.rank_list(plain[i]) if j not in own]
        assert order[i, len(own) :].tolist() == others
    few = alone(feats, [1.0, 0.5], [0, 1, 2], [0, 1, 2], 5, 3, 0.3, q)
    assert order[:3, :3].tolist() == [oracles.rank_list(row) for row in few]


def test_one_domain_and_no_track_is_the_plain_retrieval():
    feats, _, q, n = setup()
    found = partitions.make_partitions(["x"] * q, ["x"] * (n - q), [], q, n)
    got = whole(feats, None, FusionSettings((1.0, 1.0), KReciprocal(k1=5, k2=3)), ensemble(domains="table"), found, q)
    want = oracles.k_reciprocal(oracles.fused_distance(feats, [1.0, 1.0]), q, 5, 3, 0.3, 2)
    np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("rerank", ["none", "k_reciprocal"])
def test_tracks_are_found_by_their_mean_and_listed_as_a_whole(rerank):
    feats, _, q, n = setup()
    rng = np.random.default_rng(5)
    tracks = rng.integers(-1, 9, n - q).tolist()
    mix = FusionSettings((1.0, 0.5), KReciprocal(k1=5, k2=3) if rerank == "k_reciprocal" else NoReranking())
    settings = ensemble(tracks="mean", rerank=rerank)
    found = partitions.make_partitions([], [], tracks, q, n)
    order, _ = distance_blocks.ranked(partitions.blocks(mixes(mix, settings, found), feats, found, q, "cpu"), n - q)
    units, at = [], {}
    for j, track in enumerate(tracks):  # in the order of each track's first image
        if track < 0 or track not in at:
            at[track] = len(units)
            units.append([])
        units[at[track] if track >= 0 else -1].append(j)
    made = []
    for a in feats:
        means = np.array([a[[q + j for j in unit]].mean(0) for unit in units])
        made.append(np.concatenate([a[:q], means / np.linalg.norm(means, axis=1, keepdims=True)]))
    fused = oracles.fused_distance(made, [1.0, 0.5])
    want = fused[:q, q:] if rerank == "none" else oracles.k_reciprocal(fused, q, 5, 3, 0.3, 2)
    for i in range(q):
        assert order[i].tolist() == [j for u in oracles.rank_list(want[i]) for j in units[u]]


def test_domains_with_distances_from_outside():
    feats, (asked, there), q, n = setup()
    dist = np.abs(oracles.fused_distance(feats[:1], [1.0])).astype(np.float32) * 3
    members = [DistanceMatrices(dist[:q, :q], dist[:q, q:], dist[q:, q:]), feats[1]]
    found = partitions.make_partitions(asked, there, [], q, n)
    mix = FusionSettings((0.5, 1.0), KReciprocal(k1=5, k2=3))
    got = whole(members, None, mix, ensemble(domains="colours"), found, q)
    for part in found:
        rows = [*part.query, *(q + part.gallery)]
        want = 0.5 * dist[np.ix_(rows, rows)] + oracles.fused_distance([feats[1][rows]], [1.0])
        want = oracles.k_reciprocal(want, len(part.query), 5, 3, 0.3, 2)
        np.testing.assert_allclose(got[np.ix_(part.query, part.gallery)], want, atol=2e-5)
    with pytest.raises(ConfigError, match="needs features"):
        whole(members, None, mix, ensemble(tracks="mean"), partitions.make_partitions([], [], [0] * (n - q), q, n), q)


def test_settings_for_a_domain_that_cannot_be():
    with pytest.raises(ValueError, match=r"set ensemble.domains first"):
        ensemble(domain_settings={"green": {"k1": 3}})
    with pytest.raises(ValueError, match="there are green and normal"):
        ensemble(domains="colours", domain_settings={"gren": {"k1": 3}})
    with pytest.raises(ValueError, match="Extra inputs"):
        ensemble(domains="colours", domain_settings={"green": {"k3": 3}})
