"""Backdrops: one wide plate per camera. Each image shows a piece of it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from models.data.drawn.camera import Camera, Level
from models.data.drawn.tube import Array, Colour

Pixels = NDArray[np.uint8]

WIDE = 6
"""A plate is as high as 1.5 canvases and as wide as this many."""
GROUND = 0.62
"""Share of a plate's height at which the ground begins."""


def make_plate(camera: Camera, level: Level, rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Paint a camera's surroundings.

    Args:
        height, width: the canvas that pieces are cut for, pixels.

    Returns:
        (1.5 height, WIDE * width, 3) bytes.
    """
    tall, wide = int(1.5 * height), WIDE * width
    image = Image.new("RGB", (wide, tall))
    draw = ImageDraw.Draw(image)
    painters[camera.place](draw, rng, wide, tall)
    plate = np.asarray(image.filter(ImageFilter.GaussianBlur(height / 160)), np.float32) / 255
    mean, common = plate.mean(axis=(0, 1)), np.asarray((0.52, 0.51, 0.50), np.float32)
    toned = common + level.apart * (mean - common) + level.scenery * (plate - mean)
    return (np.clip(toned + _texture(rng, tall, wide), 0, 1) * 255 + 0.5).astype(np.uint8)


def cut_plate(plate: Pixels, rng: np.random.Generator, height: int, width: int) -> Array:
    """A piece (height, width, 3) of a plate in 0..1, at a random shift and mirrored half the time."""
    top = int(rng.integers(int(0.12 * height), int(0.42 * height)))
    left = int(rng.integers(plate.shape[1] - width))
    piece = plate[top : top + height, left : left + width]
    return (piece[:, ::-1] if rng.random() < 0.5 else piece).astype(np.float32) / np.float32(255)


def _texture(rng: np.random.Generator, tall: int, wide: int) -> Array:
    """Grain at three scales, (tall, wide, 1)."""
    total = np.zeros((tall, wide), np.float32)
    for cell, strength in ((2, 0.012), (9, 0.014), (40, 0.03)):
        grain = rng.normal(0, strength, (tall // cell + 2, wide // cell + 2)).astype(np.float32)
        size = (grain.shape[1] * cell, grain.shape[0] * cell)
        total += np.asarray(Image.fromarray(grain).resize(size, Image.Resampling.BILINEAR))[:tall, :wide]
    return total[..., None]


def _ink(colour: Colour, rng: np.random.Generator, spread: float = 0.03) -> tuple[int, int, int]:
    shift = rng.normal(0, spread)
    red, green, blue = (int(np.clip(255 * (channel + shift), 0, 255)) for channel in colour)
    return red, green, blue


def _floor(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int, colour: Colour) -> int:
    """A ground that grows lighter towards the camera; returns the row where it begins."""
    horizon = int(GROUND * tall)
    for row in range(horizon, tall):
        near = (row - horizon) / (tall - horizon)
        red, green, blue = (channel * (0.86 + 0.2 * near) for channel in colour)
        draw.line((0, row, wide, row), fill=_ink((red, green, blue), rng, 0.006))
    return horizon


def _rows_of(horizon: int, tall: int, count: int) -> list[int]:
    """Rows of lines on the ground at equal distances."""
    return [int(horizon + (tall - horizon) / (1 + 0.55 * step)) for step in range(count)]


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int) -> None:
    horizon, left = int(GROUND * tall), 0
    while left < wide:
        broad = int(rng.uniform(0.12, 0.25) * wide)
        facade = [(0.62, 0.55, 0.47), (0.52, 0.40, 0.34), (0.70, 0.68, 0.62), (0.45, 0.47, 0.52)][int(rng.integers(4))]
        draw.rectangle((left, 0, left + broad, horizon), fill=_ink(facade, rng))
        step = max(8, int(0.16 * tall))
        for x in range(left + step // 3, left + broad - step // 2, step):
            for y in range(int(0.04 * tall), int(0.42 * tall), int(0.19 * tall)):
                draw.rectangle((x, y, x + step // 2, y + int(0.13 * tall)), fill=_ink((0.25, 0.30, 0.37), rng, 0.06))
        shop = _ink((0.18, 0.2, 0.22), rng, 0.05)
        draw.rectangle((left + 3, int(0.47 * tall), left + broad - 3, horizon), fill=shop)
        awning = (left, int(0.44 * tall), left + broad, int(0.48 * tall))
        draw.rectangle(awning, fill=tuple(int(v) for v in rng.integers(60, 200, 3)))
        left += broad
    _floor(draw, rng, wide, tall, (0.50, 0.49, 0.48))
    draw.rectangle((0, int(0.70 * tall), wide, int(0.715 * tall)), fill=_ink((0.66, 0.65, 0.63), rng))
    draw.rectangle((0, int(0.715 * tall), wide, tall), fill=_ink((0.36, 0.36, 0.38), rng))
    for x in range(0, wide, int(0.3 * tall)):
        draw.polygon(
            [
                (x, int(0.86 * tall)),
                (x + int(0.14 * tall), int(0.86 * tall)),
                (x + int(0.13 * tall), int(0.88 * tall)),
                (x - int(0.01 * tall), int(0.88 * tall)),
            ],
            fill=_ink((0.82, 0.81, 0.76), rng),
        )


def _wall(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int) -> None:
    horizon, course = int(GROUND * tall), max(4, tall // 34)
    draw.rectangle((0, 0, wide, horizon), fill=_ink((0.66, 0.62, 0.58), rng))
    for row, y in enumerate(range(0, horizon, course)):
        for x in range(-(row % 2) * course, wide, 2 * course):
            draw.rectangle((x, y, x + 2 * course - 2, y + course - 2), fill=_ink((0.56, 0.34, 0.27), rng, 0.035))
    for x in rng.integers(0, wide, 6):
        poster = tuple(int(v) for v in rng.integers(70, 230, 3))
        draw.rectangle((x, int(0.2 * tall), x + int(0.12 * tall), int(0.38 * tall)), fill=poster)
    _floor(draw, rng, wide, tall, (0.56, 0.55, 0.54))
    draw.rectangle((0, horizon - 3, wide, horizon + 2), fill=_ink((0.3, 0.28, 0.27), rng))
    for y in _rows_of(horizon, tall, 5):
        draw.line((0, y, wide, y), fill=_ink((0.44, 0.43, 0.42), rng), width=2)


def _grass(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int) -> None:
    horizon = int(GROUND * tall)
    draw.rectangle((0, 0, wide, horizon), fill=_ink((0.72, 0.80, 0.86), rng))
    for _ in range(90):
        x, y, r = rng.uniform(0, wide), rng.uniform(0.05, 0.6) * tall, rng.uniform(0.05, 0.13) * tall
        green = _ink((0.22, 0.38, 0.19), rng, 0.07)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=green)
    for x in rng.integers(0, wide, 9):
        thick = int(rng.uniform(0.01, 0.03) * tall)
        draw.rectangle((x, int(0.1 * tall), x + thick, horizon), fill=_ink((0.30, 0.23, 0.17), rng))
    _floor(draw, rng, wide, tall, (0.36, 0.52, 0.25))
    for _ in range(1800):
        x, y = rng.uniform(0, wide), rng.uniform(horizon, tall)
        draw.line((x, y, x + rng.normal(0, 3), y - tall * 0.012), fill=_ink((0.33, 0.50, 0.22), rng, 0.08))
    draw.polygon(
        [(0, int(0.8 * tall)), (wide, int(0.76 * tall)), (wide, int(0.9 * tall)), (0, int(0.95 * tall))],
        fill=_ink((0.66, 0.60, 0.48), rng),
    )


def _tiles(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int) -> None:
    horizon = int(GROUND * tall)
    draw.rectangle((0, 0, wide, horizon), fill=_ink((0.80, 0.78, 0.72), rng))
    left = 0
    while left < wide:
        broad = int(rng.uniform(0.25, 0.6) * tall)
        if rng.random() < 0.6:
            window = tuple(int(v) for v in rng.integers(60, 225, 3))
            draw.rectangle((left, int(0.16 * tall), left + broad, horizon - 4), fill=window)
            for x in range(left, left + broad, max(6, tall // 22)):
                draw.rectangle(
                    (x, int(0.3 * tall), x + tall // 34, int(0.5 * tall)),
                    fill=tuple(int(v) for v in rng.integers(30, 240, 3)),
                )
        left += broad + int(0.08 * tall)
    _floor(draw, rng, wide, tall, (0.74, 0.71, 0.64))
    for y in _rows_of(horizon, tall, 9):
        draw.line((0, y, wide, y), fill=_ink((0.55, 0.52, 0.46), rng), width=2)
    for x in range(-3 * wide, 4 * wide, int(0.32 * tall)):
        draw.line((wide / 2 + (x - wide / 2) * 0.45, horizon, x, tall), fill=_ink((0.55, 0.52, 0.46), rng), width=2)


def _platform(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int) -> None:
    horizon = int(GROUND * tall)
    draw.rectangle((0, 0, wide, horizon), fill=_ink((0.30, 0.33, 0.36), rng))
    draw.rectangle((0, int(0.12 * tall), wide, int(0.5 * tall)), fill=_ink((0.62, 0.66, 0.68), rng))
    draw.rectangle((0, int(0.42 * tall), wide, int(0.45 * tall)), fill=_ink((0.16, 0.35, 0.62), rng))
    for x in range(0, wide, int(0.33 * tall)):
        draw.rectangle((x, int(0.19 * tall), x + int(0.2 * tall), int(0.36 * tall)), fill=_ink((0.16, 0.19, 0.22), rng))
    for x in rng.integers(0, wide, 7):
        draw.rectangle((x, 0, x + int(0.07 * tall), int(0.66 * tall)), fill=_ink((0.48, 0.47, 0.44), rng))
    _floor(draw, rng, wide, tall, (0.42, 0.42, 0.43))
    draw.rectangle((0, int(0.69 * tall), wide, int(0.72 * tall)), fill=_ink((0.83, 0.70, 0.18), rng))
    for y in _rows_of(horizon, tall, 4):
        draw.line((0, y, wide, y), fill=_ink((0.34, 0.34, 0.35), rng), width=2)


def _plaza(draw: ImageDraw.ImageDraw, rng: np.random.Generator, wide: int, tall: int) -> None:
    horizon = int(GROUND * tall)
    draw.rectangle((0, 0, wide, horizon), fill=_ink((0.84, 0.86, 0.88), rng))
    for _ in range(14):
        x, broad, top = rng.uniform(0, wide), rng.uniform(0.1, 0.4) * tall, rng.uniform(0.1, 0.42) * tall
        draw.rectangle((x, top, x + broad, horizon), fill=_ink((0.66, 0.67, 0.70), rng, 0.06))
    draw.rectangle((0, int(0.56 * tall), wide, horizon), fill=_ink((0.34, 0.44, 0.28), rng))
    _floor(draw, rng, wide, tall, (0.72, 0.68, 0.63))
    for row, y in enumerate(sorted(_rows_of(horizon, tall, 8))):
        step = int(0.1 * tall * (1 + row * 0.4))
        for x in range((row % 2) * step, wide, 2 * step):
            draw.rectangle((x, y, x + step, y + int(0.02 * tall * (1 + row * 0.5))), fill=_ink((0.62, 0.52, 0.46), rng))


Painter = Callable[[ImageDraw.ImageDraw, np.random.Generator, int, int], None]
painters: dict[str, Painter] = {
    "street": _street, "wall": _wall, "grass": _grass, "tiles": _tiles, "platform": _platform, "plaza": _plaza,
}  # fmt: skip
