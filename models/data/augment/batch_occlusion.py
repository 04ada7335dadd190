"""`occlusion.py` for a batch on a device, see `Augment.on`. The same pixels to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.data.augment.base import Batched, Size
from models.data.augment.batch_geometric import drawn, picked, within


class Boxes:
    """Pixel positions relative to one box (top, left, height, width) per image."""

    def __init__(self, device: torch.device, size: Size) -> None:
        self.rows, self.columns = (torch.arange(n, device=device) for n in size)

    def places(self, box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 4) integers -> each pixel's row (B, H, 1), column (B, 1, W) and whether it is inside (B, H, W, 1)."""
        top, left, h, w = box.long().unbind(1)
        y, x = (self.rows - top[:, None])[:, :, None], (self.columns - left[:, None])[:, None]
        return y, x, (within(y, h[:, None, None]) & within(x, w[:, None, None]))[..., None]


def fill(pixel: Sequence[int] | None, device: torch.device, size: Size) -> Batched:
    """Fill a box with one colour, or with the drawn pixels (noise or a patch)."""
    boxes = Boxes(device, size)
    colour = None if pixel is None else torch.tensor(pixel, dtype=torch.uint8, device=device)

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        y, x, inside = boxes.places(numbers[:, 1:])
        if colour is not None:
            new = colour
        elif noise is not None:
            new = picked(noise, y, x)
        else:
            raise ValueError("no noise was drawn for a box of noise")
        return torch.where(inside & drawn(numbers), new, images)

    return apply
