"""The pixels of `cover.py` for a batch on a device; see `Augment.on` for what comes in. The same to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
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
    """A box of one colour, or of the noise that was drawn."""
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


def paste(patches: Sequence[NDArray[np.uint8]], device: torch.device, size: Size) -> Batched:
    """One of the patches (h, w, 3) in its box."""
    boxes = Boxes(device, size)
    canvas = np.zeros((len(patches), max(p.shape[0] for p in patches), max(p.shape[1] for p in patches), 3), np.uint8)
    for place, patch in zip(canvas, patches, strict=True):
        place[: patch.shape[0], : patch.shape[1]] = patch
    pool = torch.from_numpy(canvas).to(device)
    _, height, width, _ = pool.shape

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        y, x, inside = boxes.places(numbers[:, 2:])
        which = numbers[:, 1].long()[:, None, None]
        return torch.where(inside & drawn(numbers), pool[which, y.clamp(0, height - 1), x.clamp(0, width - 1)], images)

    return apply
