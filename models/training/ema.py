"""A running mean of the weights, which is what a member is in the end (Tarvainen and Valpola, NeurIPS 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """After step n, from 0 on: mean = d mean + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)).

    The rising d is that of TensorFlow's ExponentialMovingAverage: in a short run the weights from the start are soon
    forgotten. Batch norms' statistics are averaged as weights are. Counters are copied.
    The state is in buffers: it is part of the checkpoint, and no step waits for it. torch's AveragedModel reads its
    count of steps on the host.
    """

    steps: Tensor

    def __init__(self, decay: float, state: Mapping[str, Tensor]) -> None:
        """state: a network's, as it starts."""
        super().__init__()
        self.decay, self.names = decay, tuple(state)
        self.register_buffer("steps", torch.zeros((), dtype=torch.float64))
        for name, value in state.items():
            self.register_buffer(_as_buffer(name), value.detach().clone())

    @torch.no_grad()
    def update(self, values: Sequence[Tensor]) -> None:
        """Take in the network's state after a step, in the order of `names`."""
        share = 1 - torch.clamp((1 + self.steps) / (10 + self.steps), max=self.decay)
        self.steps.add_(1)
        pairs = list(zip(self.values(), values, strict=True))
        means = [mean for mean, _ in pairs if mean.is_floating_point()]
        away = torch._foreach_sub([value for _, value in pairs if value.is_floating_point()], means)
        torch._foreach_mul_(away, share.float())
        torch._foreach_add_(means, away)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)

    def values(self) -> list[Tensor]:
        """The means, in the order of `names`."""
        return [self.get_buffer(_as_buffer(name)) for name in self.names]

    def state(self) -> dict[str, Tensor]:
        """The means under the network's names."""
        return dict(zip(self.names, self.values(), strict=True))


def _as_buffer(name: str) -> str:
    """A buffer's name holds no dots."""
    return name.replace(".", "/")
