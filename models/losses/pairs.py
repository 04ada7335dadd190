"""What the losses on pairs of images share: cosines, who is a positive of whom, the mean over anchors."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.net import at_least_float32


def cosines(feats: Tensor) -> Tensor:
    """(B, D) -> (B, B), in float32 or more."""
    unit = normalize(at_least_float32(feats), dim=1, eps=1e-6)
    return unit @ unit.T


def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) -> (B, B) bool: other images of the same identity, and images of another."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same


def mean_of(values: Tensor, anchors: Tensor) -> Tensor:
    """The mean of values (B,) over the anchors (B,) bool; 0 if there are none."""
    return values.where(anchors, 0).sum() / anchors.sum().clamp(min=1)
