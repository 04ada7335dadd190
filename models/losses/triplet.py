"""The triplet loss, batch hard, by cosine or Euclidean distance."""

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

    For each image p is the farthest of its own identity and n the nearest of another; the distances that choose them
    are the ones in the loss. An anchor without a positive (itself aside) or without a negative counts nothing. Where
    the head has several branches, the loss is the mean over their features (Wang et al. 2018, MGN, section 3.2).

    Args:
        epochs: of this run.
        margin: in the distance; "soft" is `log(1 + exp(d(a, p) - d(a, n)))` (section 3.2).
        distance: "cosine" is 1 - cosine, from 0 to 2; "euclidean" is |a - b| of the features as they are.
        start: the margin at first, where it is to change, since a large one may not converge from the start.
        by: what changes it: "time", on a straight line, or "gap", by what training reaches (`GapMargin`).
        rise: by time: from when to when the margin goes from `start` to `margin`; twice the same is a jump.
        every, step: by gap: epochs from one look to the next, and how far the margin moves.
        of: times are in epochs of a run of `of` epochs; a longer or shorter run stretches them in proportion.

    Raises:
        ValueError: a margin that is neither a number of 0 or more nor "soft" or that cosine distances cannot have,
            another distance, or a margin that cannot change so.
    """
    _check_margin(margin, distance, start)
    if by not in ("time", "gap"):
        raise ValueError(f"by {by!r}; there are time, gap")
    if by == "gap":
        if isinstance(margin, str) or start is None:
            raise ValueError(f"by gap with margin {margin!r} and start {start!r}; wanted two numbers")
        return GapMargin(margin, start, distance, every * epochs / of if of > 0 else 0, step)
    if len(rise) != 2 or not 0 <= rise[0] <= rise[1] or of <= 0:
        raise ValueError(f"rise {list(rise)} of {of}; wanted two times in order, 0 or more, of a run above 0")

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        if isinstance(margin, str) or start is None:
            now: float | Tensor | Literal["soft"] = margin
        else:
            now = start + (margin - start) * grown(t * of / epochs, rise)
        return hinge(output, labels, now, distance)

    return loss


class GapMargin(nn.Module):
    """The triplet loss whose margin is raised and lowered by what training reaches.

    Every so many epochs g is looked at, the mean of d(a, n) - d(a, p) over all anchors since the last look, hardest
    ones as in the loss. Where g has reached the margin, the margin is raised by `step`, to `margin` at most. Where g is
    below 0, so that the hardest negatives are nearer than the hardest positives, it is lowered by `step`, to 0 at
    least. Otherwise it stays. It begins at `start`. This project's own.

    Margin and sums are buffers: they lie in the checkpoint, and on the device, where no step waits for them.
    """

    now: Tensor
    looks: Tensor
    total: Tensor
    count: Tensor

    def __init__(self, margin: float, start: float, distance: str, every: float, step: float) -> None:
        """every: epochs of this run."""
        super().__init__()
        if not (0 < every < math.inf and 0 < step < math.inf):
            raise ValueError(f"every {every!r} epochs of this run, step {step!r}; wanted numbers above 0")
        self.most, self.distance, self.every, self.step = margin, distance, every, step
        for name, value in (("now", start), ("looks", 0.0), ("total", 0.0), ("count", 0.0)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float64))

    def forward(self, output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        """The loss under the margin as it stands; nothing moves."""
        return hinge(output, labels, self.now, self.distance)

    @torch.no_grad()
    def learn(self, output: Output, labels: Tensor, skip: Tensor, t: float | Tensor) -> None:
        """Count a batch in, unless `skip` () is true; at the time of a look move the margin, and begin anew."""
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
    """The share of a rise that is done at t, of 0 to 1: a pure function of the time, so it resumes by itself."""
    begin, end = rise
    if isinstance(t, Tensor):  # on the device of the features, where nobody can ask which it is
        return (t >= end).to(t.dtype) if begin == end else ((t - begin) / (end - begin)).clamp(0, 1)
    if t >= end:
        return 1.0
    return 0.0 if t <= begin else (t - begin) / (end - begin)


def hardest_gap(feats: Tensor, labels: Tensor, distance: str = "cosine") -> tuple[Tensor, Tensor]:
    """(B,) distance to the hardest positive less that to the hardest negative, and (B,) which anchors have both.

    0 for the others. No shape depends on a value, and the gradient is a sum in a fixed order.
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
    """(B, B) of features (B, D).

    Euclidean ones are of features less their mean, which changes no distance and rounds less, and are 1e-6 at least,
    since a root has no gradient at 0.
    """
    if distance == "cosine":
        unit = normalize(feats, dim=1, eps=1e-6)
        return 1 - unit @ unit.T
    away = feats - feats.mean(dim=0)
    square = away.square().sum(dim=1)
    return (square[:, None] + square[None, :] - 2 * away @ away.T).clamp(min=1e-12).sqrt()


def _check_margin(margin: float | str, distance: str, start: float | None) -> None:
    if distance not in DISTANCES:
        raise ValueError(f"distance {distance!r}; there are {', '.join(DISTANCES)}")
    if margin != "soft" and (isinstance(margin, str) or not 0 <= margin < math.inf):
        raise ValueError(f"margin {margin!r}; wanted a number of 0 or more, or soft")
    if distance == "cosine" and not isinstance(margin, str) and margin > 2:
        raise ValueError(f"margin {margin!r} with distance cosine, which goes from 0 to 2; wanted 2 at most")
    if start is not None and (isinstance(margin, str) or not 0 <= start <= margin):
        raise ValueError(f"start {start!r} with margin {margin!r}; wanted a number from 0 to the margin")
