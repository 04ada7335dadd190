"""Classifiers: the feature of a part in, a logit for each identity out. Listed in models/registry.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as product
from torch.nn.functional import normalize

from models.net import at_least_float32

Classify = Callable[[int, int], nn.Module]  # features of so many values, so many identities -> a classifier


def linear(width: int, classes: int) -> nn.Linear:
    """Products with a weight for each identity, without a bias (Luo et al. 2019, section 3.6)."""
    made = nn.Linear(width, classes, bias=False)
    nn.init.normal_(made.weight, std=0.001)
    return made


class CosineClassifier(nn.Module):
    """The cosine with a weight for each identity, times `scale` (Wang et al., CVPR 2018, CosFace, eq. 3).

    With several centers an identity has so many weights, and the largest of their cosines counts (Deng et al.,
    ECCV 2020, sub-center ArcFace). The products are in float32 or more: a cosine in bfloat16 has an error
    of 0.004, and the scale enlarges it.

    Args:
        scale: s, above 0. A small one bounds the confidence, so the loss cannot become small.
        centers: weights of each identity, 1 or more.

    Raises:
        ValueError: another value.
    """

    def __init__(self, width: int, classes: int, scale: float = 30.0, centers: int = 1) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale {scale!r}; must be above 0")
        if isinstance(centers, bool) or not isinstance(centers, int) or centers < 1:
            raise ValueError(f"centers {centers!r}; must be 1 or more, a whole number")
        self.scale, self.centers = float(scale), centers
        self.weight = nn.Parameter(torch.empty(classes * centers, width))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, feats: Tensor) -> Tensor:
        """(B, D) -> (B, K), from -scale to scale."""
        # no autocast in here; torch has none for the meta device
        device = feats.device.type
        with nullcontext() if device == "meta" else torch.autocast(device, enabled=False):
            unit = normalize(at_least_float32(feats), dim=1, eps=1e-6)
            cosines = product(unit, normalize(self.weight, dim=1, eps=1e-6))
            return self.scale * cosines.unflatten(1, (-1, self.centers)).amax(dim=2)
