"""The base of all augmentations: `Augment`, the random generator, checks of options."""

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
    """The random draw of an augmentation for one image: numbers, and pixels (h, w, 3) of its box if it paints."""

    numbers: tuple[Any, ...] = ()
    noise: NDArray[np.uint8] | None = None


class Seat(NamedTuple):
    """The position of an image: its epoch, its index in the epoch, and the rows of the epoch's images in order."""

    epoch: int
    place: int
    order: NDArray[np.int64]


@dataclass(frozen=True)
class Augment:
    """An augmentation. Numbers are drawn on the host. Pixels are computed there or on a device.

    Attributes:
        draw: (generator, image size) -> the draw, or None for no change. If `seated` it also gets the image's seat.
        apply: (image (H, W, 3) uint8, draw) -> the changed image. The input is not modified.
        on: (device, image size) -> the same for a batch, a function of three arguments that can be captured:
            images (B, H, W, 3) uint8;
            numbers (B, 1 + width) float64, the first 1 if anything was drawn, else 0;
            noise (B, H, W, 3) uint8 if it paints, with the draw's pixels in the first h rows and w columns.
        width: numbers per image.
        paints: whether pixels are drawn: noise, or those of another image.
        seated: whether `draw` needs the image's seat.
    """

    draw: Callable[..., Drawn | None]
    apply: Callable[[Image, Drawn], Image]
    on: Callable[[torch.device, Size], Batched]
    width: int = 0
    paints: bool = False
    seated: bool = False

    def __call__(self, image: Image, rng: np.random.Generator, seat: Seat | None = None) -> Image:
        """Augment one image on the host."""
        drawn = self.drawn(rng, (image.shape[0], image.shape[1]), seat)
        return image if drawn is None else self.apply(image, drawn)

    def drawn(self, rng: np.random.Generator, size: Size, seat: Seat | None) -> Drawn | None:
        """The draw for the image in this seat.

        Raises:
            ValueError: the augmentation needs a seat and there is none.
        """
        if not self.seated:
            return self.draw(rng, size)
        if seat is None:
            raise ValueError("the augmentation uses earlier images of the epoch: it needs the image's seat")
        return self.draw(rng, size, seat)


MEAN = (0.485, 0.456, 0.406)  # of ImageNet, RGB in 0..1, as the pretrained weights expect
STD = (0.229, 0.224, 0.225)
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, of RGB


def image_rng(seed: int, epoch: int, place: int) -> np.random.Generator:
    """The generator of the image at one index of one epoch."""
    return np.random.default_rng([seed, epoch, 1, place])


def check_share(name: str, value: float, *, least: float = 0.0) -> None:
    """Check that a probability or a share is from `least` to 1.

    Raises:
        ValueError: it is not.
    """
    if not least <= value <= 1:
        raise ValueError(f"{name} {value!r}; must be from {least:g} to 1")


def check_range(name: str, bounds: Sequence[float], least: float, most: float) -> None:
    """Check that bounds are two numbers in ascending order, from `least` to `most`.

    Raises:
        ValueError: they are not.
    """
    if len(bounds) != 2 or not least <= bounds[0] <= bounds[1] <= most:
        raise ValueError(f"{name} {list(bounds)}; must be two numbers in ascending order, from {least:g} to {most:g}")
