"""Warm-ups and cosine against the written-out definitions, and against torch's own schedulers."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from configs.errors import ConfigError
from configs.load import load_build_config
from models.net import Output
from models.registry import make_schedule
from models.training.error_warmup import Warmup
from tests.oracles import constant_warmup, cosine_rate, gradual_warmup

BASE = 3.5e-4


def factors(text: str, epochs: int = 120):
    return make_schedule(load_build_config(["r50"], sets=[f"recipe.schedule={text}", f"recipe.epochs={epochs}"]).recipe)


def torchs(make, epochs: int) -> list[float]:
    """The rate of each epoch by one of torch's schedulers, over the base rate."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, rates = make(optimizer), []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant():
    rate = factors("constant")
    assert rate(0.01) == rate(60) == rate(120) == 1


@pytest.mark.parametrize("lowest", [0.0, 0.01])
def test_cosine(lowest):
    rate = factors(f"{{name: cosine, lowest: {lowest}}}", 30)
    for t in np.linspace(0, 30, 61):
        assert BASE * rate(t) == pytest.approx(cosine_rate(t, BASE, 30, BASE * lowest), abs=1e-12)
    by_torch = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, 30, eta_min=lowest), 30)
    assert [rate(t) for t in range(30)] == pytest.approx(by_torch)


def test_constant_warmup():
    rate = factors("{name: constant_warmup, warmup: 7, factor: 0.3}")
    for epoch in range(120):
        for t in (epoch + 0.25, epoch + 1):  # the first epoch's steps end in (0, 1]
            assert BASE * rate(t) == pytest.approx(constant_warmup(epoch, BASE, 0.3, 7))
    by_torch = torchs(lambda o: lr_scheduler.ConstantLR(o, 0.3, total_iters=7), 20)
    assert [rate(t + 1) for t in range(20)] == pytest.approx(by_torch)


@pytest.mark.parametrize("multiplier", [1.0, 8.0])
def test_gradual_warmup(multiplier):
    rate = factors(f"{{name: gradual_warmup, warmup: 10, multiplier: {multiplier}}}")
    for t in np.linspace(0.1, 120, 240):
        assert BASE * rate(t) == pytest.approx(gradual_warmup(t, BASE, multiplier, 10), rel=1e-12)


def test_gradual_warmup_then_cosine():
    rate = factors("{name: gradual_warmup, warmup: 10, multiplier: 8, then: {name: cosine, lowest: 0.1}}", 60)
    over, left = 5, 55  # of 60 epochs, 10 of 120 are 5

    def after(t: float, base: float) -> float:
        return cosine_rate(t, base, left, base * 0.1)

    for t in np.linspace(0.1, 60, 120):
        assert BASE * rate(t) == pytest.approx(gradual_warmup(t, BASE, 8, over, after), rel=1e-12)


def test_gradual_warmup_then_cosine_is_torchs():
    rate = factors("{name: gradual_warmup, warmup: 8, multiplier: 4, of: 40, then: cosine}", 40)

    def chained(optimizer: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
        up = lr_scheduler.LinearLR(optimizer, start_factor=0.25, end_factor=1, total_iters=8)
        down = lr_scheduler.CosineAnnealingLR(optimizer, 32)
        return lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[8])

    assert [rate(t) / 4 for t in range(40)] == pytest.approx(torchs(chained, 40))


def test_constant_warmup_then_steps():
    rate = factors("{name: constant_warmup, warmup: 20, then: {name: steps, warmup: 0, milestones: [50], of: 100}}")
    assert [rate(t) for t in (1, 20, 21, 70, 71, 120)] == pytest.approx([0.1, 0.1, 1, 1, 0.1, 0.1])


def test_the_rate_is_constant_until_the_training_error_falls_below_80_percent():
    """Batches of ten: all missed, then nine of ten, then half. The running mean is worked out here."""
    how = factors("{name: error_warmup, factor: 0.2, error: 0.8, then: cosine}")
    warm, error, seen = Warmup(how, base=1e-3), 1.0, []
    labels, go = torch.arange(10), torch.tensor(False)
    for missed in [10] * 5 + [9] * 5 + [5] * 9 + [10] * 20:
        scheduled = torch.tensor(7e-4, dtype=torch.float64)
        seen.append((warm.rate(scheduled).item(), error))
        guessed = torch.where(labels < missed, (labels + 1) % 10, labels)
        warm.update_state(Output(labels, labels, (torch.eye(10)[guessed],)), labels, go)
        error = 0.9 * error + 0.1 * missed / 10
    below = next(i for i, (_, e) in enumerate(seen) if e < 0.8)
    assert [rate for rate, _ in seen] == pytest.approx([2e-4] * below + [7e-4] * (len(seen) - below))
    assert 10 < below < 20 and seen[-1][1] > 0.9, "for good"


def test_a_batch_that_is_passed_over_is_not_counted():
    warm = Warmup(factors("error_warmup"), base=1e-3)
    warm.update_state(Output(torch.zeros(2), torch.zeros(2), (torch.eye(2),)), torch.arange(2), torch.tensor(True))
    assert warm.error.item() == 1 and warm.over.item() == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: cosine, then: constant}", "schedule 'cosine' has no option 'then'; it has: lowest"),
        ("{name: cosine, lowest: 2}", "lowest 2"),
        ("{name: gradual_warmup, multiplier: 0.5}", "multiplier 0.5; must be 1 or more"),
        ("{name: gradual_warmup, warmup: 120}", "shorter than the run"),
        ("{name: gradual_warmup, then: {name: cosin}}", "unknown schedule 'cosin'; models/registry.py has: steps"),
        ("{name: constant_warmup, factor: 0}", "factor 0"),
        ("{name: error_warmup, factor: 0}", "factor 0"),
        ("{name: error_warmup, error: 80}", "error 80; must be a share of the images"),
    ],
)
def test_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        factors(text)
