"""One image: a person in front of a backdrop, framed by a detector and taken by a camera."""

from dataclasses import dataclass, replace

import numpy as np

from models.data.drawn.backdrop import Pixels, cut_plate
from models.data.drawn.camera import Camera, Level
from models.data.drawn.figure import draw_person
from models.data.drawn.lens import expose
from models.data.drawn.occluder import draw_occluder
from models.data.drawn.person import Person, make_person
from models.data.drawn.pose import strike_pose
from models.data.drawn.tube import Array, Light
from models.data.drawn.view import View

FRAMINGS = ("person", "part", "empty")
"""A whole person, a badly framed part of one, or background only."""
PASSER_BY = 1_000_000
"""First identity of the people who only walk through the images of others."""


@dataclass(frozen=True)
class Shot:
    """An image to take: identity, number, camera (1..CAMERAS), framing."""

    identity: int
    index: int
    camera: int
    framing: str = "person"


def take_picture(shot: Shot, seed: int, size: tuple[int, int], camera: Camera, plate: Pixels, level: Level) -> bytes:
    """Draw a shot. A pure function of its arguments.

    Args:
        size: (height, width) in pixels.
        plate: the camera's backdrop, a function of (seed, camera), made for twice that size.

    Returns:
        A JPEG file.
    """
    rng = np.random.default_rng([seed, 3, shot.identity, shot.index])
    # A detector's box is resized to the image: people appear a little broader than they are.
    height, width = 2 * size[0], int(2 * size[1] / rng.uniform(1.1, 1.3))
    canvas = cut_plate(plate, rng, height, width)
    light = replace(camera.light, azimuth=camera.light.azimuth + float(rng.normal(0, 0.2)))
    yaw = _heading(seed, shot, camera) + float(rng.normal(0, 0.25))
    view = _frame(rng, yaw, camera, (height, width), shot.framing, level)
    if rng.random() < level.crowded:
        _passer_by(canvas, seed, rng, view, light)
    if shot.framing != "empty":
        _figure(canvas, make_person(seed, shot.identity), view, rng, light)
    if rng.random() < level.occluded or (shot.framing == "empty" and rng.random() < 0.5):
        draw_occluder(canvas, rng, light)
    return expose(canvas, rng, size, camera, level)


def _heading(seed: int, shot: Shot, camera: Camera) -> float:
    """A person walks past a camera in one direction, so images from one camera are similar."""
    rng = np.random.default_rng([seed, 4, shot.identity, shot.camera])
    return float(rng.choice(4, p=camera.views)) * np.pi / 2 + float(rng.normal(0, 0.25))


def _frame(
    rng: np.random.Generator, yaw: float, camera: Camera, canvas: tuple[int, int], framing: str, level: Level
) -> View:
    """The detector's box around a body of height 1, see `_figure`."""
    height, width = canvas
    zoom, shift = rng.normal(0, level.loose, 2)
    share = 0.92 * float(np.clip(1 + zoom, 0.7, 1.25))
    x = width * float(0.5 + np.clip(rng.normal(0, 1.2 * level.loose), -0.3, 0.3))
    y = height * float(0.955 + np.clip(shift, -0.15, 0.2))
    if framing == "part":
        share *= float(rng.uniform(1.2, 1.9))
        x, y = width * float(rng.choice((0.05, 0.95, 0.5))), height * float(rng.uniform(0.8, 1.9))
    pitch = camera.pitch + float(rng.normal(0, 0.03))
    turned = (yaw + np.pi) % (2 * np.pi) - np.pi
    return View(float(turned), pitch, share * height / float(np.cos(pitch)), x, y)


def _figure(canvas: Array, person: Person, view: View, rng: np.random.Generator, light: Light) -> None:
    """Draw a body so that its height fills the box: a detector hides the height of a person."""
    fitted = replace(view, scale=view.scale / person.build.height)
    pose = strike_pose(rng, person.side if person.bag == "handbag" else None)
    _shadow(canvas, fitted, light)
    draw_person(canvas, fitted, person, pose, float(rng.uniform(0, 2 * np.pi)), light)


def _shadow(canvas: Array, view: View, light: Light) -> None:
    """A soft dark ellipse on the ground, away from the light."""
    wide, tall = 0.42 * view.scale, 0.09 * view.scale
    ys = (np.arange(canvas.shape[0], dtype=np.float32)[:, None] - np.float32(view.y)) / np.float32(tall)
    xs = (
        np.arange(canvas.shape[1], dtype=np.float32) - np.float32(view.x - 0.5 * wide * np.sin(light.azimuth))
    ) / np.float32(wide)
    rows = slice(max(0, int(view.y - 1.6 * tall)), max(0, int(view.y + 1.6 * tall)))
    dark = np.exp(-1.6 * (xs * xs + ys[rows] * ys[rows]))
    canvas[rows] *= (1 - np.float32(0.5) * dark)[..., None]


def _passer_by(canvas: Array, seed: int, rng: np.random.Generator, view: View, light: Light) -> None:
    """Another person at the edge of the box, a little further away."""
    person = make_person(seed, PASSER_BY + int(rng.integers(200)))
    aside = float(rng.choice((-1, 1)) * rng.uniform(0.36, 0.52)) * canvas.shape[1]
    further = float(rng.uniform(0.8, 0.97))
    other = replace(
        view,
        yaw=float(rng.uniform(-np.pi, np.pi)),
        x=canvas.shape[1] / 2 + aside,
        y=view.y - 0.1 * (1 - further) * canvas.shape[0],
        scale=view.scale * further,
    )
    _figure(canvas, person, other, rng, light)
