"""Losses: an Output, labels and the time in, a scalar out. One per file, listed in models/registry.py.

The time is in epochs since the start of training, as a number or a tensor () on the features' device.
Without it, the loss is that of the end of training.
A loss and its gradient can be captured: they read nothing back from the device, and no shape depends on a value.
Sums have a fixed order.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from models.net import Output


@runtime_checkable
class Learner(Protocol):
    """A loss with a state of its own, updated after each step."""

    def update_state(self, output: Output, labels: Tensor, skip: Tensor, t: float | Tensor) -> None:
        """Update the state by the batch of the last step, at the time t. No update if `skip` () is true."""
