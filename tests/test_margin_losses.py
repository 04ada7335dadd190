"""ArcFace, CosFace and margins by class size against the oracle, gradients, and angles at both ends."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses.identity import identity_loss
from models.losses.margin import arcface_loss, cosface_loss, margins_by_size
from models.net import Output
from tests.oracles import class_size_margins, margin_softmax

LOSSES = {"angle": arcface_loss, "cosine": cosface_loss}
COUNTS = (1, 7, 2, 40, 2)


def case(batch=6, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.99, 0.99, (batch, classes)), rng.integers(0, classes, batch)


def output(*logits):
    feats = torch.zeros(len(logits[0]), 1)
    return Output(feats, feats, tuple(logits))


def value(kind, cosines, labels, scale=16.0, counts=COUNTS, **options):
    loss = LOSSES[kind](scale=scale, counts=counts, **options)
    return loss(output(torch.from_numpy(scale * cosines)), torch.as_tensor(labels)).item()


@given(
    st.sampled_from(list(LOSSES)),
    st.integers(1, 6),
    st.floats(0, 1.5),
    st.sampled_from([1, 16, 64]),
    st.integers(0, 99),
)
def test_equals_the_oracle(kind, batch, margin, scale, seed):
    cosines, labels = case(batch, seed=seed)
    want = margin_softmax(cosines, labels.tolist(), scale, [margin] * 5, kind)
    assert value(kind, cosines, labels, scale, margin=margin) == pytest.approx(want, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind", LOSSES)
def test_with_margins_by_class_size_it_equals_the_oracle(kind):
    cosines, labels = case(40)
    margins = class_size_margins(COUNTS, 0.5, 0.05, 0.25)
    want = margin_softmax(cosines, labels.tolist(), 16, margins, kind)
    assert value(kind, cosines, labels, margin=0.5, least=0.05) == pytest.approx(want, rel=1e-6)
    assert value(kind, cosines, labels, margin=0.5) != pytest.approx(want, rel=1e-3)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=9), st.floats(0.1, 1), st.floats(0, 0.1), st.floats(0.1, 2))
def test_margins_equal_the_formula_with_a_and_b_from_both_ends(counts, most, least, power):
    got = margins_by_size(counts, most, least, power).tolist()
    assert got == pytest.approx(class_size_margins(counts, most, least, power), rel=1e-6, abs=1e-9)
    order = np.argsort(counts, kind="stable")
    assert all(got[a] >= got[b] - 1e-12 for a, b in pairwise(order))


def test_margins_by_hand():
    """By n^-1/4, 1 and 16 images give 1 and 1/2, and 81 give 1/3: 0.5, 0.05 + 0.45 * (1/6) / (2/3), 0.05."""
    assert margins_by_size([81, 1, 16], 0.5, 0.05, 0.25).tolist() == pytest.approx([0.05, 0.5, 0.1625])
    assert margins_by_size([3, 3], 0.5, 0.05, 0.25).tolist() == [0.5, 0.5]


def test_by_hand():
    """An angle of 60 degrees and a margin of 30: cos 90 = 0; another class at 90: log 2. By cosine: 1/2 - 1/2 = 0."""
    cosines = np.array([[0.5, 0.0]])
    for kind, margin in (("angle", math.pi / 6), ("cosine", 0.5)):
        assert value(kind, cosines, [0], margin=margin) == pytest.approx(math.log(2), rel=1e-9)


@pytest.mark.parametrize("kind", LOSSES)
def test_margin_0_is_the_cross_entropy_of_the_scaled_cosines(kind):
    cosines, labels = case(9)
    want = identity_loss(eps=0)(output(torch.from_numpy(16 * cosines)), torch.from_numpy(labels)).item()
    assert value(kind, cosines, labels, margin=0) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_larger_margin_costs_more_and_another_scale_another_loss(kind):
    cosines, labels = case(9)
    values = [value(kind, cosines, labels, margin=m) for m in (0, 0.1, 0.3, 0.5, 1, 1.5)]
    assert values == sorted(values) and len(set(values)) == 6
    assert value(kind, cosines, labels, 64.0) != value(kind, cosines, labels, 16.0)


@pytest.mark.parametrize("margin", [0.1, 0.5, 1.5])
def test_the_loss_never_falls_as_the_angle_grows_up_to_pi(margin):
    """cos(theta + m) alone would rise again beyond pi - m."""
    theta = np.linspace(0, math.pi, 400)
    values = [value("angle", np.array([[math.cos(x), 0.1]]), [0], margin=margin) for x in theta]
    assert (np.diff(values) > -1e-3).all() and values[-1] > values[0] + 10
    beyond = math.pi - margin / 2
    assert value("angle", np.array([[math.cos(beyond), -1.0]]), [0], margin=margin) > math.log(2)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("options", [{"margin": 0.0}, {"margin": 0.5}, {"margin": 0.5, "least": 0.05}], ids=str)
def test_gradient(kind, options):
    cosines, labels = case()
    loss = LOSSES[kind](scale=16.0, counts=COUNTS, **options)
    logits, whose = torch.from_numpy(16 * cosines).requires_grad_(), torch.from_numpy(labels)
    assert torch.autograd.gradcheck(lambda x: loss(output(x), whose), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("at", [1.0, 1.0 + 1e-6, -1.0, -1.0 - 1e-6, -math.cos(0.5), 0.0])
def test_at_both_ends_and_past_them_by_rounding_value_and_gradient_are_finite(kind, at, dtype):
    logits = torch.full((3, 4), 30 * at, dtype=dtype, requires_grad=True)
    total = LOSSES[kind](scale=30.0, counts=(2,) * 4)(output(logits), torch.tensor([0, 0, 3]))
    total.backward()
    assert total.dtype == torch.float32 and torch.isfinite(total) and torch.isfinite(logits.grad).all()
    assert logits.grad.any()


@pytest.mark.parametrize("kind", LOSSES)
def test_classifiers_count_alike_and_the_order_of_the_batch_does_not_matter(kind):
    (one, labels), (two, _) = case(7), case(7, seed=1)
    both = LOSSES[kind](scale=16.0, counts=COUNTS)(
        output(torch.from_numpy(16 * one), torch.from_numpy(16 * two)), torch.from_numpy(labels)
    )
    alone = [value(kind, cosines, labels) for cosines in (one, two)]
    assert both.item() == pytest.approx(sum(alone) / 2, rel=1e-9)
    order = np.random.default_rng(2).permutation(7)
    assert value(kind, one[order], labels[order]) == pytest.approx(alone[0], rel=1e-9)


def test_no_checkpoint_holds_the_margins():
    loss = arcface_loss(scale=30.0, counts=COUNTS, least=0.1)
    assert not loss.state_dict() and not list(loss.parameters()) and len(loss.margins) == 5


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": -0.1}, "margin -0.1; must be from 0 to "),
        ({"margin": float("nan")}, "margin nan; must be from 0 to "),
        ({"margin": 2.5}, "margin 2.5; must be from 0 to "),
        ({"margin": 0.3, "least": 0.4}, "least 0.4 with margin 0.3; must be from 0 to the margin"),
        ({"margin": 0.3, "least": -0.1}, "least -0.1 with margin 0.3; must be from 0 to the margin"),
        ({"least": 0.1, "power": -0.25}, "power -0.25; must be above 0"),
        ({"least": 0.1, "counts": None}, "least 0.1; the number of images of each identity is not known here"),
    ],
)
def test_what_a_margin_cannot_be(kind, options, said):
    with pytest.raises(ValueError, match=said):
        LOSSES[kind](**{"scale": 30.0, "counts": COUNTS} | options)
