"""Horizontal stripes of a feature map: of equal height, or adaptive (ABP)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from configs.errors import ConfigError


def equal_stripes(height: int, parts: int, device: torch.device | None = None) -> Tensor:
    """(1, P, h) bool: stripe k starts at row round(k h / P). Heights differ by at most one row.

    Raises:
        ConfigError: more stripes than rows.
    """
    check_height(height, parts)
    cuts = [(2 * k * height + parts) // (2 * parts) for k in range(parts + 1)]
    row = torch.arange(height, device=device)  # made on the device: a copy to a GPU would wait
    return torch.stack([(row >= a) & (row < b) for a, b in pairwise(cuts)])[None]


def adaptive_stripes(x: Tensor, parts: int) -> Tensor:
    """ABP: cuts such that each stripe holds an equal share of the channels' maxima. This project's own.

    Each channel counts once, in the row of its largest response. On a tie the upper row counts.
    A channel with the same response in all rows does not count.
    Cut k of P is where the number of maxima above it is nearest to k / P of all. On a tie the upper row is used.
    Every stripe has at least one row, also if all maxima are in one row.
    If no channel counts, the stripes are equal.

    Args:
        x: (B, C, h, w).

    Returns:
        (B, P, h) bool. No gradient flows through the cuts.

    Raises:
        ConfigError: more stripes than rows.
    """
    batch, _, height, _ = x.shape
    check_height(height, parts)
    counts = row_maxima(x.detach())
    counts = torch.where(counts.sum(dim=1, keepdim=True) > 0, counts, 1)
    above = torch.cat((counts.new_zeros(batch, 1), counts.cumsum(dim=1)), dim=1)
    place = torch.arange(height + 1, device=x.device)
    stripes, last = [], torch.zeros(batch, 1, dtype=torch.long, device=x.device)
    for k in range(1, parts + 1):
        # whole numbers: P * maxima above, against k * all of them
        distance = (parts * above - k * above[:, -1:]).abs()
        allowed = (place > last) & (place <= height - (parts - k))
        cut = distance.masked_fill(~allowed, parts * (x.shape[1] + height) + 1).argmin(dim=1, keepdim=True)
        cut = cut if k < parts else torch.full_like(cut, height)
        stripes.append((place[:-1] >= last) & (place[:-1] < cut))
        last = cut
    return torch.stack(stripes, dim=1)


def row_maxima(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h): the number of channels with their largest response in each row."""
    rows = x.amax(dim=3)
    height = rows.shape[2]
    top = rows.amax(dim=2, keepdim=True)
    place = torch.arange(height, device=x.device)
    first = torch.where(rows == top, place, height).amin(dim=2)
    counts = (top[:, :, 0] > rows.amin(dim=2)).long()
    return torch.zeros(x.shape[0], height, dtype=torch.long, device=x.device).scatter_add_(1, first, counts)


def check_height(height: int, parts: int) -> None:
    """Raise ConfigError if there are more stripes than rows."""
    if not 1 <= parts <= height:
        raise ConfigError(
            f"{parts} stripes of a feature map of {height} rows: each needs at least one row. Raise the height in "
            f"recipe.size (a resnet's map has one row per 16 pixels), or use fewer stripes"
        )
