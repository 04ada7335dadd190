"""The focal ID loss against the oracle, its gradient, and images that are certain."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses.focal import focal_loss
from models.losses.identity import identity_loss
from models.net import Output
from tests import oracles


def case(batch, classes, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(batch, classes)) * scale), torch.from_numpy(
        rng.integers(0, classes, batch)
    )


def output(*logits):
    feats = torch.zeros(len(logits[0]), 1)
    return Output(feats, feats, tuple(logits))


@given(st.integers(1, 6), st.integers(2, 9), st.floats(0, 5), st.integers(0, 99))
def test_equals_the_oracle(batch, classes, gamma, seed):
    logits, labels = case(batch, classes, seed)
    want = oracles.focal_loss(logits.numpy(), labels.tolist(), gamma)
    assert focal_loss(gamma=gamma)(output(logits), labels).item() == pytest.approx(want, rel=1e-6, abs=1e-12)


def test_by_hand():
    """p = 3/4 and gamma 2: (1/4)^2 log 4/3 = 0.01798."""
    logits = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    assert focal_loss()(output(logits), torch.tensor([0])).item() == pytest.approx(0.0179801, rel=1e-5)


def test_gamma_0_is_the_cross_entropy_and_a_larger_one_costs_less():
    logits, labels = case(9, 4)
    values = [focal_loss(gamma=g)(output(logits), labels).item() for g in (0, 0.5, 1, 2, 5)]
    assert values[0] == pytest.approx(identity_loss(eps=0)(output(logits), labels).item(), rel=1e-9)
    assert values == sorted(values, reverse=True) and len(set(values)) == 5


@pytest.mark.parametrize("gamma", [0, 0.5, 2])
def test_gradient(gamma):
    logits, labels = case(4, 5)
    assert torch.autograd.gradcheck(lambda x: focal_loss(gamma=gamma)(output(x), labels), logits.requires_grad_())


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
@pytest.mark.parametrize("far", [32.0, 8192.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_certain_and_certainly_wrong_images_are_finite(gamma, far, dtype):
    logits = torch.tensor([[far, 0, 0], [-far, 0, 0]], dtype=dtype, requires_grad=True)
    value = focal_loss(gamma=gamma)(output(logits), torch.tensor([0, 0]))
    value.backward()
    assert value.dtype == torch.float32 and value.item() == pytest.approx((far + np.log(2)) / 2, rel=1e-3)
    assert torch.isfinite(logits.grad).all() and logits.grad[0].abs().max() < 1e-3


def test_classifiers_count_alike_and_the_order_of_the_batch_does_not_matter():
    (one, labels), (two, _) = case(9, 4), case(9, 4, seed=1)
    order, loss = torch.randperm(9, generator=torch.Generator().manual_seed(0)), focal_loss()
    each = [loss(output(x), labels).item() for x in (one, two)]
    assert loss(output(one, two), labels).item() == pytest.approx(sum(each) / 2)
    assert loss(output(one[order]), labels[order]).item() == pytest.approx(each[0])


@pytest.mark.parametrize("gamma", [-0.1, float("nan"), float("inf")])
def test_another_gamma_is_refused(gamma):
    with pytest.raises(ValueError, match=r"gamma .*; must be 0 or more"):
        focal_loss(gamma=gamma)
