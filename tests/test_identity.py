"""The ID loss against the oracle, torch's own, and its gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses.identity import identity_loss
from models.net import Output
from tests.oracles import label_smoothing_loss


def case(batch, classes, parts=1, seed=0, scale=3.0):
    rng = np.random.default_rng(seed)
    logits = [torch.from_numpy(rng.normal(size=(batch, classes)) * scale) for _ in range(parts)]
    return logits, torch.from_numpy(rng.integers(0, classes, batch))


def output(*logits):
    feats = torch.zeros(len(logits[0]), 1)
    return Output(feats, feats, tuple(logits))


@given(st.integers(1, 6), st.integers(2, 9), st.integers(1, 3), st.floats(0, 0.99), st.integers(0, 99))
def test_equals_the_oracle(batch, classes, parts, eps, seed):
    logits, labels = case(batch, classes, parts, seed)
    want = np.mean([label_smoothing_loss(part.numpy(), labels.tolist(), eps) for part in logits])
    assert identity_loss(eps=eps)(output(*logits), labels).item() == pytest.approx(want, rel=1e-9, abs=1e-12)


def test_two_classes_by_hand():
    """p = (3/4, 1/4), true class 0, eps 0.1: -(0.9 log 3/4 + 0.1 log 1/4) = 0.39754."""
    logits = torch.tensor([[3.0, 1.0]], dtype=torch.float64).log()
    assert identity_loss(eps=0.1)(output(logits), torch.tensor([0])).item() == pytest.approx(0.397543308, rel=1e-7)


@pytest.mark.parametrize("eps", [0, 0.1, 0.6])
def test_gradient(eps):
    (logits,), labels = case(4, 5)
    loss = identity_loss(eps=eps)
    assert torch.autograd.gradcheck(lambda x: loss(output(x), labels), logits.requires_grad_())


def test_the_order_of_the_batch_does_not_matter():
    (logits,), labels = case(9, 4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    loss = identity_loss()
    assert loss(output(logits), labels).item() == pytest.approx(loss(output(logits[order]), labels[order]).item())


def test_the_least_loss_is_at_the_smoothed_target_itself():
    """Cross entropy is least, and its gradient 0, where the prediction is the target: 1 - eps, and eps / (K - 1)."""
    target = torch.tensor([[0.9, 0.05, 0.05]], dtype=torch.float64)
    logits = target.log().requires_grad_()
    identity_loss(eps=0.1)(output(logits), torch.tensor([0])).backward()
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("scale", [1e-3, 1e4])
def test_bfloat16_logits_far_apart_stay_finite(scale):
    (logits,), labels = case(8, 100, scale=scale)
    low = logits.to(torch.bfloat16).requires_grad_()
    value = identity_loss()(output(low), labels)
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value) and torch.isfinite(low.grad).all()


@pytest.mark.parametrize("eps", [-0.1, 1, float("nan")])
def test_another_eps_is_refused(eps):
    with pytest.raises(ValueError, match="eps"):
        identity_loss(eps=eps)
