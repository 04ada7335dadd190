"""Thumbnails: many small images in a few files, for web pages."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from PIL import Image

from configs.errors import DataError
from models.data.images import decode

COLUMNS, ROWS = 8, 8
PER_SHEET = COLUMNS * ROWS
SUFFIX = ".webp"
QUALITY, METHOD = 82, 2
SAMPLE = 200


@dataclass(frozen=True)
class Tile:
    """The box of a thumbnail, in pixels."""

    width: int
    height: int


def tile_of(paths: Sequence[Path | None], longest: int) -> Tile:
    """A tile with the median shape of the images, not larger than they are.

    Args:
        paths: the images. A sample of them is read.
        longest: largest length of the longer side, in pixels.
    """
    step = max(1, len(paths) // SAMPLE)
    sizes = [size for path in paths[::step] if path is not None and (size := _size(path))]
    if not sizes:
        return Tile(longest // 2, longest)
    width, height = np.median(np.array(sizes, float), axis=0)
    scale = min(1.0, longest / max(width, height))
    return Tile(max(1, round(width * scale)), max(1, round(height * scale)))


def write_sheets(
    paths: Sequence[Path | None], tile: Tile, folder: Path, stem: str, step: Callable[[float], None]
) -> list[int]:
    """Write images in reading order to sheets `<stem>-0000.webp` of COLUMNS x ROWS tiles.

    An image is scaled to fit its tile. The rest of the tile is transparent.
    An image that is missing or cannot be decoded leaves an empty tile.

    Returns:
        Indices of the images that could not be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(paths), PER_SHEET)
    tasks = (delayed(_sheet)(paths[s : s + PER_SHEET], tile, folder / _name(stem, s // PER_SHEET)) for s in starts)
    unread: list[int] = []
    for start, bad in zip(starts, Parallel(n_jobs=-1, prefer="threads", return_as="generator")(tasks), strict=True):
        unread += [start + i for i in bad]
        step(min(PER_SHEET, len(paths) - start))
    return unread


def write_picture(image: NDArray[np.uint8], path: Path) -> None:
    """Write an image (H, W, 3) uint8 as WebP."""
    Image.fromarray(image).save(path, "WEBP", quality=QUALITY, method=METHOD)


def fitted(path: Path | None, tile: Tile) -> Image.Image | None:
    """An image scaled to fit the tile, transparent around it. None if it cannot be read."""
    if path is None:
        return None
    try:
        image = Image.fromarray(decode(path))
    except DataError:
        return None
    scale = min(tile.width / image.width, tile.height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    box = Image.new("RGBA", (tile.width, tile.height), (0, 0, 0, 0))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    box.paste(image, ((tile.width - size[0]) // 2, (tile.height - size[1]) // 2))
    return box


def _sheet(paths: Sequence[Path | None], tile: Tile, file: Path) -> list[int]:
    sheet = Image.new("RGBA", (COLUMNS * tile.width, ROWS * tile.height), (0, 0, 0, 0))
    bad = []
    for i, path in enumerate(paths):
        picture = fitted(path, tile)
        if picture is None:
            bad.append(i)
        else:
            sheet.paste(picture, (i % COLUMNS * tile.width, i // COLUMNS * tile.height))
    opaque = np.asarray(sheet.getchannel("A")).min() == 255
    (sheet.convert("RGB") if opaque else sheet).save(file, "WEBP", quality=QUALITY, method=METHOD)
    return bad


def _name(stem: str, number: int) -> str:
    return f"{stem}-{number:04d}{SUFFIX}"


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def preview(path: Path, longest: int = 240) -> bytes:
    """An image as WebP, with a longer side of at most `longest` pixels.

    Raises:
        DataError: it cannot be decoded.
    """
    image = Image.fromarray(decode(path))
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=METHOD)
    return file.getvalue()
