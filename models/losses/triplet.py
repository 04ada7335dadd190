"""The triplet loss, batch hard, by cosine distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from models.net import Output


def triplet_loss(*, margin: float | Literal["soft"] = 0.3) -> Callable[[Output, Tensor], Tensor]:
    """Mean over anchors of `max(0, margin + d(a, p) - d(a, n))` (Hermans et al. 2017, eq. 5), d = 1 - cosine on `feats`.

    For each image p is the farthest of its own identity and n the nearest of another; the distances that choose them
    are the ones in the loss. An anchor without a positive (itself aside) or without a negative counts nothing.

    Args:
        margin: in cosine distance, which goes from 0 to 2; "soft" is `log(1 + exp(d(a, p) - d(a, n)))` (section 3.2).

    Raises:
        ValueError: a margin that is neither a number of 0 or more nor "soft".
    """
    if margin != "soft" and (isinstance(margin, str) or margin < 0):
        raise ValueError(f"margin {margin!r}; wanted a number of 0 or more, or soft")

    def loss(output: Output, labels: Tensor) -> Tensor:
        gap = hardest_gap(output.feats, labels)
        if not len(gap):
            return output.feats.sum() * 0
        return softplus(gap).mean() if margin == "soft" else torch.relu(gap + margin).mean()

    return loss


def hardest_gap(feats: Tensor, labels: Tensor) -> Tensor:
    """(A,) distance to the hardest positive less that to the hardest negative, for the A anchors that have both."""
    unit = normalize(feats.float(), dim=1, eps=1e-6)
    dist = 1 - unit @ unit.T
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = dist.masked_fill(~same | itself, -torch.inf).amax(dim=1)
    negative = dist.masked_fill(same, torch.inf).amin(dim=1)
    both = torch.isfinite(positive) & torch.isfinite(negative)
    return positive[both] - negative[both]
