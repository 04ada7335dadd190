"""The global head: pooling, BNNeck, classifier (Luo et al. 2019, "Bag of Tricks", section 3.6)."""

from __future__ import annotations

from torch import Tensor, nn

from models.heads.pooling import Pool
from models.net import Output, at_least_float32


class GlobalHead(nn.Module):
    """Pooling (avg, max or gem), then a batch norm between the two losses.

    The triplet loss works on `feats`, before the norm; the ID loss on the classifier's logits, after it. With a triplet
    loss by Euclidean distance, as in the paper, `feats` lie in free Euclidean space, and the ID loss has the sphere to
    itself: that is how the norm separates the two. By cosine, this project's default, the triplet loss sees directions
    alone, so it works on a sphere too, and the norm centres and scales what lies between the two. The norm's bias is
    not trained and the classifier has none, so that identities lie around the origin and cosine is the distance that
    fits after it.
    """

    fork = None  # it needs the last map alone

    def __init__(self, channels: int, classes: int, pool: str = "avg") -> None:
        super().__init__()
        self.dim = channels
        self.pool = Pool(pool)
        self.neck = nn.BatchNorm1d(channels)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(channels, classes, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, features: Tensor) -> Output:
        """(B, C, h, w) -> Output with D = C."""
        feats = self.pool(at_least_float32(features))
        bn_feats = self.neck(feats)
        return Output(feats, bn_feats, (self.classifier(bn_feats),) if self.training else ())
