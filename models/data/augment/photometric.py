"""Photometric augmentation: brightness, contrast, saturation and hue."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

from models.data.augment import batch_photometric
from models.data.augment.base import GREY, Augment, Drawn, Image, Size, check_share


def color_jitter(
    *,
    p: float = 0.5,
    brightness: float = 0.2,
    contrast: float = 0.15,
    saturation: float = 0.1,
    hue: float = 0.02,
) -> Augment:
    """Random brightness, contrast, saturation and hue, as defined by torchvision's ColorJitter.

    Differs from it: always in this order, and rounded once after the first three.

    Args:
        p: probability.
        brightness, contrast, saturation: factors are uniform from 1 - x to 1 + x. They scale the pixels, their
            difference from the image's mean grey, and their difference from the pixel's grey.
        hue: largest turn to either side, as a share of the colour circle, at most 0.5.

    Raises:
        ValueError: a value out of range.
    """
    for name, value in (("p", p), ("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        check_share(name, value)
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue {hue!r}; must be from 0 to 0.5")

    def draw(rng: np.random.Generator, size: Size) -> Drawn | None:
        if rng.random() >= p:
            return None
        light, spread, colour = 1 + rng.uniform(-1, 1, 3) * (brightness, contrast, saturation)
        return Drawn((light, spread, colour, round(rng.uniform(-hue, hue) * 256) % 256))

    def apply(image: Image, drawn: Drawn) -> Image:
        light, spread, colour, steps = drawn.numbers
        changed = relit(image, light, spread, colour)
        return turned_hue(changed, int(steps)) if hue else changed

    return Augment(draw, apply, partial(batch_photometric.jitter, hue=bool(hue)), width=4)


def relit(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    """The image with brightness, contrast and saturation changed, in this order."""
    pixels = np.clip(image * np.float32(brightness), 0, 255)
    mean = np.float32(grey(pixels).mean(dtype=np.float64))
    pixels = np.clip(mean + np.float32(contrast) * (pixels - mean), 0, 255)
    own = grey(pixels)[:, :, None]
    pixels = np.clip(own + np.float32(saturation) * (pixels - own), 0, 255)
    return np.rint(pixels).astype(np.uint8)


def grey(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """ITU-R BT.601 luma (H, W) of RGB (H, W, 3).

    Summed term by term: a matrix product rounds differently, and one level of difference can be six of hue.
    """
    red, green, blue = (pixels[:, :, c] * np.float32(weight) for c, weight in enumerate(GREY))
    luma: NDArray[np.float32] = red + green + blue
    return luma


def turned_hue(image: Image, steps: int) -> Image:
    """The image with its hue turned by `steps` / 256 of the circle."""
    hue, saturation, value = Pil.fromarray(image).convert("HSV").split()
    turned = Pil.fromarray(np.asarray(hue) + np.uint8(steps))
    return np.asarray(Pil.merge("HSV", (turned, saturation, value)).convert("RGB"))
