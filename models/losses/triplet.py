"""The triplet loss, batch hard, by cosine distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from models.net import Output, at_least_float32


def triplet_loss(
    *,
    epochs: float = 120,
    margin: float | Literal["soft"] = 0.3,
    start: float | None = None,
    rise: Sequence[float] = (10, 40),
    of: float = 120,
) -> Callable[..., Tensor]:
    """Mean over anchors of `max(0, margin + d(a, p) - d(a, n))` (Hermans et al. 2017, eq. 5), d = 1 - cosine.

    For each image p is the farthest of its own identity and n the nearest of another; the distances that choose them
    are the ones in the loss. An anchor without a positive (itself aside) or without a negative counts nothing. Where
    the head has several branches, the loss is the mean over their features (Wang et al. 2018, MGN, section 3.2).

    Args:
        epochs: of this run.
        margin: in cosine distance, which goes from 0 to 2; "soft" is `log(1 + exp(d(a, p) - d(a, n)))` (section 3.2).
        start: the margin at first, where it is to grow, since a large one may not converge from the start.
        rise: from when to when the margin goes from `start` to `margin` on a straight line; twice the same is a jump.
            In epochs of a run of `of` epochs; a longer or shorter run stretches it in proportion.

    Raises:
        ValueError: a margin that is neither a number of 0 or more nor "soft", or one that cannot grow so.
    """
    if margin != "soft" and (isinstance(margin, str) or not 0 <= margin < math.inf):
        raise ValueError(f"margin {margin!r}; wanted a number of 0 or more, or soft")
    if start is not None and (isinstance(margin, str) or not 0 <= start <= margin):
        raise ValueError(f"start {start!r} with margin {margin!r}; wanted a number from 0 to the margin")
    if len(rise) != 2 or not 0 <= rise[0] <= rise[1] or of <= 0:
        raise ValueError(f"rise {list(rise)} of {of}; wanted two times in order, 0 or more, of a run above 0")

    def loss(output: Output, labels: Tensor, t: float = math.inf) -> Tensor:
        return torch.stack([one(feats, labels, t) for feats in output.branches]).mean()

    def one(feats: Tensor, labels: Tensor, t: float) -> Tensor:
        gap = hardest_gap(feats, labels)
        if not len(gap):
            return feats.sum() * 0
        if isinstance(margin, str):
            return softplus(gap).mean()
        wanted = margin if start is None else start + (margin - start) * grown(t * of / epochs, rise)
        return torch.relu(gap + wanted).mean()

    return loss


def grown(t: float, rise: Sequence[float]) -> float:
    """The share of a rise that is done at t, of 0 to 1: a pure function of the time, so it resumes by itself."""
    if t >= rise[1]:
        return 1.0
    return 0.0 if t <= rise[0] else (t - rise[0]) / (rise[1] - rise[0])


def hardest_gap(feats: Tensor, labels: Tensor) -> Tensor:
    """(A,) distance to the hardest positive less that to the hardest negative, for the A anchors that have both."""
    unit = normalize(at_least_float32(feats), dim=1, eps=1e-6)
    dist = 1 - unit @ unit.T
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive = dist.masked_fill(~same | itself, -torch.inf).amax(dim=1)
    negative = dist.masked_fill(same, torch.inf).amin(dim=1)
    both = torch.isfinite(positive) & torch.isfinite(negative)
    return positive[both] - negative[both]
