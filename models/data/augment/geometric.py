"""Geometric augmentations: flip, shift, rotation, shear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pil

from models.data.augment import batch_geometric
from models.data.augment.base import Augment, Drawn, Image, Size, check_range, check_share


def flip(*, p: float = 0.5) -> Augment:
    """Mirror left and right with probability p."""
    check_share("p", p)

    def draw(rng: np.random.Generator, size: Size) -> Drawn | None:
        return Drawn() if rng.random() < p else None

    return Augment(draw, lambda image, drawn: image[:, ::-1], batch_geometric.flip)


def pad_crop(*, pad: int = 10) -> Augment:
    """Pad with `pad` black pixels on every side and crop the original size at a random position."""
    if pad < 0:
        raise ValueError(f"pad {pad!r}; must be 0 pixels or more")

    def draw(rng: np.random.Generator, size: Size) -> Drawn:
        top, left = rng.integers(0, 2 * pad + 1, 2)
        return Drawn((top, left))

    def apply(image: Image, drawn: Drawn) -> Image:
        height, width, _ = image.shape
        top, left = map(int, drawn.numbers)
        padded = np.zeros((height + 2 * pad, width + 2 * pad, 3), np.uint8)
        padded[pad : pad + height, pad : pad + width] = image
        return padded[top : top + height, left : left + width]

    return Augment(draw, apply, partial(batch_geometric.pad_crop, pad), width=2)


def affine(
    *,
    p: float = 0.5,
    degrees: float = 10,
    translate: Sequence[float] = (0.05, 0.05),
    scale: Sequence[float] = (0.9, 1.1),
    shear: float = 5,
    fill: int = 0,
) -> Augment:
    """Rotate, scale, shear and shift about the centre, with bilinear interpolation.

    Args:
        p: probability.
        degrees: largest rotation to either side.
        translate: largest shift to either side, as a share of the height and of the width.
        scale: smallest and largest factor.
        shear: largest shear to either side along the width, in degrees.
        fill: grey of pixels from outside the image, 0 to 255.

    Raises:
        ValueError: bounds out of order or out of range.
    """
    check_share("p", p)
    check_range("scale", scale, 0.1, 10)
    check_range("translate, each,", (0, *sorted(translate)[-1:]), 0, 1)
    if not (0 <= degrees <= 180 and 0 <= shear < 90 and len(translate) == 2 and min(translate) >= 0):
        raise ValueError(
            f"degrees {degrees}, shear {shear}, translate {list(translate)}; must be 0 to 180, 0 to below 90, and two "
            "shares from 0 to 1"
        )

    def draw(rng: np.random.Generator, size: Size) -> Drawn | None:
        if rng.random() >= p:
            return None
        turn, slant = rng.uniform(-degrees, degrees), rng.uniform(-shear, shear)
        factor = rng.uniform(scale[0], scale[1])
        down = rng.uniform(-translate[0], translate[0]) * size[0]
        right = rng.uniform(-translate[1], translate[1]) * size[1]
        return Drawn(inverse(affine_matrix(size, turn, slant, factor, (down, right))))

    return Augment(
        draw, lambda image, drawn: resampled(image, drawn.numbers, fill), partial(batch_geometric.affine, fill), width=6
    )


def affine_matrix(
    size: tuple[int, int], turn: float, slant: float, factor: float, shift: tuple[float, float]
) -> NDArray[np.float64]:
    """The matrix that moves a point (x, y, 1): shear, clockwise rotation and scale about the centre, then shift.

    Args:
        size: height, width in pixels. The centre of pixel (0, 0) is (0.5, 0.5).
        turn, slant: degrees.
        shift: down and right, in pixels.

    Returns:
        (3, 3), with the last row 0, 0, 1.
    """
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    linear = factor * np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, -math.tan(math.radians(slant))], [0, 1]])
    centre = np.array([size[1] / 2, size[0] / 2])
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre + np.array([shift[1], shift[0]])
    return matrix


def inverse(matrix: NDArray[np.float64]) -> tuple[float, ...]:
    """The inverse map: the numbers a to f of x' = a x + b y + c, y' = d x + e y + f."""
    return tuple(np.linalg.inv(matrix)[:2].ravel().tolist())


def warp(image: Image, matrix: NDArray[np.float64], fill: int) -> Image:
    """The image moved by the matrix, bilinear. Pixels from outside the image are `fill`."""
    return resampled(image, inverse(matrix), fill)


def resampled(image: Image, source: Sequence[float], fill: int) -> Image:
    """The image resampled by the 6 numbers of `inverse`, bilinear."""
    size = (image.shape[1], image.shape[0])
    before = Pil.fromarray(np.ascontiguousarray(image))
    moved = before.transform(
        size, Pil.Transform.AFFINE, tuple(source), Pil.Resampling.BILINEAR, fillcolor=(fill, fill, fill)
    )
    return np.asarray(moved)


def random_shift(*, p: float = 0.5, keep: float = 0.7, least: float = 0.5, fill: int = 127) -> Augment:
    """RandomShiftAugment: imitates boxes of a poor detector (occlusion, distortion, much background).

    The image is cropped along its height. The crop is resized to a random size, at most that of the image, and
    pasted at a random position on a canvas of the original size.
    This project's own.

    Args:
        p: probability.
        keep: smallest share of the height that is kept.
        least: smallest height and width of the resized crop, as a share of the image's.
        fill: grey of the canvas, 0 to 255.

    Raises:
        ValueError: a share of 0 or less, or above 1.
    """
    check_share("p", p)
    check_share("keep", keep, least=0.01)
    check_share("least", least, least=0.01)

    def draw(rng: np.random.Generator, size: Size) -> Drawn | None:
        if rng.random() >= p:
            return None
        height, width = size
        rows = rng.integers(math.ceil(keep * height), height + 1)
        start = rng.integers(0, height - rows + 1)
        h = rng.integers(max(1, math.ceil(least * height)), height + 1)
        w = rng.integers(max(1, math.ceil(least * width)), width + 1)
        return Drawn((start, rows, rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w))

    def apply(image: Image, drawn: Drawn) -> Image:
        start, rows, top, left, h, w = map(int, drawn.numbers)
        cut = Pil.fromarray(np.ascontiguousarray(image[start : start + rows]))
        canvas = np.full_like(image, fill)
        canvas[top : top + h, left : left + w] = np.asarray(cut.resize((w, h), Pil.Resampling.BILINEAR))
        return canvas

    return Augment(draw, apply, partial(batch_geometric.random_shift, fill), width=6)
