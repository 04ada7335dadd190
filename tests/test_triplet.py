"""The batch-hard triplet loss against the oracle, its gradient, and batches that hold no triplet."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.losses.triplet import hardest_gap, triplet_loss
from models.net import Output
from tests.oracles import batch_hard_pairs, batch_hard_triplet

MARGINS, DISTANCES = [0, 0.3, 2.0, "soft"], ["cosine", "euclidean"]


def output(feats):
    return Output(feats, feats, ())


def case(P, K, D=6, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(rng.permutation(100)[:P], K))
    return torch.from_numpy(rng.normal(size=(P * K, D))), torch.from_numpy(labels)


@given(st.integers(2, 5), st.integers(2, 4), st.sampled_from(MARGINS), st.sampled_from(DISTANCES), st.integers(0, 999))
def test_equals_the_oracle(P, K, margin, distance, seed):
    feats, labels = case(P, K, seed=seed)
    want = batch_hard_triplet(feats.numpy(), labels.tolist(), margin, distance)
    assert triplet_loss(margin=margin, distance=distance)(output(feats), labels).item() == pytest.approx(
        want, rel=1e-9, abs=1e-12
    )


@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 999))
def test_the_pairs_are_the_hardest(P, K, seed):
    feats, labels = case(P, K, seed=seed)
    want = [positive - negative for positive, negative in batch_hard_pairs(feats.numpy(), labels.tolist())]
    gap, both = hardest_gap(feats, labels)
    assert both.all()
    np.testing.assert_allclose(gap.numpy(), want, atol=1e-12)


def test_by_hand():
    """On the circle at 0, 60 (A) and 90, 180 (B) degrees: positives 1 - cos 60, 1 - cos 60, 1, 1; nearest others at 90,
    30, 30 and 120 degrees."""
    angle = torch.deg2rad(torch.tensor([0.0, 60.0, 90.0, 180.0], dtype=torch.float64))
    feats = torch.stack((angle.cos(), angle.sin()), dim=1) * torch.tensor([[1.0], [2.0], [3.0], [0.1]])
    near = 1 - 3**0.5 / 2
    want = (max(0, 0.3 + 0.5 - 1) + (0.3 + 0.5 - near) + (0.3 + 1 - near) + max(0, 0.3 + 1 - 1.5)) / 4
    loss = triplet_loss(margin=0.3)(output(feats), torch.tensor([0, 0, 1, 1]))
    assert loss.item() == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("margin", MARGINS)
def test_gradient(margin, distance):
    feats, labels = case(3, 3)
    loss = triplet_loss(margin=margin, distance=distance)
    assert torch.autograd.gradcheck(lambda x: loss(output(x), labels), feats.requires_grad_())


@pytest.mark.parametrize("margin", MARGINS)
def test_neither_the_order_of_the_batch_nor_the_length_of_a_feature_matters(margin):
    feats, labels = case(4, 3)
    rng = torch.Generator().manual_seed(1)
    order, lengths = torch.randperm(12, generator=rng), torch.rand(12, 1, generator=rng) + 0.1
    loss = triplet_loss(margin=margin)
    want = loss(output(feats), labels).item()
    assert loss(output(feats[order] * lengths), labels[order]).item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(
    "labels", [[0, 1, 2, 3], [5, 5, 5, 5], [7]], ids=["no positive", "no negative", "one image alone"]
)
@pytest.mark.parametrize("margin", MARGINS)
def test_a_batch_without_triplets_costs_nothing_and_still_has_a_gradient(labels, margin):
    feats = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = triplet_loss(margin=margin)(output(feats), torch.tensor(labels))
    loss.backward()
    assert loss.item() == 0 and feats.grad.abs().sum() == 0


def test_bnneck_leaves_the_triplet_loss_in_free_euclidean_space_or_on_the_sphere():
    """By Euclidean distance a longer feature is another one, and where all of them lie is nothing; by cosine the
    reverse."""
    feats, labels = case(3, 3)
    for distance, longer, moved in (("euclidean", False, True), ("cosine", True, False)):
        loss = triplet_loss(margin=1.0, distance=distance)
        want = pytest.approx(loss(output(feats), labels).item(), rel=1e-9)
        assert (loss(output(feats * 3), labels).item() == want) is longer
        assert (loss(output(feats + 5), labels).item() == want) is moved


def test_euclidean_distances_of_near_features_far_from_the_origin():
    feats = torch.tensor([[1000.0, 0], [1000, 0.01], [1000, 0.03], [1000, 0.06]])
    gap, _ = hardest_gap(feats, torch.tensor([0, 0, 1, 1]), "euclidean")
    np.testing.assert_allclose(gap, [0.01 - 0.03, 0.01 - 0.02, 0.03 - 0.02, 0.03 - 0.05], atol=1e-5)


@pytest.mark.parametrize("feats", [torch.ones(6, 5), torch.zeros(6, 5)])
def test_identical_features_have_a_euclidean_gradient(feats):
    x = feats.clone().requires_grad_()
    loss = triplet_loss(margin=0.3, distance="euclidean")(output(x), torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.item() == pytest.approx(0.3, abs=1e-5) and torch.isfinite(x.grad).all()


def test_an_image_alone_of_its_identity_is_no_anchor_but_a_negative():
    feats, labels = case(3, 2)
    alone = torch.cat((feats, feats[:1] + 1e-3)), torch.cat((labels, torch.tensor([-5])))
    (gap, both), (without, _) = hardest_gap(*alone), hardest_gap(feats, labels)
    assert both.tolist() == [True] * 6 + [False] and gap[6] == 0
    pairs = batch_hard_pairs(alone[0].numpy(), alone[1].tolist())[:6]
    want = sum(max(0.0, 0.3 + positive - negative) for positive, negative in pairs) / 6
    assert triplet_loss(margin=0.3)(output(alone[0]), alone[1]).item() == pytest.approx(want, rel=1e-9)
    assert gap[0] > without[0] and gap[0] == pytest.approx(without[0].item(), abs=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("feats", [torch.ones(6, 5), torch.zeros(6, 5), torch.full((6, 5), 1e20)])
@pytest.mark.parametrize("margin", MARGINS)
def test_identical_features_are_finite_and_cost_the_margin(feats, dtype, margin):
    x = feats.to(dtype).clone().requires_grad_()
    loss = triplet_loss(margin=margin)(output(x), torch.tensor([0, 0, 1, 1, 2, 2]))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(np.log(2) if margin == "soft" else margin, abs=1e-5)
    assert torch.isfinite(x.grad).all()


def test_a_feature_that_is_no_number_is_not_passed_over():
    feats, labels = case(3, 2)
    feats[2, 1] = torch.nan
    assert torch.isnan(triplet_loss()(output(feats), labels))


@pytest.mark.parametrize("margin", [-0.1, "hard", float("nan"), float("inf")])
def test_another_margin_is_refused(margin):
    with pytest.raises(ValueError, match="margin"):
        triplet_loss(margin=margin)


def test_what_the_distance_cannot_be():
    with pytest.raises(ValueError, match="distance 'l2'; there are: cosine, euclidean"):
        triplet_loss(distance="l2")
    with pytest.raises(ValueError, match="margin 3; must be at most 2, since the distance cosine is from 0 to 2"):
        triplet_loss(margin=3)
    triplet_loss(margin=3, distance="euclidean")
