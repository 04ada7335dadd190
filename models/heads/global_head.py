"""The global head: pooling, BNNeck, classifier (Luo et al. 2019, "Bag of Tricks", section 3.6)."""

from __future__ import annotations

from torch import Tensor, nn

from models.heads.classifiers import Classify, linear
from models.heads.pooling import Pool
from models.net import Output, at_least_float32


class GlobalHead(nn.Module):
    """Pooling (avg, max or gem), then a batch norm between the two losses.

    The triplet loss uses `feats`, before the norm. The ID loss uses the logits, after it.
    In the paper the triplet loss is by Euclidean distance and the ID loss works on directions: the norm separates them.
    By cosine, this project's default, the triplet loss works on directions too. The norm centres and scales.
    The norm's bias is not trained and the classifier has none, so features are centred and compared by cosine.
    """

    fork = None  # it needs the last map only

    @property
    def fixed_pool(self) -> Pool | None:
        """The pooling if it has no parameters. Then its result can replace the map, as a map of one position."""
        return None if self.pool.kind == "gem" else self.pool

    def __init__(self, channels: int, classes: int, pool: str = "avg", classifier: Classify = linear) -> None:
        super().__init__()
        self.dim = channels
        self.pool = Pool(pool)
        self.neck = nn.BatchNorm1d(channels)
        self.neck.bias.requires_grad_(False)
        self.classifier = classifier(channels, classes)

    def forward(self, features: Tensor) -> Output:
        """(B, C, h, w) -> Output with D = C."""
        feats = self.pool(at_least_float32(features))
        bn_feats = self.neck(feats)
        return Output(feats, bn_feats, (self.classifier(bn_feats),) if self.training else ())
