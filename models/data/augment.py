"""What training sees of an image: each augmentation is a function of the image and of a random generator.

The generator of an image is seeded by (seed, epoch, place in the epoch) alone, so that any number of loader workers
gives the same pixels. Images are (H, W, 3) uint8 and keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Augment = Callable[[Image, np.random.Generator], Image]

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1: what the pretrained weights expect
STD = (0.229, 0.224, 0.225)


def flip(*, p: float = 0.5) -> Augment:
    """Mirror left and right with probability p."""

    def apply(image: Image, rng: np.random.Generator) -> Image:
        return image[:, ::-1] if rng.random() < p else image

    return apply


def pad_crop(*, pad: int = 10) -> Augment:
    """Pad with `pad` black pixels all around and cut the original size out at a random place."""

    def apply(image: Image, rng: np.random.Generator) -> Image:
        height, width, _ = image.shape
        padded = np.zeros((height + 2 * pad, width + 2 * pad, 3), np.uint8)
        padded[pad : pad + height, pad : pad + width] = image
        top, left = rng.integers(0, 2 * pad + 1, 2)
        return padded[top : top + height, left : left + width]

    return apply


def erase(
    *,
    p: float = 0.5,
    area: Sequence[float] = (0.02, 0.4),
    aspect: Sequence[float] = (0.3, 3.33),
    fill: Literal["random", "mean"] = "random",
    attempts: int = 100,
) -> Augment:
    """Random erasing (Zhong et al., AAAI 2020, algorithm 1): a rectangle is replaced by noise, or by ImageNet's mean.

    Args:
        p: probability of erasing at all.
        area: least and greatest share of the image.
        aspect: least and greatest height / width, drawn evenly in between.
        fill: what replaces it.
        attempts: rectangles drawn until one fits into the image.
    """
    if fill not in ("random", "mean"):
        raise ValueError(f"fill {fill!r}; there are random, mean")

    def apply(image: Image, rng: np.random.Generator) -> Image:
        if rng.random() >= p:
            return image
        height, width, _ = image.shape
        for _ in range(attempts):
            share, ratio = rng.uniform(*area) * height * width, rng.uniform(*aspect)
            h, w = round(math.sqrt(share * ratio)), round(math.sqrt(share / ratio))
            if 0 < h < height and 0 < w < width:
                top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
                erased = image.copy()
                noise = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
                erased[top : top + h, left : left + w] = noise if fill == "random" else _MEAN_PIXEL
                return erased
        return image

    return apply


_MEAN_PIXEL = np.round(np.array(MEAN) * 255).astype(np.uint8)


def image_rng(seed: int, epoch: int, place: int) -> np.random.Generator:
    """The generator of the image at one place of one epoch."""
    return np.random.default_rng([seed, epoch, 1, place])
