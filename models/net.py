"""One member as a network: a backbone, a head, and what they give."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Output:
    """What a head gives for a batch of B images.

    feats: (B, D) before the neck, for the triplet loss. bn_feats: (B, D) after it, for retrieval.
    logits: one (B, K) for each part that is classified; empty outside training.
    """

    feats: Tensor
    bn_feats: Tensor
    logits: tuple[Tensor, ...]


class Net(nn.Module):
    """Images (B, 3, H, W) to an Output."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Output:
        """(B, 3, H, W) float32, normalised, to the head's Output."""
        output: Output = self.head(self.backbone(images))
        return output
