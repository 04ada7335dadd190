"""Whitening of features: against the oracle, against what whitening means, and how it is refused."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError
from configs.load import load_ensemble
from configs.schema import Whitening
from ensemble.pipeline.groups import check_whitening
from ensemble.rerank import whitening
from models.data.split import Split
from tests import oracles
from tests.features import clustered, unit_rows


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("grouped", [False, True])
def test_equals_the_oracle(shrinkage, grouped):
    feats = clustered(np.random.default_rng(1), 24, 5, 6)
    groups = [i % 3 for i in range(24)] if grouped else None
    got = whitening.learn(feats, groups, shrinkage=shrinkage).apply(feats, groups)
    np.testing.assert_allclose(got @ got.T, oracles.whitened_cosines(feats, shrinkage, groups), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


def skewed(n=400, dim=6):
    """Features whose variances differ a thousandfold, about a mean far from 0."""
    rng = np.random.default_rng(2)
    return (3 + rng.standard_normal((n, dim)) * np.geomspace(1, 0.03, dim)).astype(np.float32)


def test_without_shrinkage_the_covariance_is_the_identity():
    feats = skewed()
    learned = whitening.learn(feats, shrinkage=0.0)
    rows = (feats - feats.mean(axis=0, dtype=np.float64)) @ learned.basis
    np.testing.assert_allclose(rows.T @ rows / len(rows), np.eye(6), atol=1e-6)


def test_shrinkage_moves_the_variances_towards_their_mean():
    """Half shrunk, a direction of variance v keeps v / ((v + mean) / 2); wholly shrunk, all is only scaled."""
    feats = skewed()
    for shrinkage in (0.5, 1.0):
        learned = whitening.learn(feats, shrinkage=shrinkage)
        rows = (feats - feats.mean(axis=0, dtype=np.float64)) @ learned.basis
        v = learned.variances
        want = np.diag(v / ((1 - shrinkage) * v + shrinkage * v.mean()))
        np.testing.assert_allclose(rows.T @ rows / len(rows), want, atol=1e-6)


def test_a_rotation_of_the_features_changes_no_cosine():
    rng = np.random.default_rng(3)
    feats = clustered(rng, 80, 12, 9)
    turn, _ = np.linalg.qr(rng.standard_normal((12, 12)))
    got, turned = (whitening.learn(a, shrinkage=0.2).apply(a) for a in (feats, feats.astype(np.float64) @ turn))
    np.testing.assert_allclose(got @ got.T, turned @ turned.T, atol=1e-5)


def test_fewer_images_than_dimensions():
    """10 images about their mean span 9 directions, and whitened they are as far from each other as can be: -1/9."""
    feats = unit_rows(np.random.default_rng(4), 10, 32)
    bare = whitening.learn(feats, shrinkage=0.0)
    assert bare.basis.shape == (32, 9)
    np.testing.assert_allclose(bare.apply(feats) @ bare.apply(feats).T, (np.eye(10) * 10 - 1) / 9, atol=1e-5)
    assert whitening.learn(feats, shrinkage=0.1).basis.shape == (32, 32)


def test_what_was_learned_is_used_on_other_images():
    rng = np.random.default_rng(5)
    known, asked = clustered(rng, 60, 5, 8), clustered(rng, 7, 5, 8)
    got = whitening.learn(known, shrinkage=0.0).apply(asked)
    mean, cov = known.mean(axis=0, dtype=np.float64), np.cov(known.T.astype(np.float64), bias=True)
    rows = asked - mean
    gram = rows @ np.linalg.inv(cov) @ rows.T
    length = np.sqrt(np.diag(gram))
    np.testing.assert_allclose(got @ got.T, gram / np.outer(length, length), atol=1e-4)


def test_the_bits_are_those_of_any_number_of_workers(monkeypatch):
    monkeypatch.setattr(whitening, "ROWS", 16)
    monkeypatch.setattr(whitening, "COLUMNS", 8)
    feats = clustered(np.random.default_rng(6), 100, 24, 9)
    one, two = (whitening.learn(feats, n_jobs=n).apply(feats, n_jobs=n) for n in (1, 2))
    assert one.tobytes() == two.tobytes()
    monkeypatch.setattr(whitening, "ROWS", 100)
    monkeypatch.setattr(whitening, "COLUMNS", 24)
    whole = whitening.learn(feats).apply(feats)
    np.testing.assert_allclose(one @ one.T, whole @ whole.T, atol=1e-5)


def test_the_spread_is_said():
    feats = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
    learned = whitening.learn(feats)
    assert learned.effective_dimension == pytest.approx(3)  # four corners of a simplex: three equal variances
    assert learned.describe() == "4 dimensions, 3.0 effective, half of the variance in 2"


@pytest.mark.parametrize(
    ("learn", "apply", "says"),
    [
        ({"shrinkage": 1.5}, {}, "shrinkage is 1.5: want 0 to 1"),
        ({"feats": np.ones((9, 4), np.float32)}, {}, "9 images do not vary"),
        ({}, {"feats": np.ones((9, 5), np.float32)}, "have 5 dimensions, and 4 were learned"),
        ({"groups": [1, 2] * 10}, {}, "of 2 groups: give the group of each"),
        ({"groups": [1, 2] * 10}, {"groups": [1, 3] * 10}, "no image of group 3 was learned from; known: 1, 2"),
        ({"groups": [1, *[2] * 19]}, {"groups": [1, *[2] * 19]}, "image 0 lies on its mean"),
    ],
)
def test_bad_input_is_named(learn, apply, says):
    feats = clustered(np.random.default_rng(7), 20, 4, 5)
    with pytest.raises(ValueError, match=says):
        whitening.learn(**{"feats": feats} | learn).apply(**{"feats": feats} | apply)


def test_a_camera_or_domain_that_nobody_trained_on_is_said():
    def split(domains):
        names, pids = tuple(domains), np.arange(3)
        return Split(names, tuple(map(Path, names)), pids, np.array([*map(ord, domains)]), domains=names)

    for center, said in (("domain", "'d'"), ("camera", "100")):
        how = Whitening(name="train", center=center)
        settings = load_ensemble().model_copy(update={"domains": "table", "whiten": how})
        check_whitening(settings, split("abc"), split("abc"), split("cba"))
        with pytest.raises(ConfigError, match=f"{center} {said} has no training image to take its mean from; set name"):
            check_whitening(settings, split("abc"), split("abc"), split("abd"))
