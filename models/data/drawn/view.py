"""The view of a body: yaw and pitch of the camera, and its parts drawn from far to near."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.data.drawn.pose import Point
from models.data.drawn.tube import Array, Colour, Light, Paint, draw_tube


@dataclass(frozen=True)
class View:
    """An orthographic camera.

    Attributes:
        yaw: radians; 0 is the front, pi the back, +pi/2 a body that walks to the right of the picture.
        pitch: radians by which the camera looks down.
        scale: pixels a metre.
        x, y: pixel at which the ground below the body lies.
    """

    yaw: float
    pitch: float
    scale: float
    x: float
    y: float


@dataclass(frozen=True)
class Part:
    """A tube of a body, metres; a higher `layer` is drawn later, over the others."""

    layer: float
    start: Point
    end: Point
    radii: tuple[float, ...]
    paint: Paint | Colour
    round_ends: tuple[bool, bool] = (True, True)
    knots: tuple[float, ...] | None = None


def nearness(view: View, point: Point) -> float:
    """Metres by which a point is nearer to the camera than the body's axis."""
    return float(point[2] * np.cos(view.yaw) - point[0] * np.sin(view.yaw))


def sideways(view: View, point: Point) -> float:
    """Metres by which a point is to the right of the body's axis, in the picture."""
    return float(point[0] * np.cos(view.yaw) + point[2] * np.sin(view.yaw))


def project(view: View, point: Point) -> tuple[float, float]:
    """Pixel (x, y) of a point in the body's frame."""
    up = point[1] * np.cos(view.pitch) - nearness(view, point) * np.sin(view.pitch)
    return float(view.x + view.scale * sideways(view, point)), float(view.y - view.scale * up)


def seen_width(view: View, wide: float, deep: float) -> float:
    """Half-width seen of an ellipse with half-axes `wide` (left to right) and `deep` (back to front), same unit."""
    return float(np.hypot(wide * np.cos(view.yaw), deep * np.sin(view.yaw)))


def seen_turn(view: View, wide: float, deep: float) -> float:
    """Turn of such an ellipse's own angle: its point at angle a (from the front) is seen at sin(a + turn)."""
    return float(np.arctan2(deep * np.sin(view.yaw), wide * np.cos(view.yaw)))


def around(u: Array, turn: float) -> Array:
    """Angle around the body, (h, w) in -pi..pi with 0 at its front, of a surface point seen at u in -1..1."""
    angle = np.arcsin(u) - np.float32(turn)
    return np.where(
        angle > np.pi, angle - np.float32(2 * np.pi), np.where(angle < -np.pi, angle + np.float32(2 * np.pi), angle)
    )


def draw_parts(canvas: Array, view: View, parts: Iterable[Part], light: Light) -> None:
    """Lay the parts of a body over the canvas (H, W, 3), in place."""
    for part in sorted(parts, key=lambda each: each.layer):
        radii = [radius * view.scale for radius in part.radii]
        start, end = project(view, part.start), project(view, part.end)
        draw_tube(canvas, start, end, radii, part.paint, light, part.round_ends, part.knots)
