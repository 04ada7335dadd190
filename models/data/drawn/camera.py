"""The six cameras and the three levels: what a place does to every picture taken there."""

from dataclasses import dataclass

from models.data.drawn.tube import Colour, Light

CAMERAS = 6


@dataclass(frozen=True)
class Camera:
    """A place and its lens.

    Attributes:
        place: the backdrop's kind.
        views: how often the front, a walk to the right, the back and a walk to the left are seen; sums to 1.
        pitch: radians by which it looks down.
        light: where light comes from.
        cast: gain of red, green and blue.
        gamma: exponent of brightness; above 1 is darker.
        haze: share of grey mixed in.
        detail: size at which the lens resolves, as a share of the picture's size.
        blur: standard deviation in pixels of a 128-pixel-high picture.
        noise: standard deviation of the sensor's noise, 0..1.
        jpeg: JPEG quality.
    """

    place: str
    views: tuple[float, float, float, float]
    pitch: float
    light: Light
    cast: Colour
    gamma: float
    haze: float
    detail: float
    blur: float
    noise: float
    jpeg: int


def cameras() -> tuple[Camera, ...]:
    """Cameras 1 to 6."""
    return (
        Camera("street", (0.5, 0.2, 0.1, 0.2), 0.20, Light(0.7, 0.42, 0.70), (1.06, 1.0, 0.92), 0.95, 0.03, 1.0, 0.3, 0.012, 88),
        Camera("wall", (0.1, 0.45, 0.1, 0.35), 0.08, Light(-0.8, 0.50, 0.52), (0.92, 0.97, 1.10), 1.15, 0.06, 0.8, 0.5, 0.02, 80),
        Camera("grass", (0.15, 0.2, 0.5, 0.15), 0.26, Light(0.3, 0.55, 0.55), (1.02, 1.06, 0.90), 0.90, 0.10, 0.9, 0.3, 0.012, 85),
        Camera("tiles", (0.45, 0.1, 0.35, 0.1), 0.34, Light(-0.2, 0.50, 0.45), (1.12, 1.0, 0.80), 1.05, 0.02, 0.7, 0.6, 0.03, 72),
        Camera("platform", (0.15, 0.35, 0.15, 0.35), 0.14, Light(1.0, 0.30, 0.70), (0.90, 1.04, 1.02), 1.35, 0.04, 0.6, 0.7, 0.035, 68),
        Camera("plaza", (0.3, 0.15, 0.4, 0.15), 0.30, Light(-0.5, 0.60, 0.62), (1.0, 1.0, 1.03), 0.80, 0.14, 0.85, 0.4, 0.015, 82),
    )  # fmt: skip


@dataclass(frozen=True)
class Level:
    """How hard the pictures are.

    Attributes:
        cast: how far each camera's colour cast and gamma are from neutral, 1 as in the table above.
        flicker: standard deviation of a picture's own brightness and tint.
        occluded: share of pictures with something in front.
        crowded: share of pictures with another pedestrian partly in frame.
        scenery: contrast of the backdrop, 1 as painted.
        apart: how far the backdrops' mean colours are from each other, 1 as painted.
        loose: standard deviation of a box's shift and zoom, as a share of the picture.
        grit: factor on blur and noise.
    """

    cast: float
    flicker: float
    occluded: float
    crowded: float
    scenery: float
    apart: float
    loose: float
    grit: float


def levels() -> dict[str, Level]:
    """Levels by name, easy first."""
    return {
        "easy": Level(cast=0.2, flicker=0.02, occluded=0.05, crowded=0.05, scenery=0.35, apart=0.1, loose=0.02, grit=0.5),
        "normal": Level(cast=0.35, flicker=0.04, occluded=0.14, crowded=0.12, scenery=0.5, apart=0.15, loose=0.04, grit=1.0),
        "hard": Level(cast=1.0, flicker=0.08, occluded=0.3, crowded=0.25, scenery=0.9, apart=0.8, loose=0.08, grit=1.6),
    }
