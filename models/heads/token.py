"""The token head: a transformer's class token, alone or beside the pooled patches, BNNeck, classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.heads.classifiers import Classify, linear
from models.heads.pooling import Pool
from models.net import CLASS, Output, at_least_float32


class TokenHead(nn.Module):
    """`GlobalHead` on the class token (He et al., ICCV 2021, TransReID, section 3.1).

    Args:
        backbone: it must have a class token. channels: C. classes: K.
        patches: none, or the pooling of the patches (avg, max, gem). Their C values follow the token's.

    Raises:
        ValueError: the backbone has no class token, or there is no such pooling.
    """

    fork = CLASS

    def __init__(
        self, backbone: nn.Module, channels: int, classes: int, patches: str = "none", classifier: Classify = linear
    ) -> None:
        super().__init__()
        if not getattr(backbone, "has_class", False):
            raise ValueError("this backbone has no class token; take head global, which pools its map")
        self.pool = None if patches == "none" else Pool(patches)
        self.dim = channels if self.pool is None else 2 * channels
        self.neck = nn.BatchNorm1d(self.dim)
        self.neck.bias.requires_grad_(False)
        self.classifier = classifier(self.dim, classes)

    @property
    def fixed_pool(self) -> Pool | None:
        """As in the global head; any pooling if the patches are not used."""
        if self.pool is None:
            return Pool("avg")
        return None if self.pool.kind == "gem" else self.pool

    def forward(self, last: Tensor, token: Tensor) -> Output:
        """The map (B, C, h, w) and the class token (B, C) -> Output with D = C, or 2 C with the patches."""
        feats = at_least_float32(token)
        if self.pool is not None:
            feats = torch.cat((feats, self.pool(at_least_float32(last))), dim=1)
        bn_feats = self.neck(feats)
        return Output(feats, bn_feats, (self.classifier(bn_feats),) if self.training else ())
