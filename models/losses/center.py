"""The centre loss: it pulls features to the centre of their identity."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.net import Output


class CenterLoss(nn.Module):
    """Mean over images of half the squared distance to the centre of the identity (Wen et al., ECCV 2016, eq. 2).

    `forward` holds the centres constant. `update_state` moves them by a gradient step on this loss.
    Their rate is independent of the network's rate and of the weight of the loss.

    Differs from the paper:
    - The loss is the mean over the batch, not the sum.
    - A centre's step is not divided by 1 + the number of its images (eq. 4).
    - The centres start at the origin.
    """

    centers: Tensor

    def __init__(self, *, dim: int, classes: int, rate: float = 0.5) -> None:
        super().__init__()
        if not rate > 0:
            raise ValueError(f"rate {rate!r}; must be above 0")
        self.rate = rate
        self.register_buffer("centers", torch.zeros(classes, dim))

    def forward(self, output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        """Features (B, D) and labels (B,) -> a scalar. The centres do not move."""
        away = output.feats.to(self.centers.dtype) - self.centers[labels]
        return away.square().sum(dim=1).mean() / 2

    @torch.no_grad()
    def update_state(self, output: Output, labels: Tensor, skip: Tensor, t: float | Tensor = math.inf) -> None:
        """One gradient step of the centres towards the images of a batch. No step if `skip` () is true.

        A matrix product sums the images of an identity in a fixed order. A scatter-add on a GPU has no fixed order.
        """
        toward = output.feats.to(self.centers.dtype) - self.centers[labels]
        same = (labels[:, None] == labels[None, :]).to(toward.dtype)
        moved = self.centers[labels] + self.rate / len(labels) * (same @ toward)
        self.centers.index_copy_(0, labels, torch.where(skip, self.centers[labels], moved))
