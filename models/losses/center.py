"""The centre loss: every identity has a centre that its features are drawn to."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.net import Output


class CenterLoss(nn.Module):
    """Mean over images of half the squared distance to the centre of the identity (Wen et al., ECCV 2016, eq. 2).

    The centres follow their images by plain gradient steps on this loss itself, with a rate of their own, whatever
    weight the loss has in the total and whatever rate the network has: the loss holds them constant, and `learn` moves
    them. Differs from the paper: the mean over the batch, not the sum; a centre's step is not divided by 1 + the
    number of its images (eq. 4); the centres start at the origin, so that there is no random start to keep.
    """

    centers: Tensor

    def __init__(self, *, dim: int, classes: int, rate: float = 0.5) -> None:
        super().__init__()
        if not rate > 0:
            raise ValueError(f"rate {rate!r}; wanted a number above 0")
        self.rate = rate
        self.register_buffer("centers", torch.zeros(classes, dim))

    def forward(self, output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        """Features (B, D) and labels (B,) to a scalar; the centres stay."""
        away = output.feats.to(self.centers.dtype) - self.centers[labels]
        return away.square().sum(dim=1).mean() / 2

    @torch.no_grad()
    def learn(self, output: Output, labels: Tensor, skip: Tensor, t: float | Tensor = math.inf) -> None:
        """One gradient step of the centres towards the images of a batch; none where `skip` () is true.

        An identity's images are added up by a product, in one order; adding them one by one has none on a GPU.
        """
        toward = output.feats.to(self.centers.dtype) - self.centers[labels]
        same = (labels[:, None] == labels[None, :]).to(toward.dtype)
        moved = self.centers[labels] + self.rate / len(labels) * (same @ toward)
        self.centers.index_copy_(0, labels, torch.where(skip, self.centers[labels], moved))
