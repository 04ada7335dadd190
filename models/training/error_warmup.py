"""The state of a warm-up that ends when the training error is low enough."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.lr_schedules import ErrorWarmup
from models.net import Output

KEPT = 0.9  # weight of the old mean in each step: about ten batches count


class Warmup(nn.Module):
    """Tracks the training error and gives the rate.

    The error is the share of images that the first classifier gets wrong, as a running mean that starts at 1.
    The warm-up ends when it is below the bound, and does not come back.
    The state is in buffers: it is part of the checkpoint, and no step waits for it.
    """

    error: Tensor
    over: Tensor
    used: Tensor

    def __init__(self, how: ErrorWarmup, base: float) -> None:
        """base: the base learning rate."""
        super().__init__()
        self.first = base * how.factor
        self.bound = how.error
        for name, value in (("error", 1.0), ("over", 0.0), ("used", 0.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    @torch.no_grad()
    def rate(self, scheduled: Tensor) -> Tensor:
        """The rate of this step, (): `scheduled` after the warm-up, else the warm-up's."""
        self.used.copy_(torch.where(self.over > 0, scheduled, self.first))
        return self.used

    @torch.no_grad()
    def update_state(self, output: Output, labels: Tensor, skip: Tensor) -> None:
        """Add a batch to the error unless `skip` () is true."""
        missed = (output.logits[0].argmax(dim=1) != labels).double().mean()
        self.error.copy_(torch.where(skip, self.error, KEPT * self.error + (1 - KEPT) * missed))
        self.over.copy_(torch.maximum(self.over, (self.error < self.bound).double()))
