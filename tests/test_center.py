"""The centre loss against its definition written out with loops; its rate and its weight do not meet."""

import numpy as np
import pytest
import torch

from models.losses import Learner
from models.losses.center import CenterLoss
from models.net import Output
from tests.oracles import center_loss, center_step

LABELS = torch.tensor([0, 0, 2, 1, 2, 2])
GO, SKIP = torch.tensor(False), torch.tensor(True)


def batch(seed: int = 0) -> Output:
    feats = torch.from_numpy(np.random.default_rng(seed).normal(size=(6, 4)).astype(np.float32)).requires_grad_()
    return Output(feats, feats, ())


def some_centers(loss: CenterLoss) -> np.ndarray:
    centers = np.random.default_rng(9).normal(size=(4, 4)).astype(np.float32)
    loss.centers.copy_(torch.from_numpy(centers))
    return centers


def test_value_and_gradient():
    loss, output = CenterLoss(dim=4, classes=4), batch()
    centers = some_centers(loss)
    value = loss(output, LABELS)
    value.backward()
    feats = output.feats.detach().numpy()
    assert value.item() == pytest.approx(center_loss(feats, LABELS.tolist(), centers), rel=1e-6)
    np.testing.assert_allclose(output.feats.grad, (feats - centers[LABELS]) / 6, rtol=1e-5)


def test_centers_take_a_plain_step_of_their_own_rate():
    loss, output = CenterLoss(dim=4, classes=4, rate=0.3), batch()
    centers = some_centers(loss)
    (1e-4 * loss(output, LABELS)).backward()  # whatever weight it has in the total
    loss.update_state(output, LABELS, GO)
    wanted = center_step(output.feats.detach().numpy(), LABELS.tolist(), centers, lr=0.3)
    np.testing.assert_allclose(loss.centers.numpy(), wanted, rtol=1e-5)
    assert (loss.centers[3].numpy() == centers[3]).all(), "nobody of class 3 was there"


def test_a_step_that_is_skipped_moves_nothing_even_of_numbers_that_are_none():
    loss, output = CenterLoss(dim=4, classes=4), batch()
    centers = some_centers(loss)
    output.feats.data[2] = torch.nan
    loss.update_state(output, LABELS, SKIP)
    np.testing.assert_array_equal(loss.centers.numpy(), centers)


def test_order_of_the_batch_does_not_matter():
    loss, output = CenterLoss(dim=4, classes=4), batch()
    some_centers(loss)
    order = torch.tensor([3, 0, 5, 2, 1, 4])
    other = Output(output.feats[order], output.feats[order], ())
    assert loss(other, LABELS[order]).item() == pytest.approx(loss(output, LABELS).item(), rel=1e-6)


def test_the_loss_alone_moves_no_centre_and_has_no_parameters():
    loss, output = CenterLoss(dim=4, classes=4), batch()
    loss(output, LABELS).backward()
    assert not loss.centers.any()
    assert not list(loss.parameters()) and list(loss.state_dict()) == ["centers"]
    assert isinstance(loss, Learner)


def test_centers_come_to_the_means_of_their_images():
    loss, output = CenterLoss(dim=4, classes=4, rate=1.5), batch()
    for _ in range(200):
        loss.update_state(output, LABELS, GO)
    for pid in range(3):
        np.testing.assert_allclose(loss.centers[pid], output.feats[pid == LABELS].mean(0).detach(), atol=1e-4)


def test_bfloat16_features():
    feats = batch().feats.detach().to(torch.bfloat16)
    loss = CenterLoss(dim=4, classes=4)
    value = loss(Output(feats, feats, ()), LABELS)
    assert value.dtype == torch.float32 and torch.isfinite(value)


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"rate 0; must be above 0"):
        CenterLoss(dim=4, classes=4, rate=0)
