"""The running mean of the weights: its closed form, and that the member is it."""

import pytest
import torch
from torch import nn

from models.training.ema import Ema


def test_three_steps_in_closed_form():
    """d = 1/10, 2/11, 3/12 while they are below the decay; here the third is held at 0.2."""
    ema = Ema(0.2, {"a.weight": torch.tensor([1.0]), "a.seen": torch.tensor(0)})
    for n, value in enumerate((2.0, 4.0, 8.0)):
        ema.update([torch.tensor([value]), torch.tensor(n + 1)])
    one = 0.1 * 1 + 0.9 * 2
    two = 2 / 11 * one + 9 / 11 * 4
    three = 0.2 * two + 0.8 * 8
    assert ema.state()["a.weight"].item() == pytest.approx(three, rel=1e-6) and ema.state()["a.seen"] == 3


def test_a_long_run_has_the_decay_that_was_asked_for():
    ema = Ema(0.9, {"w": torch.zeros(1)})
    ema.steps.fill_(1000)
    ema.update([torch.ones(1)])
    ema.update([torch.ones(1)])
    assert ema.state()["w"].item() == pytest.approx(1 - 0.9**2, rel=1e-6)


def test_what_does_not_move_keeps_its_bits():
    values = [torch.rand(1000) * 10.0**i for i in range(-8, 8)]
    ema = Ema(0.999, {str(i): v for i, v in enumerate(values)})
    for _ in range(5):
        ema.update(values)
    assert all(torch.equal(a, b) for a, b in zip(ema.values(), values, strict=True))


def test_its_state_is_saved_and_loaded():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    one, two = (Ema(0.99, net.state_dict()) for _ in range(2))
    other = [v + 1 for v in net.state_dict().values()]
    one.update(other)
    two.load_state_dict(one.state_dict())
    one.update(other)
    two.update(other)
    assert all(torch.equal(a, b) for a, b in zip(one.values(), two.values(), strict=True))
    assert list(one.state()) == list(net.state_dict()) and not torch.equal(one.values()[0], net[0].weight)
