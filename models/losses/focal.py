"""The focal ID loss: cross entropy that counts images less the better they are classified."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from models.net import Output, at_least_float32

LEAST = 1e-12  # of 1 - p: a power below 1 has no gradient at 0


def focal_loss(*, gamma: float = 2.0) -> Callable[..., Tensor]:
    """Mean over classifiers and images of `-(1 - p)^gamma log p`, p of the true class (Lin et al., ICCV 2017, eq. 4).

    Differs from the paper:
    - p is by softmax over the identities, not by a sigmoid for each.
    - No class is weighted.

    Args:
        gamma: 0 or more. 0 gives the cross entropy.

    Raises:
        ValueError: another gamma.
    """
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma {gamma!r}; must be 0 or more")

    def loss(output: Output, labels: Tensor, t: float | Tensor = math.inf) -> Tensor:
        return torch.stack([one(at_least_float32(logits), labels) for logits in output.logits]).mean()

    def one(logits: Tensor, labels: Tensor) -> Tensor:
        log_p = torch.log_softmax(logits, dim=1).gather(1, labels[:, None]).squeeze(1)
        return -((-torch.expm1(log_p)).clamp(min=LEAST).pow(gamma) * log_p).mean()

    return loss
