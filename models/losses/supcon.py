"""The supervised contrastive loss: each positive against all other images of the batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from models.losses.pairs import cosines, mean_of, pairs
from models.net import Output


def supcon_loss(*, temperature: float = 0.1) -> Callable[..., Tensor]:
    """Mean over anchors i of the mean over positives p of `-log(exp(z_i z_p / t) / sum_a exp(z_i z_a / t))`.

    That is L_out of Khosla et al., NeurIPS 2020, eq. 2. z are unit features, and a is every image but i.
    An anchor without a positive does not count. With several branches, the loss is the mean over their features.

    Differs from the paper:
    - z are the features themselves, without a projection.
    - The images of a batch are different images, not two views of each.

    Args:
        temperature: t, above 0.

    Raises:
        ValueError: another temperature.
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature {temperature!r}; must be above 0")

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        return torch.stack([one(feats, labels) for feats in output.branches]).mean()

    def one(feats: Tensor, labels: Tensor) -> Tensor:
        positive, negative = pairs(labels)
        anchors = positive.any(dim=1)
        similar = cosines(feats) / temperature
        others = similar.masked_fill(~(positive | negative), -torch.inf).masked_fill(~anchors[:, None], 0)
        log_p = others.log_softmax(dim=1).where(positive, 0)
        return mean_of(-log_p.sum(dim=1) / positive.sum(dim=1).clamp(min=1), anchors)

    return loss
