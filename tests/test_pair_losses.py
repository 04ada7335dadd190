"""Circle and supervised contrastive loss against their oracles, gradients, and batches without partners."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses.circle import circle_loss
from models.losses.supcon import supcon_loss
from models.net import Output
from tests import oracles

LOSSES = {"circle": circle_loss, "supcon": supcon_loss}


def output(feats, n_branches=1):
    return Output(feats, feats, (), n_branches)


def case(n=9, identities=4, D=6, seed=0):
    """Any labels: images alone and identities that are not there are among them."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(n, D))), torch.from_numpy(rng.integers(0, identities, n) * 7)


@given(st.integers(1, 9), st.integers(1, 4), st.floats(0, 1), st.sampled_from([1, 16, 80]), st.integers(0, 999))
def test_circle_equals_the_oracle(n, identities, margin, gamma, seed):
    feats, labels = case(n, identities, seed=seed)
    want = oracles.circle_loss(feats.numpy(), labels.tolist(), margin, gamma)
    got = circle_loss(margin=margin, gamma=gamma)(output(feats), labels).item()
    assert got == pytest.approx(want, rel=1e-6, abs=1e-9)


@given(st.integers(1, 9), st.integers(1, 4), st.floats(0.05, 5), st.integers(0, 999))
def test_supcon_equals_the_oracle(n, identities, temperature, seed):
    feats, labels = case(n, identities, seed=seed)
    want = oracles.supervised_contrastive(feats.numpy(), labels.tolist(), temperature)
    assert supcon_loss(temperature=temperature)(output(feats), labels).item() == pytest.approx(want, rel=1e-6, abs=1e-9)


SQUARE = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 5]], dtype=torch.float64)


def test_circle_by_hand():
    """Positives at cosine 1, negatives at 0, margin 1/4, gamma 1: weights 1/4 and 1/4 (two negatives an anchor)."""
    want = math.log(1 + 2 * math.exp(0.25 * (0 - 0.25)) * math.exp(-0.25 * (1 - 0.75)))
    got = circle_loss(margin=0.25, gamma=1)(output(SQUARE), torch.tensor([0, 0, 1, 1])).item()
    assert got == pytest.approx(want, rel=1e-6)


def test_supcon_by_hand():
    """The positive at cosine 1, two negatives at 0, temperature 1: -log(e / (e + 2)) = 0.5514."""
    got = supcon_loss(temperature=1)(output(SQUARE), torch.tensor([0, 0, 1, 1])).item()
    assert got == pytest.approx(math.log(1 + 2 / math.e), rel=1e-6)
    assert supcon_loss(temperature=1)(output(SQUARE), torch.tensor([0, 0, 0, 0])).item() > math.log(3)


def test_the_gradient_of_the_circle_loss_holds_its_weights_constant():
    """Against differences of the oracle whose weights are of the features before the step."""
    feats, labels = case(6, 2)
    x = feats.clone().requires_grad_()
    circle_loss(margin=0.25, gamma=8)(output(x), labels).backward()
    numeric, step = np.zeros(feats.shape), 1e-6
    for place in np.ndindex(*feats.shape):
        ends = []
        for sign in (1, -1):
            moved = feats.numpy().copy()
            moved[place] += sign * step
            ends.append(oracles.circle_loss(moved, labels.tolist(), 0.25, 8, weights_of=feats.numpy()))
        numeric[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(x.grad, numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.1, 1])
def test_gradient_of_supcon(temperature):
    feats, labels = case(7, 3)
    loss = supcon_loss(temperature=temperature)
    assert torch.autograd.gradcheck(lambda x: loss(output(x), labels), feats.requires_grad_())


@pytest.mark.parametrize("name", LOSSES)
def test_neither_the_order_of_the_batch_nor_the_length_of_a_feature_matters(name):
    feats, labels = case(12)
    rng = torch.Generator().manual_seed(1)
    order, lengths = torch.randperm(12, generator=rng), torch.rand(12, 1, generator=rng) + 0.1
    loss = LOSSES[name]()
    want = loss(output(feats), labels).item()
    assert loss(output(feats[order] * lengths), labels[order]).item() == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_branches_count_alike(name):
    (one, labels), (two, _) = case(), case(seed=1)
    each = [LOSSES[name]()(output(feats), labels).item() for feats in (one, two)]
    both = LOSSES[name]()(output(torch.cat((one, two), dim=1), 2), labels).item()
    assert both == pytest.approx(sum(each) / 2, rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [7]], ids=["no positive", "one image alone"])
def test_a_batch_without_positives_costs_nothing_and_still_has_a_gradient(name, labels):
    feats = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = LOSSES[name]()(output(feats), torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0 and feats.grad.abs().sum() == 0


def test_of_one_identity_circle_has_no_anchor_and_supcon_has_all():
    feats = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    alone = torch.zeros(5, dtype=torch.long)
    assert circle_loss()(output(feats), alone).item() == 0
    value = supcon_loss()(output(feats), alone)
    value.backward()
    assert value > math.log(4) and torch.isfinite(feats.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("feats", [torch.ones(6, 5), torch.zeros(6, 5), torch.full((6, 5), 1e20), -torch.eye(6, 5)])
def test_identical_zero_and_long_features_are_finite(name, feats, dtype):
    x = feats.to(dtype).clone().requires_grad_()
    loss = LOSSES[name]()(output(x), torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(loss) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_feature_that_is_no_number_is_not_passed_over(name):
    feats, labels = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 2])
    feats[2, 1] = torch.nan
    assert torch.isnan(LOSSES[name]()(output(feats), labels))


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_apart_costs_less_than_what_is_not(name):
    rng = torch.Generator().manual_seed(0)
    centers = torch.eye(3, 8).repeat_interleave(2, 0)
    labels, noise = torch.tensor([0, 0, 1, 1, 2, 2]), torch.randn(6, 8, generator=rng)
    values = [LOSSES[name]()(output(centers + spread * noise), labels).item() for spread in (0.01, 0.1, 0.3, 1)]
    assert values == sorted(values)


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        (circle_loss, {"margin": -0.1}, "margin -0.1; must be from 0 to 1"),
        (circle_loss, {"margin": 1.1}, "margin 1.1; must be from 0 to 1"),
        (circle_loss, {"gamma": 0}, "gamma 0; must be above 0"),
        (circle_loss, {"gamma": math.inf}, "gamma inf; must be above 0"),
        (supcon_loss, {"temperature": 0}, "temperature 0; must be above 0"),
        (supcon_loss, {"temperature": math.nan}, "temperature nan; must be above 0"),
    ],
)
def test_what_an_option_cannot_be(loss, options, said):
    with pytest.raises(ValueError, match=said):
        loss(**options)
