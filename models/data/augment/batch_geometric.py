"""`geometric.py` for a batch on a device, see `Augment.on`. Pixels differ by at most one level."""

from __future__ import annotations

import torch
from torch import Tensor

from models.data.augment.base import Batched, Size


def drawn(numbers: Tensor) -> Tensor:
    """(B, 1, 1, 1) bool: the images for which anything was drawn."""
    return numbers[:, :1, None, None] > 0


def flip(device: torch.device, size: Size) -> Batched:
    """Mirror left and right."""
    return lambda images, numbers, noise: torch.where(drawn(numbers), images.flip(2), images)


def pad_crop(pad: int, device: torch.device, size: Size) -> Batched:
    """The rectangle at (top, left) of the image with `pad` black pixels all around."""
    rows, columns = (torch.arange(n, device=device) - pad for n in size)

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        top, left = numbers[:, 1:3].long().unbind(1)
        y, x = rows + top[:, None], columns + left[:, None]
        inside = within(y, size[0])[:, :, None] & within(x, size[1])[:, None]
        return torch.where(inside[..., None], picked(images, y[:, :, None], x[:, None]), 0)

    return apply


def within(index: Tensor, length: int | Tensor) -> Tensor:
    """Which indices are in 0..length - 1."""
    return (index >= 0) & (index < length)


def picked(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(B, H, W, 3): the pixels of each image at (y, x), broadcast to (B, H, W); outside it, the nearest pixel."""
    which = torch.arange(len(images), device=images.device)[:, None, None]
    return images[which, y.clamp(0, images.shape[1] - 1), x.clamp(0, images.shape[2] - 1)]


def affine(fill: int, device: torch.device, size: Size) -> Batched:
    """An affine map of 6 numbers, bilinear as in Pillow: coordinates in float64, levels truncated."""
    middle_y, middle_x = (torch.arange(n, device=device, dtype=torch.float64) + 0.5 for n in size)

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        a, b, c, d, e, f = numbers[:, 1:, None, None].unbind(1)
        x = a * middle_x + b * middle_y[:, None] + c
        y = d * middle_x + e * middle_y[:, None] + f
        inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
        left, top = (x - 0.5).floor(), (y - 0.5).floor()
        across, down = (x - 0.5 - left).float()[..., None], (y - 0.5 - top).float()[..., None]
        i, j = top.long(), left.long()
        above = between(picked(images, i, j), picked(images, i, j + 1), across)
        below = between(picked(images, i + 1, j), picked(images, i + 1, j + 1), across)
        moved = torch.where(inside[..., None], (above + (below - above) * down).to(torch.uint8), fill)
        return torch.where(drawn(numbers), moved, images)

    return apply


def between(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Linear interpolation in float32: `one` at share 0, `other` at 1."""
    return one + (other.float() - one) * share


def random_shift(fill: int, device: torch.device, size: Size) -> Batched:
    """A crop of rows, resized and pasted on grey: two products with the weights of Pillow's resize.

    Width comes first. As in Pillow, levels are rounded between the two directions.
    """
    height, width = size
    rows, columns = (torch.arange(n, device=device, dtype=torch.float64) for n in size)

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        start, cut, top, left, h, w = numbers[:, 1:, None].unbind(1)
        nothing, whole = torch.zeros_like(w), torch.full_like(w, width)
        across = resize_weights(columns, columns, nothing, whole, left, w)
        down = resize_weights(rows, rows, start, cut, top, h)
        lines = images.permute(0, 2, 1, 3).reshape(-1, width, height * 3).float()
        wide = levels(across @ lines).view(-1, width, height, 3).permute(0, 2, 1, 3)
        laid = levels(down @ wide.reshape(-1, height, width * 3)).view(images.shape)
        covered = ((rows >= top) & (rows < top + h))[:, :, None] & ((columns >= left) & (columns < left + w))[:, None]
        shifted = torch.where(covered[..., None], laid.to(torch.uint8), fill)
        return torch.where(drawn(numbers), shifted, images)

    return apply


def resize_weights(to: Tensor, source: Tensor, first: Tensor, length: Tensor, at: Tensor, size: Tensor) -> Tensor:
    """The weights of a resize along one axis: Pillow's bilinear filter, wider for a smaller result.

    Args:
        to, source: (M,) and (N,), pixel indices after and before.
        first, length: (B, 1), the part of the source that is resized.
        at, size: (B, 1), start and length of the result.

    Returns:
        (B, M, N) float32. Rows sum to 1; rows outside the result have no meaning.
    """
    scale = length / size.clamp(min=1)
    centre = first + (to - at + 0.5) * scale
    wide = scale.clamp(min=1)
    weights = (1 - (source + 0.5 - centre[:, :, None]).abs() / wide[:, :, None]).clamp(min=0)
    weights = weights * ((source >= first) & (source < first + length))[:, None]
    return (weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-9)).float()


def levels(values: Tensor) -> Tensor:
    """Round to 0..255, halves up."""
    return (values + 0.5).floor().clamp(0, 255)
