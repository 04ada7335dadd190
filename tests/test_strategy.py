"""Sum and re-rank in either order, against the oracle written from the paper."""

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.schema import EACH_FIRST
from ensemble.fusion.strategy import FusionSettings, distance_stream
from ensemble.rerank.registry import KReciprocal, NoReranking
from tests import oracles
from tests.features import clustered

N_QUERY = 6


@pytest.fixture
def feats():
    rng = np.random.default_rng(5)
    return [clustered(rng, 30, 16, 6), clustered(rng, 30, 64, 6)]


def made(mix, feats):
    return np.concatenate([dist for _, dist in distance_stream(mix, feats, N_QUERY)])


def test_the_sum_is_re_ranked(feats):
    want = oracles.k_reciprocal(oracles.fused_distance(feats, [1, 0.5]), N_QUERY, 5, 2, 0.3, 2)
    np.testing.assert_allclose(made(FusionSettings((1, 0.5), KReciprocal(k1=5, k2=2)), feats), want, atol=1e-5)


def test_each_is_re_ranked_and_then_summed(feats):
    one, other = (oracles.k_reciprocal(oracles.fused_distance([a], [1]), N_QUERY, 5, 2, 0.3, 1) for a in feats)
    mix = FusionSettings((1, 0.5), KReciprocal(k1=5, k2=2, power=1), fusion=EACH_FIRST)
    np.testing.assert_allclose(made(mix, feats), one + 0.5 * other, atol=1e-5)


def test_a_member_of_no_weight_has_no_part(feats):
    alone = made(FusionSettings((1.0,), KReciprocal(k1=5, k2=2)), feats[:1])
    for fusion in ("sum_then_rerank", EACH_FIRST):
        np.testing.assert_allclose(
            made(FusionSettings((1.0, 0.0), KReciprocal(k1=5, k2=2), fusion=fusion), feats), alone, atol=1e-6
        )


def test_without_re_ranking(feats):
    want = oracles.fused_distance(feats, [2, 1])[:N_QUERY, N_QUERY:]
    np.testing.assert_allclose(made(FusionSettings((2, 1), NoReranking(), fusion=EACH_FIRST), feats), want, atol=1e-5)
    assert FusionSettings((2, 1), NoReranking(), fusion=EACH_FIRST).describe() == "none"


@pytest.mark.parametrize("fusion", ["sum_then_rerank", EACH_FIRST, "none"])
def test_a_camera_penalty_is_inside_the_distance(feats, fusion):
    cams = np.random.default_rng(6).integers(-1, 3, 30)
    shared = (cams[:, None] == cams) & (cams >= 0) & ~np.eye(30, dtype=bool)

    def penalised(some, weights):
        return oracles.fused_distance(some, weights) + 0.2 * shared

    def again(dist):
        return oracles.k_reciprocal(dist, N_QUERY, 5, 2, 0.3, 2)

    if fusion == "none":
        want, mix = penalised(feats, [1, 2])[:N_QUERY, N_QUERY:], FusionSettings((1, 2), NoReranking(), camera=0.2)
    else:
        mix = FusionSettings((1, 2), KReciprocal(k1=5, k2=2), fusion=fusion, camera=0.2)
        one, other = (again(penalised([a], [1])) for a in feats)
        want = one + 2 * other if fusion == EACH_FIRST else again(penalised(feats, [1, 2]))
    got = np.concatenate([dist for _, dist in distance_stream(mix, feats, N_QUERY, camids=cams)])
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert mix.describe().endswith(",camera_penalty=0.2")


@pytest.mark.parametrize("camids", [None, [-1] * 30])
def test_a_penalty_without_cameras_is_refused(feats, camids):
    with pytest.raises(ConfigError, match=r"camera_penalty is 0.2, and no camera is known"):
        distance_stream(FusionSettings((1, 1), camera=0.2), feats, N_QUERY, camids=camids)
