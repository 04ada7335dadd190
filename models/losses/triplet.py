"""The batch-hard triplet loss, by cosine or Euclidean distance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from models.net import Output, at_least_float32

DISTANCES = ("cosine", "euclidean")


def triplet_loss(
    *,
    epochs: float = 120,
    margin: float | Literal["soft"] = 0.3,
    distance: Literal["cosine", "euclidean"] = "cosine",
    start: float | None = None,
    by: Literal["time", "gap"] = "time",
    rise: Sequence[float] = (10, 40),
    every: float = 5,
    step: float = 0.05,
    of: float = 120,
) -> Callable[..., Tensor]:
    """Mean over anchors of `max(0, margin + d(a, p) - d(a, n))` (Hermans et al. 2017, eq. 5).

    p is the farthest image of the anchor's identity and n the nearest of another identity.
    An anchor without a positive (other than itself) or without a negative does not count.
    With several branches, the loss is the mean over their features (Wang et al. 2018, MGN, section 3.2).

    Args:
        epochs: of this run.
        margin: in units of the distance. "soft" is `log(1 + exp(d(a, p) - d(a, n)))` (section 3.2).
        distance: "cosine" is 1 - cosine, from 0 to 2. "euclidean" is |a - b| of the features, not normalised.
        start: the initial margin, if it changes. A large margin may not converge from the start.
        by: "time" raises the margin linearly. "gap" moves it by the reached gap (`GapMargin`).
        rise: by time: begin and end of the rise from `start` to `margin`. Equal values are a jump.
        every, step: by gap: epochs between two updates, and the size of an update.
        of: times are in epochs of a run of `of` epochs, scaled to this run's length.

    Raises:
        ValueError: an option out of bounds, or options that do not fit together.
    """
    _check_margin(margin, distance, start)
    if by not in ("time", "gap"):
        raise ValueError(f"unknown by {by!r}; there are: time, gap")
    if by == "gap":
        if isinstance(margin, str) or start is None:
            raise ValueError(f"by gap with margin {margin!r} and start {start!r}; both must be numbers")
        return GapMargin(margin, start, distance, every * epochs / of if of > 0 else 0, step)
    if len(rise) != 2 or not 0 <= rise[0] <= rise[1] or of <= 0:
        raise ValueError(f"rise {list(rise)} of {of}; must be two times in order, 0 or more, of a run above 0")

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        if isinstance(margin, str) or start is None:
            now: float | Tensor | Literal["soft"] = margin
        else:
            now = start + (margin - start) * grown(t * of / epochs, rise)
        return hinge(output, labels, now, distance)

    return loss


class GapMargin(nn.Module):
    """The triplet loss with a margin that follows the gap g. This project's own.

    g is the mean of d(a, n) - d(a, p) over all anchors since the last update, with the hardest p and n.
    The margin begins at `start` and is updated every `every` epochs:
    - g at least the margin: it rises by `step`, to at most `margin`.
    - g below 0 (the hardest negatives are nearer than the hardest positives): it falls by `step`, to at least 0.
    - Otherwise it does not change.

    Margin and sums are buffers: they are part of the checkpoint, and no step waits for them.
    """

    now: Tensor
    looks: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, margin: float, start: float, distance: str, every: float, step: float) -> None:
        """every: epochs of this run."""
        super().__init__()
        if not (0 < every < math.inf and 0 < step < math.inf):
            raise ValueError(f"every {every!r} epochs of this run, step {step!r}; both must be above 0")
        self.most = margin
        self.distance = distance
        self.every = every
        self.step = step
        for name, value in (("now", start), ("looks", 0.0), ("total", 0.0), ("count", 0.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        """The loss with the current margin. The state does not change."""
        return hinge(output, labels, self.now, self.distance)

    @torch.no_grad()
    def update_state(self, output: Output, labels: Tensor, skip: Tensor, t: float | Tensor) -> None:
        """Add a batch to the gap unless `skip` () is true. When an update is due, move the margin and reset the gap."""
        for feats in output.branches:
            gap, both = hardest_gap(feats, labels, self.distance)
            fine = both & ~skip
            self.total.sub_(gap.double().where(fine, 0).sum())
            self.count.add_(fine.sum())
        due = torch.floor(torch.as_tensor(t, dtype=torch.float64, device=self.now.device) / self.every)
        look = due > self.looks
        mean = self.total / self.count.clamp(min=1)
        move = self.step * ((mean >= self.now).double() - (mean < 0).double())
        moved = (self.now + move.where(self.count > 0, 0)).clamp(0, self.most)
        self.now.copy_(torch.where(look, moved, self.now))
        self.total.mul_(~look)
        self.count.mul_(~look)
        self.looks.copy_(torch.maximum(due, self.looks))


def hinge(output: Output, labels: Tensor, margin: float | Tensor | Literal["soft"], distance: str) -> Tensor:
    """The mean over branches of the mean over anchors."""

    def one(feats: Tensor) -> Tensor:
        gap, both = hardest_gap(feats, labels, distance)
        each = softplus(gap) if isinstance(margin, str) else torch.relu(gap + margin).to(gap.dtype)
        return each.where(both, 0).sum() / both.sum().clamp(min=1)

    return torch.stack([one(feats) for feats in output.branches]).mean()


def grown(t: float | Tensor, rise: Sequence[float]) -> float | Tensor:
    """The share of the rise at the time t, 0 to 1."""
    begin, end = rise
    if isinstance(t, Tensor):  # on the device: its value cannot be read without waiting
        return (t >= end).to(t.dtype) if begin == end else ((t - begin) / (end - begin)).clamp(0, 1)
    if t >= end:
        return 1.0
    return 0.0 if t <= begin else (t - begin) / (end - begin)


def hardest_gap(feats: Tensor, labels: Tensor, distance: str = "cosine") -> tuple[Tensor, Tensor]:
    """(B,) distance to the hardest positive minus that to the hardest negative, and (B,) which anchors have both.

    The distance is 0 for anchors that do not.
    No shape depends on a value, and the gradient is a sum in a fixed order.
    """
    dist = distances(at_least_float32(feats), distance)
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    positive, negative = same & ~itself, ~same
    both = positive.any(dim=1) & negative.any(dim=1)
    farthest = dist.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = dist.masked_fill(~negative, torch.inf).amin(dim=1)
    return farthest.masked_fill(~both, 0) - nearest.masked_fill(~both, 0), both


def distances(feats: Tensor, distance: str) -> Tensor:
    """(B, B) distances of features (B, D).

    For Euclidean distances the mean is subtracted first: it changes no distance and reduces rounding errors.
    They are at least 1e-6, since the square root has no gradient at 0.
    """
    if distance == "cosine":
        unit = normalize(feats, dim=1, eps=1e-6)
        return 1 - unit @ unit.T
    away = feats - feats.mean(dim=0)
    square = away.square().sum(dim=1)
    return (square[:, None] + square[None, :] - 2 * away @ away.T).clamp(min=1e-12).sqrt()


def _check_margin(margin: float | str, distance: str, start: float | None) -> None:
    if distance not in DISTANCES:
        raise ValueError(f"unknown distance {distance!r}; there are: {', '.join(DISTANCES)}")
    if margin != "soft" and (isinstance(margin, str) or not 0 <= margin < math.inf):
        raise ValueError(f"margin {margin!r}; must be 0 or more, or soft")
    if distance == "cosine" and not isinstance(margin, str) and margin > 2:
        raise ValueError(f"margin {margin!r}; must be at most 2, since the distance cosine is from 0 to 2")
    if start is not None and (isinstance(margin, str) or not 0 <= start <= margin):
        raise ValueError(f"start {start!r} with margin {margin!r}; must be from 0 to the margin")
