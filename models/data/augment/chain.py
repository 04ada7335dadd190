"""A recipe's augmentations for a whole batch: the draws go into one table, pixels are computed from it."""

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
        """Columns of the table: per augmentation, whether anything was drawn, and its numbers."""
        return sum(1 + a.width for a in self.augments)

    @property
    def canvases(self) -> int:
        """The number of augmentations that paint: each needs noise (B, H, W, 3)."""
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
        """Draw the numbers of the images at some indices of an epoch, the same as for single images.

        Args:
            places: B indices in the epoch.
            order: the rows of all images of the epoch, in order.
            table: (B, width), the output.
            noise: one output (B, H, W, 3) per augmentation that paints.
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
        """The function on that device: (images (B, H, W, 3) uint8, table, noise) -> augmented images."""
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
        ConfigError: one of them is a plain function, which works on single images only.
    """
    plain = [a for a in augments if not isinstance(a, Augment)]
    if plain:
        raise ConfigError(
            f"{plain[0]} works on single images only; make it an Augment, or use --set recipe.feed=loader"
        )
    return Chain(tuple(a for a in augments if isinstance(a, Augment)), size)
