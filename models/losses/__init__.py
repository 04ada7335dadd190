"""Losses: an Output, labels and the time in, a scalar out. One a file; models/registry.py names them.

The time is in epochs since the start of training, of which what grows is a pure function; left out, it is the end. It
may be a tensor () on the features' device. A loss and its gradient wait for nothing, and no shape in them depends on a
value, so that a step can be captured; sums are in an order that repeats.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from models.net import Output


@runtime_checkable
class Learner(Protocol):
    """A loss that has something of its own to learn after each step of the network."""

    def learn(self, output: Output, labels: Tensor, skip: Tensor, t: float | Tensor) -> None:
        """Move what is its own, by the batch that the network has just learned from at the time t.

        Not where `skip` () is true.
        """
