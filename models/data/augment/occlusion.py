"""Augmentations that cover a part of the image: with noise, with nothing, with a piece of another image."""

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
TRIED = 100  # boxes that are drawn beforehand, to see whether there are any
MEAN_PIXEL = tuple(round(255 * m) for m in MEAN)


def random_box(
    rng: np.random.Generator,
    size: tuple[int, int],
    area: Sequence[float],
    aspect: Sequence[float],
    attempts: int,
) -> Box | None:
    """A box strictly smaller than the image in both directions, or None where no attempt gave one.

    Args:
        size: height, width of the image in pixels.
        area: least and greatest share of the image.
        aspect: least and greatest height / width, drawn evenly in between.
        attempts: boxes drawn until one fits.
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
    """A box of share a and aspect r lies inside H x W where a H / W < r < H / (a W).

    Raises:
        ValueError: no box of these bounds does, so that nothing would ever happen.
    """
    shape, least = size[0] / size[1], max(area[0], 1e-9)
    if not max(aspect[0], least * shape) <= min(aspect[1], shape / least) or least >= 1:
        raise ValueError(
            f"no {what} of area {list(area)} and aspect {list(aspect)} fits into {size[0]}x{size[1]} pixels; lower the "
            f"area, or take the aspect nearer to {shape:g}"
        )


def erase(
    *,
    images: NDArray[np.uint8] | None = None,
    p: float = 0.5,
    area: Sequence[float] = (0.02, 0.4),
    aspect: Sequence[float] = (0.3, 3.33),
    fill: Literal["random", "mean", "data"] = "mean",
    attempts: int = 100,
) -> Augment:
    """Random erasing (Zhong et al., AAAI 2020, algorithm 1): a rectangle is replaced by a mean colour, or by noise.

    Args:
        images: (N, H, W, 3), the training images, for their size and mean.
        p: probability of erasing at all.
        area: least and greatest share of the image.
        aspect: least and greatest height / width, drawn evenly in between.
        fill: what replaces it: ImageNet's mean, the training images' own (data), or noise (random).
        attempts: rectangles drawn until one fits into the image.

    Raises:
        ValueError: bounds that are out of order or range, or so that nothing fits into the image, or another fill.
    """
    check_share("p", p)
    check_range("area", area, 0, 1)
    check_range("aspect", aspect, 1e-3, 1e3)
    if fill not in ("random", "mean", "data"):
        raise ValueError(f"fill {fill!r}; there are random, mean, data")
    if fill == "data" and images is None:
        raise ValueError("fill 'data': the training images are wanted, to take their mean")
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
    """The rounded mean of all pixels of images (N, H, W, 3), added up in whole numbers."""
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
    """Cutout (DeVries and Taylor 2017): a rectangle of a fixed size is set to 0.

    Differs from the paper: the rectangle lies wholly inside the image, so that its size is indeed fixed.

    Args:
        p: probability of doing it at all.
        size: share of the image's height and of its width.

    Raises:
        ValueError: a rectangle larger than the image, or of no size.
    """
    check_share("p", p)
    if len(size) != 2 or not all(0 < share <= 1 for share in size):
        raise ValueError(
            f"size {list(size)}: the rectangle must lie inside the image; wanted two shares of its height and width, "
            "above 0 and not above 1"
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
    """RandomPatch: a piece of an image that came before is pasted at a random place.

    After Zhou et al. 2019 (OSNet-AIN) and torchreid, whose bounds are the defaults. The first images of an epoch fill
    the pool and get nothing. Every later one puts a patch of itself in, and then gets one that was there before.

    Nothing is kept: the patch of a place is a function of (seed, epoch, place), and is cut where it is pasted. So the
    pool is the same for any number of workers, and every epoch has a pool of its own.

    Differs from torchreid: a patch is cut from the image as it is packed, before any augmentation; an image never gets
    its own; a patch is neither turned nor mirrored.

    Args:
        images: (N, H, W, 3), the training images in their fixed order.
        seed: of the patches.
        p: probability of pasting at all.
        area: least and greatest share of the image.
        aspect: least and greatest height / width, drawn evenly in between.
        pool: images that fill the pool; half of a data set that has fewer than twice as many.
        back: how many places before the image's own its patch may come from; torchreid's pool holds as many.
        attempts: rectangles drawn until one fits into the image; one of which none does gives no patch.

    Raises:
        ValueError: bounds that are out of order or range, or so that no patch fits into the image.
    """
    check_share("p", p)
    check_range("area", area, 1e-6, 1)
    check_range("aspect", aspect, 1e-3, 1e3)
    if pool < 1 or back < pool:
        raise ValueError(f"pool {pool!r}, back {back!r}; wanted a pool of 1 image or more, and back no less than it")
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
