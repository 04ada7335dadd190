"""Pooling over maps and over stripes, against NumPy and against the two ends of the generalised mean."""

import numpy as np
import pytest
import torch

from models.heads.pooling import Pool

X = torch.rand(3, 5, 8, 4, generator=torch.Generator().manual_seed(0)) + 0.1
ROWS = torch.zeros(3, 2, 8, dtype=torch.bool)
for image, cut in enumerate((3, 1, 7)):
    ROWS[image, 0, :cut] = ROWS[image, 1, cut:] = True


def by_numpy(kind: str, x: np.ndarray, p: float = 3.0) -> np.ndarray:
    """(C, rows, w) -> (C,)."""
    flat = x.astype(np.float64).reshape(len(x), -1)
    return {"avg": flat.mean(1), "max": flat.max(1), "gem": (flat**p).mean(1) ** (1 / p)}[kind]


@pytest.mark.parametrize("kind", ["avg", "max", "gem"])
def test_whole_map(kind):
    wanted = np.stack([by_numpy(kind, x) for x in X.numpy()])
    np.testing.assert_allclose(Pool(kind)(X).detach(), wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", ["avg", "max", "gem"])
def test_stripes(kind):
    wanted = [
        [by_numpy(kind, x[:, rows]) for rows in stripes] for x, stripes in zip(X.numpy(), ROWS.numpy(), strict=True)
    ]
    np.testing.assert_allclose(Pool(kind).stripes(X, ROWS).detach(), np.array(wanted), rtol=1e-5)


@pytest.mark.parametrize("kind", ["avg", "max", "gem"])
def test_one_stripe_is_the_whole(kind):
    pool = Pool(kind)
    torch.testing.assert_close(pool.stripes(X, torch.ones(1, 1, 8, dtype=torch.bool))[:, 0], pool(X))


def test_average_is_the_plain_mean_bit_for_bit():
    assert torch.equal(Pool("avg")(X), X.mean(dim=(2, 3)))


def test_gem_goes_from_average_to_maximum():
    pool = Pool("gem")
    with torch.no_grad():
        pool.p.fill_(1.0)
        torch.testing.assert_close(pool(X), Pool("avg")(X))
        pool.p.fill_(200.0)
        torch.testing.assert_close(pool(X), Pool("max")(X), rtol=0.03, atol=0)


def test_gem_learns_its_p_and_stands_dead_channels():
    pool = Pool("gem")
    x = X.clone()
    x[:, 0] = 0
    x.requires_grad_()
    (pool(x).sum() + pool.stripes(x, ROWS).sum()).backward()
    assert pool.p.grad is not None and pool.p.grad != 0
    assert torch.isfinite(x.grad).all() and torch.isfinite(pool.p.grad)


def test_only_gem_has_a_parameter():
    assert {kind: len(list(Pool(kind).parameters())) for kind in ("avg", "max", "gem")} == {
        "avg": 0,
        "max": 0,
        "gem": 1,
    }


def test_unknown():
    with pytest.raises(ValueError, match="there are: avg, max, gem"):
        Pool("mean")
