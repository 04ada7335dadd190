"""Pooling by average, maximum or generalised mean, of a whole feature map or of stripes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POOLS = ("avg", "max", "gem")
LEAST = 1e-6  # the generalised mean raises smaller responses to this


class Pool(nn.Module):
    """`gem` is `(mean x^p)^(1/p)` with one trained p, initially 3 (Radenovic et al., TPAMI 2019, eq. 3).

    p = 1 gives the average. A large p approaches the maximum.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in POOLS:
            raise ValueError(f"unknown pool {kind!r}; there are: {', '.join(POOLS)}")
        self.kind = kind
        if kind == "gem":
            self.p = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C)."""
        if self.kind == "max":
            return x.amax(dim=(2, 3))
        if self.kind == "gem":
            return x.clamp(min=LEAST).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)
        return x.mean(dim=(2, 3))

    def stripes(self, x: Tensor, rows: Tensor) -> Tensor:
        """Pool each stripe of each image.

        Args:
            x: (B, C, h, w).
            rows: (B or 1, P, h) bool, the rows of each of P stripes, at least one.

        Returns:
            (B, P, C).
        """
        if self.kind == "max":
            return x.amax(dim=3)[:, None].masked_fill(~rows[:, :, None], -torch.inf).amax(dim=3)
        share = (rows / rows.sum(dim=2, keepdim=True)).to(x.dtype).transpose(1, 2)
        if self.kind == "gem":
            means = x.clamp(min=LEAST).pow(self.p).mean(dim=3) @ share
            return means.pow(1 / self.p).transpose(1, 2)
        return (x.mean(dim=3) @ share).transpose(1, 2)
