"""Stochastic depth whose random numbers come from outside, so that a step repeats, resumes and can be captured."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, zero for an image with probability `rate`, else divided by 1 - rate (Huang et al., ECCV 2016).

    The residual branch of a block goes through it. The paper multiplies by 1 - rate in use, and not in training.

    Args:
        rate: at least 0, below 1.
        scale: whether to divide.
    """

    drawn: Tensor | None

    def __init__(self, rate: float, scale: bool = True) -> None:
        super().__init__()
        self.rate = rate
        self.divisor = 1 - rate if scale else 1.0
        self.register_buffer("drawn", None, persistent=False)

    def draw(self, numbers: Tensor) -> None:
        """Set the uniform numbers (B,) of the next step, one an image."""
        if self.drawn is None or self.drawn.shape != numbers.shape:
            self.drawn = numbers.float()
        else:
            self.drawn.copy_(numbers)

    def forward(self, x: Tensor) -> Tensor:
        """(B * P, ...) -> the same shape; the P pieces of an image side by side share its number."""
        if not self.training or not self.rate:
            return x
        if self.drawn is None:
            raise RuntimeError("a drop path is in training without its numbers: Net.draw_paths sets them")
        keep = (self.drawn >= self.rate).to(x.dtype) / self.divisor
        keep = keep.repeat_interleave(x.shape[0] // len(keep)) if x.shape[0] != len(keep) else keep
        return x * keep.view(-1, *[1] * (x.dim() - 1))


def rising(rate: float, blocks: int) -> list[float]:
    """The rate of each block: 0 for the first, `rate` for the last, in equal steps (section 3, linear decay)."""
    return torch.linspace(0, rate, blocks, device="cpu").tolist()
