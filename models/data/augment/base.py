"""What every augmentation shares: its parts, its generator, and bounds that are in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
Size = tuple[int, int]  # height, width in pixels
Batched = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Drawn(NamedTuple):
    """What an augmentation drew for one image: its numbers and, of one that paints, pixels (h, w, 3) for its box."""

    numbers: tuple[Any, ...] = ()
    noise: NDArray[np.uint8] | None = None


class Seat(NamedTuple):
    """Where an image stands: its epoch, its place in it, and the rows of the epoch's images in their order."""

    epoch: int
    place: int
    order: NDArray[np.int64]


@dataclass(frozen=True)
class Augment:
    """A change of an image: numbers are drawn on the host, pixels are made of them there or on a device.

    draw: a generator and the image's size to the numbers, or None where the image stays as it is. Where `seated`, it is
        given the image's seat as well.
    apply: an image (H, W, 3) uint8 and what was drawn, to the image after it. The image that came in stays.
    on: a device and the size of all images to the same for a batch: images (B, H, W, 3) uint8, numbers (B, 1 + width)
        float64 whose first is 1 where anything was drawn and 0 where not, and noise (B, H, W, 3) uint8, where it
        paints, whose first h rows and w columns are the image's own. It waits for nothing, so it can be captured.
    width: how many numbers are drawn for an image. paints: whether noise is drawn, or pixels of another image.
    """

    draw: Callable[..., Drawn | None]
    apply: Callable[[Image, Drawn], Image]
    on: Callable[[torch.device, Size], Batched]
    width: int = 0
    paints: bool = False
    seated: bool = False

    def __call__(self, image: Image, rng: np.random.Generator, seat: Seat | None = None) -> Image:
        """One image, on the host."""
        drawn = self.drawn(rng, (image.shape[0], image.shape[1]), seat)
        return image if drawn is None else self.apply(image, drawn)

    def drawn(self, rng: np.random.Generator, size: Size, seat: Seat | None) -> Drawn | None:
        """What `draw` gives for the image in this seat.

        Raises:
            ValueError: it takes from images that came before, and no seat is given.
        """
        if not self.seated:
            return self.draw(rng, size)
        if seat is None:
            raise ValueError("it takes from the images that came before: the image's seat in its epoch is wanted")
        return self.draw(rng, size, seat)


MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1: what the pretrained weights expect
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, of RGB


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
