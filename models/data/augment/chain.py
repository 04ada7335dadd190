"""A recipe's augmentations for a whole batch: what is drawn becomes one table, and pixels are made of that table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.errors import ConfigError
from models.data.augment.base import Augment, Image, Seat, Size, image_rng

Pixels = Callable[[Tensor, Tensor, Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Chain:
    """Augmentations one after another, for images of one size."""

    augments: tuple[Augment, ...]
    size: Size

    @property
    def width(self) -> int:
        """Columns of the table: of each augmentation, whether anything was drawn, and its numbers."""
        return sum(1 + a.width for a in self.augments)

    @property
    def canvases(self) -> int:
        """How many of the augmentations paint: each draws noise (B, H, W, 3)."""
        return sum(a.paints for a in self.augments)

    def draw(
        self,
        seed: int,
        epoch: int,
        places: Sequence[int],
        order: NDArray[np.int64],
        table: NDArray[np.float64],
        noise: Sequence[NDArray[np.uint8]] = (),
    ) -> None:
        """The numbers of the images at some places of an epoch, drawn as for one image after another.

        Args:
            order: the rows of all of the epoch's images, in the order of their places.
            table: (B, width), to be filled. noise: a canvas (B, H, W, 3) for each that paints, to be painted on.
        """
        for i, place in enumerate(places):
            rng, painted = image_rng(seed, epoch, place), 0
            row: list[float] = []
            for augment in self.augments:
                drawn = augment.drawn(rng, self.size, Seat(epoch, place, order))
                row += (0.0,) * (1 + augment.width) if drawn is None else (1.0, *drawn.numbers)
                if augment.paints:
                    if drawn is not None and drawn.noise is not None:
                        noise[painted][i, : drawn.noise.shape[0], : drawn.noise.shape[1]] = drawn.noise
                    painted += 1
            table[i] = row

    def on(self, device: torch.device) -> Pixels:
        """What makes the pixels there: images (B, H, W, 3) uint8, the table and the canvases to the images after."""
        makers = [augment.on(device, self.size) for augment in self.augments]

        def apply(images: Tensor, table: Tensor, noise: Sequence[Tensor]) -> Tensor:
            column, canvases = 0, iter(noise)
            for augment, make in zip(self.augments, makers, strict=True):
                numbers = table[:, column : column + 1 + augment.width]
                images = make(images, numbers, next(canvases) if augment.paints else None)
                column += 1 + augment.width
            return images

        return apply


def make_chain(augments: Sequence[Callable[[Image, np.random.Generator], Image]], size: Size) -> Chain:
    """The augmentations for batches of images of one size.

    Raises:
        ConfigError: one of them is a plain function, which can change one image at a time alone.
    """
    plain = [a for a in augments if not isinstance(a, Augment)]
    if plain:
        raise ConfigError(f"{plain[0]} changes one image at a time; wanted an Augment, or --set recipe.feed=loader")
    return Chain(tuple(a for a in augments if isinstance(a, Augment)), size)
