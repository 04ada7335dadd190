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

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        return torch.stack([one(feats, labels, t) for feats in output.branches]).mean()

    def one(feats: Tensor, labels: Tensor, t: float | Tensor) -> Tensor:
        gap, both = hardest_gap(feats, labels)
        if isinstance(margin, str):
            each = softplus(gap)
        else:
            each = torch.relu(
                gap + (margin if start is None else start + (margin - start) * grown(t * of / epochs, rise))
            )
        return each.where(both, 0).sum() / both.sum().clamp(min=1)

    return loss


def grown(t: float | Tensor, rise: Sequence[float]) -> float | Tensor:
    """The share of a rise that is done at t, of 0 to 1: a pure function of the time, so it resumes by itself."""
    begin, end = rise
    if isinstance(t, Tensor):  # on the device of the features, where nobody can ask which it is
        return (t >= end).to(t.dtype) if begin == end else ((t - begin) / (end - begin)).clamp(0, 1)
    if t >= end:
        return 1.0
    return 0.0 if t <= begin else (t - begin) / (end - begin)


def hardest_gap(feats: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) distance to the hardest positive less that to the hardest negative, and (B,) which anchors have both.

    0 for the others. No shape depends on a value, and the gradient is a sum in a fixed order.
    """
    unit = normalize(at_least_float32(feats), dim=1, eps=1e-6)
    dist = 1 - unit @ unit.T
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive, negative = same & ~itself, ~same
    both = positive.any(dim=1) & negative.any(dim=1)
    farthest = dist.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = dist.masked_fill(~negative, torch.inf).amin(dim=1)
    return farthest.masked_fill(~both, 0) - nearest.masked_fill(~both, 0), both
