"""Lens and sensor: colour, blur, resolution, noise, JPEG."""

import io

import numpy as np
from PIL import Image, ImageFilter

from models.data.drawn.camera import Camera, Level
from models.data.drawn.tube import Array

VEIL = 0.72
"""Grey that haze mixes in."""


def expose(canvas: Array, rng: np.random.Generator, size: tuple[int, int], camera: Camera, level: Level) -> bytes:
    """A JPEG of (height, width) = size pixels.

    Args:
        canvas: (2 height, any width, 3) in 0..1. A box of another aspect ratio is resized to fit.
    """
    height, width = size
    seen = _image(develop(canvas, rng, camera, level)).resize((width, height), Image.Resampling.BOX)
    blur = camera.blur * level.grit * height / 128 * float(rng.uniform(0.5, 1.4))
    detail = min(1.0, camera.detail**level.grit * float(rng.uniform(0.85, 1.05)))
    coarse = seen.filter(ImageFilter.GaussianBlur(blur)).resize(
        (max(8, round(width * detail)), max(16, round(height * detail))), Image.Resampling.BILINEAR
    )
    values = np.asarray(coarse, np.float32) / np.float32(255)
    grain = rng.normal(0, camera.noise * level.grit, values.shape).astype(np.float32)
    file = io.BytesIO()
    _image(values + grain).resize((width, height), Image.Resampling.BILINEAR).save(file, "JPEG", quality=camera.jpeg)
    return file.getvalue()


def develop(canvas: Array, rng: np.random.Generator, camera: Camera, level: Level) -> Array:
    """The canvas in the camera's colours: cast and brightness, gamma, then haze."""
    tint = np.asarray(camera.cast) ** level.cast * np.exp(rng.normal(0, 0.5 * level.flicker, 3))
    gain = (tint * np.exp(rng.normal(0, 1.5 * level.flicker))).astype(np.float32)
    toned = np.clip(canvas * gain, 0, 1) ** np.float32(camera.gamma**level.cast)
    veil = np.float32(camera.haze * level.cast)
    return (np.float32(1) - veil) * toned + veil * np.float32(VEIL)


def _image(values: Array) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))
