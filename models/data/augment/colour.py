"""An augmentation of the light: brightness, contrast, saturation and hue."""

from __future__ import annotations

import numpy as np
from PIL import Image as Pil

from models.data.augment.base import Augment, Image, check_share

_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601 luma, of RGB


def colour_jitter(
    *,
    p: float = 0.5,
    brightness: float = 0.2,
    contrast: float = 0.15,
    saturation: float = 0.1,
    hue: float = 0.02,
) -> Augment:
    """Random brightness, contrast, saturation and hue, as torchvision's ColorJitter means them.

    Differs from it: always in that order, and rounded once after the first three.

    Args:
        p: probability of doing it at all.
        brightness, contrast, saturation: the factor is drawn evenly from 1 - x to 1 + x. They scale the image, its
            distance from its mean grey, and its distance from its own grey.
        hue: turned by up to this share of the colour circle to either side, at most 0.5.

    Raises:
        ValueError: a value that is no share.
    """
    for name, value in (("p", p), ("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        check_share(name, value)
    if not 0 <= hue <= 0.5:
        raise ValueError(f"hue {hue!r}; wanted a number from 0 to 0.5")

    def apply(image: Image, rng: np.random.Generator) -> Image:
        if rng.random() >= p:
            return image
        light, spread, colour = 1 + rng.uniform(-1, 1, 3) * (brightness, contrast, saturation)
        turn = rng.uniform(-hue, hue)
        changed = relit(image, light, spread, colour)
        return turned_hue(changed, turn) if hue else changed

    return apply


def relit(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    """The image with its light, its spread about the mean grey, and its distance from grey scaled, in that order."""
    pixels = np.clip(image * np.float32(brightness), 0, 255)
    mean = np.float32((pixels @ _GREY).mean())
    pixels = np.clip(mean + np.float32(contrast) * (pixels - mean), 0, 255)
    grey = (pixels @ _GREY)[:, :, None]
    pixels = np.clip(grey + np.float32(saturation) * (pixels - grey), 0, 255)
    return np.rint(pixels).astype(np.uint8)


def turned_hue(image: Image, share: float) -> Image:
    """The image with its hue turned by a share of the circle, in steps of 1 / 256."""
    hue, saturation, value = Pil.fromarray(image).convert("HSV").split()
    turned = Pil.fromarray(np.asarray(hue) + np.uint8(round(share * 256) % 256))
    return np.asarray(Pil.merge("HSV", (turned, saturation, value)).convert("RGB"))
