"""A constant warm-up that lasts until the training error is low enough: what it has seen so far, and the rate now."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.lr_schedules import ErrorWarmup
from models.net import Output

KEPT = 0.9  # of the running mean, in each step: it looks back over some ten batches


class Warmup(nn.Module):
    """The error is the share of a batch's images whose identity the first classifier misses, as a running mean from 1.

    Once it is below the bound the warm-up is over for good. Its numbers are buffers: in the checkpoint, and on the
    device, where no step waits for them.
    """

    error: Tensor
    over: Tensor
    used: Tensor

    def __init__(self, how: ErrorWarmup, base: float) -> None:
        """base: the rate that factors are of."""
        super().__init__()
        self.first, self.bound = base * how.factor, how.error
        for name, value in (("error", 1.0), ("over", 0.0), ("used", 0.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    @torch.no_grad()
    def rate(self, scheduled: Tensor) -> Tensor:
        """The rate of this step, (), where the schedule says so much."""
        self.used.copy_(torch.where(self.over > 0, scheduled, self.first))
        return self.used

    @torch.no_grad()
    def learn(self, output: Output, labels: Tensor, skip: Tensor) -> None:
        """Count a batch in, unless `skip` () is true."""
        missed = (output.logits[0].argmax(dim=1) != labels).double().mean()
        self.error.copy_(torch.where(skip, self.error, KEPT * self.error + (1 - KEPT) * missed))
        self.over.copy_(torch.maximum(self.over, (self.error < self.bound).double()))
