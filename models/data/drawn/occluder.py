"""Objects in front of a person, and next to them."""

from itertools import pairwise

import numpy as np

from models.data.drawn.outfit import pick_colour
from models.data.drawn.tube import Array, Colour, Light, draw_tube

OCCLUDERS = ("pole", "bench", "bicycle", "bin", "hedge")


def draw_occluder(canvas: Array, rng: np.random.Generator, light: Light) -> None:
    """Draw one random object in front, in place. It hides up to about half of an image (H, W, 3)."""
    kind = str(rng.choice(OCCLUDERS))
    {"pole": _pole, "bench": _bench, "bicycle": _bicycle, "bin": _bin, "hedge": _hedge}[kind](canvas, rng, light)


def _grey(rng: np.random.Generator) -> Colour:
    value = float(rng.uniform(0.2, 0.65))
    return (value, value, value * 1.03)


def _pole(canvas: Array, rng: np.random.Generator, light: Light) -> None:
    height, width = canvas.shape[:2]
    x, radius = float(rng.uniform(0.1, 0.9)) * width, float(rng.uniform(0.025, 0.08)) * width
    draw_tube(canvas, (x, -9.0), (x, height * float(rng.uniform(0.93, 1.1))), (radius, radius), _grey(rng), light)


def _bench(canvas: Array, rng: np.random.Generator, light: Light) -> None:
    height, width = canvas.shape[:2]
    wood = (0.48 + 0.1 * float(rng.random()), 0.34, 0.22)
    top, thick = float(rng.uniform(0.62, 0.78)) * height, 0.017 * height
    left, right = float(rng.uniform(-0.3, 0.35)) * width, float(rng.uniform(0.65, 1.3)) * width
    for row in range(3):
        y = top + row * 0.055 * height
        draw_tube(canvas, (left, y), (right, y), (thick, thick), wood, light)
    for x in (left + 0.06 * width, right - 0.06 * width):
        draw_tube(canvas, (x, top), (x, 1.1 * height), (0.02 * width, 0.02 * width), (0.2, 0.2, 0.22), light)


def _bicycle(canvas: Array, rng: np.random.Generator, light: Light) -> None:
    height, width = canvas.shape[:2]
    size, colour = 0.16 * height, pick_colour(rng)
    x, y = float(rng.uniform(-0.1, 0.7)) * width, 0.97 * height - size * float(rng.uniform(0.9, 1.1))
    front, thin = x + 2.3 * size, 0.012 * height
    for hub in (x, front):
        turns = np.linspace(0, 2 * np.pi, 15)
        rim = [(hub + size * float(np.cos(a)), y + size * float(np.sin(a))) for a in turns]
        for start, end in pairwise(rim):
            draw_tube(canvas, start, end, (thin, thin), (0.08, 0.08, 0.09), light)
    seat, stem, crank = (
        (x + 0.7 * size, y - 1.1 * size),
        (front - 0.3 * size, y - 1.2 * size),
        (x + 1.1 * size, y + 0.1 * size),
    )
    for start, end in (((x, y), seat), ((x, y), crank), (crank, seat), (seat, stem), (crank, stem), (stem, (front, y))):
        draw_tube(canvas, start, end, (thin, thin), colour, light)
    draw_tube(
        canvas, (seat[0] - 0.25 * size, seat[1]), (seat[0] + 0.2 * size, seat[1]), (thin, thin), (0.1, 0.1, 0.1), light
    )


def _bin(canvas: Array, rng: np.random.Generator, light: Light) -> None:
    height, width = canvas.shape[:2]
    x, radius = float(rng.uniform(0.05, 0.95)) * width, float(rng.uniform(0.16, 0.26)) * width
    top = float(rng.uniform(0.6, 0.76)) * height
    colour = ((0.2, 0.35, 0.24), (0.3, 0.3, 0.32), (0.2, 0.26, 0.42))[int(rng.integers(3))]
    draw_tube(canvas, (x, top), (x, 1.1 * height), (radius, radius * 0.9), colour, light, (False, False))
    draw_tube(canvas, (x - radius, top), (x + radius, top), (0.012 * height, 0.012 * height), (0.1, 0.1, 0.1), light)


def _hedge(canvas: Array, rng: np.random.Generator, light: Light) -> None:
    height, width = canvas.shape[:2]
    top = float(rng.uniform(0.7, 0.84)) * height
    for _ in range(22):
        x, y = float(rng.uniform(-0.05, 1.05)) * width, top + float(rng.uniform(0, 0.3)) * height
        radius, shade = float(rng.uniform(0.06, 0.13)) * width, float(rng.uniform(0.6, 1.1))
        draw_tube(canvas, (x, y), (x + 1, y + 4), (radius, radius), (0.2 * shade, 0.38 * shade, 0.17 * shade), light)
