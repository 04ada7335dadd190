"""The circle loss: similarities to positives and negatives, each weighted by its distance from its optimum."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from models.losses.pairs import cosines, mean_of, pairs
from models.net import Output


def circle_loss(*, margin: float = 0.25, gamma: float = 256.0) -> Callable[..., Tensor]:
    """Mean over anchors of the circle loss on pairs (Sun et al., CVPR 2020, eq. 6; defaults: its re-ID).

    With s_p and s_n the cosines to the positives and negatives of an anchor, it is
    `log(1 + sum_n exp(gamma a_n (s_n - margin)) sum_p exp(-gamma a_p (s_p - 1 + margin)))`
    where `a_p = max(0, 1 + margin - s_p)` and `a_n = max(0, s_n + margin)` (eq. 5, section 3.2).
    The weights a are constants for the gradient, as in section 3.3.
    An anchor without a positive (other than itself) or without a negative does not count.
    With several branches, the loss is the mean over their features.

    Args:
        margin: m, from 0 to 1. gamma: above 0.

    Raises:
        ValueError: an option out of bounds.
    """
    if not 0 <= margin <= 1:
        raise ValueError(f"margin {margin!r}; must be from 0 to 1")
    if not 0 < gamma < math.inf:
        raise ValueError(f"gamma {gamma!r}; must be above 0")

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        return torch.stack([one(feats, labels) for feats in output.branches]).mean()

    def one(feats: Tensor, labels: Tensor) -> Tensor:
        similar = cosines(feats)
        positive, negative = pairs(labels)
        anchors = positive.any(dim=1) & negative.any(dim=1)
        away = (1 + margin - similar.detach()).relu(), (similar.detach() + margin).relu()
        near = _largest(-gamma * away[0] * (similar - 1 + margin), positive, anchors)
        far = _largest(gamma * away[1] * (similar - margin), negative, anchors)
        return mean_of(softplus(near + far), anchors)

    return loss


def _largest(values: Tensor, among: Tensor, anchors: Tensor) -> Tensor:
    """(B,) the logarithm of the sum of exponentials of some values of each row; of rows that do not count anything."""
    return values.masked_fill(~among, -torch.inf).masked_fill(~anchors[:, None], 0).logsumexp(dim=1)
