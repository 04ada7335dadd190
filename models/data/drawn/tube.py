"""Tubes: a body is a few lit, round, tapering tubes, drawn over each other from far to near."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Colour = tuple[float, float, float]
Paint = Callable[[Array, Array], Array]
"""Albedo of a tube's surface: (u (h, w) across in -1..1, t (h, w) along in 0..1) -> (h, w, 3) in 0..1."""


@dataclass(frozen=True)
class Light:
    """Where a camera's light comes from.

    Attributes:
        azimuth: radians from the camera's axis, positive to the right of the picture.
        ambient: brightness of a surface that looks away from the light.
        diffuse: brightness that a surface gains by looking into it.
    """

    azimuth: float
    ambient: float
    diffuse: float


def flat(colour: Colour, like: Array) -> Array:
    """One colour all over a surface: (h, w, 3), read-only, for `like` (h, w)."""
    return np.broadcast_to(np.asarray(colour, np.float32), (*like.shape, 3))


def draw_tube(
    canvas: Array,
    start: tuple[float, float],
    end: tuple[float, float],
    radii: Sequence[float],
    paint: Paint | Colour,
    light: Light,
    round_ends: tuple[bool, bool] = (True, True),
    knots: Sequence[float] | None = None,
) -> None:
    """Lay a lit, antialiased tube over the canvas, in place.

    Args:
        canvas: (H, W, 3) float32 in 0..1.
        start, end: ends of the axis, (x, y) in pixels, y down.
        radii: K >= 2 half-widths in pixels along the axis.
        paint: albedo, one colour or a function of the surface.
        light: the camera's light.
        round_ends: whether start and end bulge out as half-discs, or are cut straight.
        knots: where along the axis (0..1, rising) the radii are; evenly spaced where None.
    """
    height, width = canvas.shape[:2]
    reach = max(radii) + 1.0
    left, right = (max(0, int(min(start[0], end[0]) - reach)), min(width, int(max(start[0], end[0]) + reach) + 2))
    top, bottom = (max(0, int(min(start[1], end[1]) - reach)), min(height, int(max(start[1], end[1]) + reach) + 2))
    if left >= right or top >= bottom:
        return
    length = max(float(np.hypot(end[0] - start[0], end[1] - start[1])), 1e-3)
    ax, ay = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    xs = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - start[0])
    ys = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - start[1]))[:, None]
    along = xs * np.float32(ax) + ys * np.float32(ay)
    across = xs * np.float32(ay) - ys * np.float32(ax)
    t = _unit(along / np.float32(length))
    radius = _radius(t, radii, knots)
    over = along - t * np.float32(length)
    alpha = _unit(radius - np.sqrt(across * across + over * over) + np.float32(0.5))
    if not round_ends[0]:
        alpha *= _unit(along + np.float32(0.5))
    if not round_ends[1]:
        alpha *= _unit(np.float32(length + 0.5) - along)
    u = np.minimum(np.maximum(across / np.maximum(radius, np.float32(0.5)), np.float32(-1)), np.float32(1))
    shade = _shade(u * np.float32(ay if abs(ay) > 0.15 else 0.15), u, light)
    albedo = paint(u, t) if callable(paint) else np.asarray(paint, np.float32)
    window = canvas[top:bottom, left:right]
    window += alpha[..., None] * (albedo * shade[..., None] - window)


def _unit(values: NDArray[np.floating]) -> Array:
    """Clipped to 0..1; on arrays this small np.clip costs as much as the arithmetic."""
    return np.minimum(np.maximum(values, np.float32(0)), np.float32(1)).astype(np.float32, copy=False)


def _radius(t: Array, radii: Sequence[float], knots: Sequence[float] | None) -> Array:
    if len(radii) == 2:
        return np.float32(radii[0]) + np.float32(radii[1] - radii[0]) * t
    at = np.linspace(0, 1, len(radii)) if knots is None else knots
    return np.interp(t, at, radii).astype(np.float32)


def _shade(toward_right: Array, u: Array, light: Light) -> Array:
    """Lambert on a round surface: normal (u, sqrt(1 - u^2)) against the light's direction."""
    facing = np.sqrt(np.float32(1) - u * u * np.float32(0.94))
    lit = facing * np.float32(np.cos(light.azimuth)) + toward_right * np.float32(np.sin(light.azimuth))
    rim = np.float32(0.78) + np.float32(0.22) * facing
    return rim * (np.float32(light.ambient) + np.float32(light.diffuse) * np.maximum(lit, 0))
