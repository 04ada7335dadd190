"""The pixels of `cover.py` for a batch on a device; see `Augment.on` for what comes in. The same to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.data.augment.base import Batched, Size
from models.data.augment.batch_geometric import drawn, picked, within


class Boxes:
    """Where the pixels of images lie in the boxes (top, left, height, width) of theirs."""

    def __init__(self, device: torch.device, size: Size) -> None:
        self.rows, self.columns = (torch.arange(n, device=device) for n in size)

    def places(self, box: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 4) whole numbers -> each pixel's row (B, H, 1) and column (B, 1, W) in its box, and whether it is there.

        The last is (B, H, W, 1) bool.
        """
        top, left, h, w = box.long().unbind(1)
        y, x = (self.rows - top[:, None])[:, :, None], (self.columns - left[:, None])[:, None]
        return y, x, (within(y, h[:, None, None]) & within(x, w[:, None, None]))[..., None]


def fill(pixel: Sequence[int] | None, device: torch.device, size: Size) -> Batched:
    """A box of one colour, or of the pixels that were drawn: noise, or a patch."""
    boxes = Boxes(device, size)
    colour = None if pixel is None else torch.tensor(pixel, dtype=torch.uint8, device=device)

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        y, x, inside = boxes.places(numbers[:, 1:])
        if colour is not None:
            new = colour
        elif noise is not None:
            new = picked(noise, y, x)
        else:
            raise ValueError("a box of noise, and none was drawn")
        return torch.where(inside & drawn(numbers), new, images)

    return apply
