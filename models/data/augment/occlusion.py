"""Occlusion augmentations: a box of noise, of one colour, or of another image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.data.augment import batch_occlusion
from models.data.augment.base import MEAN, Augment, Drawn, Image, Seat, Size, check_range, check_share

Box = tuple[int, int, int, int]  # top, left, height, width
BLOCK = 1024  # images at a time
TRIED = 100  # boxes drawn in advance, to check that some fit
MEAN_PIXEL = tuple(round(255 * m) for m in MEAN)


def random_box(
    rng: np.random.Generator,
    size: tuple[int, int],
    area: Sequence[float],
    aspect: Sequence[float],
    attempts: int,
) -> Box | None:
    """A random box, smaller than the image in both directions. None if no attempt fits.

    Args:
        size: height, width of the image in pixels.
        area: smallest and largest share of the image.
        aspect: smallest and largest height / width, uniformly distributed.
        attempts: largest number of boxes drawn.
    """
    height, width = size
    for _ in range(attempts):
        share, ratio = rng.uniform(area[0], area[1]) * height * width, rng.uniform(aspect[0], aspect[1])
        h, w = round(math.sqrt(share * ratio)), round(math.sqrt(share / ratio))
        if 0 < h < height and 0 < w < width:
            top, left = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
            return int(top), int(left), h, w
    return None


def check_fits(what: str, size: tuple[int, int], area: Sequence[float], aspect: Sequence[float]) -> None:
    """Check that boxes can fit: one of share a and aspect r fits into H x W if a H / W < r < H / (a W).

    Raises:
        ValueError: no box fits.
    """
    shape, least = size[0] / size[1], max(area[0], 1e-9)
    if not max(aspect[0], least * shape) <= min(aspect[1], shape / least) or least >= 1:
        raise ValueError(
            f"no {what} of area {list(area)} and aspect {list(aspect)} fits into {size[0]}x{size[1]} pixels; lower the "
            f"area, or move the aspect towards {shape:g}"
        )


def random_erasing(
    *,
    images: NDArray[np.uint8] | None = None,
    p: float = 0.5,
    area: Sequence[float] = (0.02, 0.4),
    aspect: Sequence[float] = (0.3, 3.33),
    fill: Literal["random", "mean", "data"] = "mean",
    attempts: int = 100,
) -> Augment:
    """Random erasing (Zhong et al., AAAI 2020, algorithm 1): a rectangle becomes a mean colour or noise.

    Args:
        images: (N, H, W, 3), the training images, for their size and mean.
        p: probability.
        area: smallest and largest share of the image.
        aspect: smallest and largest height / width, uniformly distributed.
        fill: "mean" is ImageNet's mean, "data" the mean of the training images, "random" noise.
        attempts: largest number of rectangles drawn.

    Raises:
        ValueError: bounds out of order or range, no rectangle that fits, or an unknown fill.
    """
    check_share("p", p)
    check_range("area", area, 0, 1)
    check_range("aspect", aspect, 1e-3, 1e3)
    if fill not in ("random", "mean", "data"):
        raise ValueError(f"unknown fill {fill!r}; there are: random, mean, data")
    if fill == "data" and images is None:
        raise ValueError("fill 'data' needs the training images, for their mean")
    if images is not None:
        check_fits("rectangle", images.shape[1:3], area, aspect)

    def draw(rng: np.random.Generator, size: Size) -> Drawn | None:
        box = random_box(rng, size, area, aspect, attempts) if rng.random() < p else None
        if box is None:
            return None
        return Drawn(box, rng.integers(0, 256, (*box[2:], 3), dtype=np.uint8) if fill == "random" else None)

    def apply(image: Image, drawn: Drawn) -> Image:
        return covered(image, drawn.numbers, pixel if drawn.noise is None else drawn.noise)

    painted = fill == "random"
    pixel = mean_pixel(images) if fill == "data" and images is not None else MEAN_PIXEL
    return Augment(draw, apply, partial(batch_occlusion.fill, None if painted else pixel), width=4, paints=painted)


def mean_pixel(images: NDArray[np.uint8]) -> tuple[int, ...]:
    """The rounded mean of all pixels of images (N, H, W, 3), summed in integers."""
    sums = np.zeros(3, np.int64)
    for start in range(0, len(images), BLOCK):
        sums += images[start : start + BLOCK].sum(axis=(0, 1, 2), dtype=np.int64)
    return tuple(round(int(s) / (images.size // 3)) for s in sums)


def covered(image: Image, box: Sequence[float], pixels: ArrayLike) -> Image:
    """The image with these pixels in a box: top, left, height, width."""
    top, left, h, w = map(int, box)
    changed = image.copy()
    changed[top : top + h, left : left + w] = pixels
    return changed


def cutout(*, p: float = 0.5, size: Sequence[float] = (0.25, 0.5)) -> Augment:
    """Cutout (DeVries and Taylor 2017): a rectangle of a fixed size becomes 0.

    Differs from the paper: the rectangle is always inside the image.

    Args:
        p: probability.
        size: share of the image's height and of its width.

    Raises:
        ValueError: a rectangle larger than the image, or of no size.
    """
    check_share("p", p)
    if len(size) != 2 or not all(0 < share <= 1 for share in size):
        raise ValueError(
            f"size {list(size)}: must be two shares, of the image's height and width, above 0 and at most 1"
        )

    def draw(rng: np.random.Generator, shape: Size) -> Drawn | None:
        if rng.random() >= p:
            return None
        h, w = max(1, round(size[0] * shape[0])), max(1, round(size[1] * shape[1]))
        return Drawn((rng.integers(0, shape[0] - h + 1), rng.integers(0, shape[1] - w + 1), h, w))

    def apply(image: Image, drawn: Drawn) -> Image:
        return covered(image, drawn.numbers, 0)

    return Augment(draw, apply, partial(batch_occlusion.fill, (0, 0, 0)), width=4)


def random_patch(
    *,
    images: NDArray[np.uint8],
    seed: int = 0,
    p: float = 0.5,
    area: Sequence[float] = (0.01, 0.5),
    aspect: Sequence[float] = (0.1, 10),
    pool: int = 100,
    back: int = 50_000,
    attempts: int = 100,
) -> Augment:
    """RandomPatch: a patch of an earlier image of the epoch is pasted at a random position.

    After Zhou et al. 2019 (OSNet-AIN) and torchreid, whose bounds are the defaults.
    The first images of an epoch fill the pool and get no patch. Every later image adds a patch to the pool and gets an
    earlier one.
    No pool is stored: the patch of an index is a function of (seed, epoch, index). So the pool is the same for any
    number of workers, and every epoch has its own.

    Differs from torchreid:
    - A patch is cut from the image before any augmentation.
    - An image never gets its own patch.
    - A patch is neither rotated nor mirrored.

    Args:
        images: (N, H, W, 3), the training images in their fixed order.
        seed: of the patches.
        p: probability.
        area: smallest and largest share of the image.
        aspect: smallest and largest height / width, uniformly distributed.
        pool: images that fill the pool; at most half of the data set.
        back: largest distance in the epoch between an image and the source of its patch, as the size of torchreid's
            pool.
        attempts: largest number of rectangles drawn. If none fits there is no patch.

    Raises:
        ValueError: bounds out of order or range, or no patch fits into the image.
    """
    check_share("p", p)
    check_range("area", area, 1e-6, 1)
    check_range("aspect", aspect, 1e-3, 1e3)
    if pool < 1 or back < pool:
        raise ValueError(f"pool {pool!r}, back {back!r}; pool must be 1 or more, and back at least pool")
    shape = (images.shape[1], images.shape[2])
    check_fits("patch", shape, area, aspect)
    if any(random_box(np.random.default_rng([i, 2]), shape, area, aspect, attempts) is None for i in range(TRIED)):
        raise ValueError(
            f"no patch of area {list(area)} and aspect {list(aspect)} fits into {shape[0]}x{shape[1]} pixels in "
            f"{attempts} attempts; lower the area, or raise attempts"
        )
    filled = min(pool, max(1, len(images) // 2))

    def draw(rng: np.random.Generator, size: Size, seat: Seat) -> Drawn | None:
        if rng.random() >= p or seat.place < filled:
            return None
        place = int(rng.integers(max(0, seat.place - back), seat.place))
        box = random_box(np.random.default_rng([seed, seat.epoch, 2, place]), shape, area, aspect, attempts)
        if box is None:
            return None
        top, left, h, w = box
        patch = np.array(images[seat.order[place], top : top + h, left : left + w])
        return Drawn((rng.integers(0, size[0] - h + 1), rng.integers(0, size[1] - w + 1), h, w), patch)

    def apply(image: Image, drawn: Drawn) -> Image:
        return image if drawn.noise is None else covered(image, drawn.numbers, drawn.noise)

    return Augment(draw, apply, partial(batch_occlusion.fill, None), width=4, paints=True, seated=True)
