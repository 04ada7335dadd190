"""`photometric.py` for a batch on a device, see `Augment.on`. Pixels differ by at most one level."""

from __future__ import annotations

import torch
from torch import Tensor

from models.data.augment.base import GREY, Batched, Size
from models.data.augment.batch_geometric import drawn


def jitter(device: torch.device, size: Size, *, hue: bool) -> Batched:
    """Brightness, contrast, saturation and hue, in this order."""

    def apply(images: Tensor, numbers: Tensor, noise: Tensor | None) -> Tensor:
        light, spread, colour = numbers[:, 1:4, None, None, None].float().unbind(1)
        changed = relit(images, light, spread, colour)
        if hue:
            changed = turned_hue(changed, numbers[:, 4, None, None].to(torch.uint8))
        return torch.where(drawn(numbers), changed, images)

    return apply


def relit(images: Tensor, light: Tensor, spread: Tensor, colour: Tensor) -> Tensor:
    """(B, H, W, 3) uint8, with factors (B, 1, 1, 1) float32. Same operations in the same order as on the host."""
    pixels = (images * light).clamp(0, 255)
    mean = grey(pixels).double().mean(dim=(1, 2)).float()[:, None, None, None]
    pixels = (mean + spread * (pixels - mean)).clamp(0, 255)
    own = grey(pixels)[..., None]
    pixels = (own + colour * (pixels - own)).clamp(0, 255)
    return pixels.round().to(torch.uint8)


def grey(pixels: Tensor) -> Tensor:
    """(B, H, W, 3) float32 -> (B, H, W)."""
    red, green, blue = (pixels[..., c] * weight for c, weight in enumerate(GREY))
    return red + green + blue


def turned_hue(images: Tensor, steps: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 with the hue turned by steps (B, 1, 1) uint8, through integer HSV as in Pillow.

    As in Pillow, some values are computed in float64 and rounded to float32 in between.
    """
    hue, saturation, value = to_hsv(images)
    return to_rgb(hue + steps, saturation, value)


def to_hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """RGB (..., 3) uint8 -> hue, saturation and value, (...) uint8 each."""
    red, green, blue = images.unbind(-1)
    most, least = images.amax(dim=-1), images.amin(dim=-1)
    grey = most == least
    extent = torch.where(grey, 1, most - least).float()
    share = (extent / most.clamp(min=1).float()).double()
    r, g, b = ((most - x).float() / extent for x in (red, green, blue))
    sector = torch.where(
        red == most, (b - g).double(), torch.where(green == most, 2.0 + r.double() - b, 4.0 + g.double() - r)
    )
    turn = (sector.float().double() / 6.0 + 1.0).fmod(1.0).float().double()
    hue, saturation = ((x * 255.0).to(torch.int32).clamp(0, 255).to(torch.uint8) for x in (turn, share))
    return torch.where(grey, 0, hue), torch.where(grey, 0, saturation), most


def to_rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Hue, saturation and value (...) uint8 -> RGB (..., 3) uint8."""
    sector = (hue.double() * 6.0 / 255.0).floor()
    rest = (hue.double() * 6.0 / 255.0 - sector).float().double()
    share, full = (saturation.double() / 255.0).float().double(), value.double()
    p, q, t = (rounded(full * x) for x in (1.0 - share, 1.0 - share * rest, 1.0 - share * (1.0 - rest)))
    at = sector.to(torch.int64) % 6
    six = torch.stack(
        [
            torch.stack(x, -1)
            for x in ((value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q))
        ]
    )
    return six.gather(0, at[None, ..., None].expand(1, *at.shape, 3))[0]


def rounded(values: Tensor) -> Tensor:
    """Round to the nearest level, halves away from 0, as C's round."""
    return (values + 0.5).floor().clamp(0, 255).to(torch.uint8)
