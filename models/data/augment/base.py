"""What every augmentation shares: its type, its generator, and bounds that are in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Augment = Callable[[Image, np.random.Generator], Image]

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1: what the pretrained weights expect
STD = (0.229, 0.224, 0.225)


def image_rng(seed: int, epoch: int, place: int) -> np.random.Generator:
    """The generator of the image at one place of one epoch."""
    return np.random.default_rng([seed, epoch, 1, place])


def check_share(name: str, value: float, *, least: float = 0.0) -> None:
    """A probability or a share: a number from `least` to 1.

    Raises:
        ValueError: it is not.
    """
    if not least <= value <= 1:
        raise ValueError(f"{name} {value!r}; wanted a number from {least:g} to 1")


def check_range(name: str, bounds: Sequence[float], least: float, most: float) -> None:
    """A least and a greatest value, in order and within what is possible.

    Raises:
        ValueError: they are not.
    """
    if len(bounds) != 2 or not least <= bounds[0] <= bounds[1] <= most:
        raise ValueError(f"{name} {list(bounds)}; wanted two numbers in order, from {least:g} to {most:g}")
