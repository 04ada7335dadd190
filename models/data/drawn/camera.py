"""The six cameras and the three levels of difficulty."""

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
        Camera(
            place="street", views=(0.5, 0.2, 0.1, 0.2), pitch=0.2,
            light=Light(0.7, 0.42, 0.7), cast=(1.06, 1.0, 0.92),
            gamma=0.95, haze=0.03, detail=1.0, blur=0.3, noise=0.009, jpeg=88,
        ),
        Camera(
            place="wall", views=(0.1, 0.45, 0.1, 0.35), pitch=0.08,
            light=Light(-0.8, 0.5, 0.52), cast=(0.92, 0.97, 1.1),
            gamma=1.15, haze=0.06, detail=0.8, blur=0.5, noise=0.014, jpeg=80,
        ),
        Camera(
            place="grass", views=(0.15, 0.2, 0.5, 0.15), pitch=0.26,
            light=Light(0.3, 0.55, 0.55), cast=(1.02, 1.06, 0.9),
            gamma=0.9, haze=0.1, detail=0.9, blur=0.3, noise=0.009, jpeg=85,
        ),
        Camera(
            place="tiles", views=(0.45, 0.1, 0.35, 0.1), pitch=0.34,
            light=Light(-0.2, 0.5, 0.45), cast=(1.12, 1.0, 0.8),
            gamma=1.05, haze=0.02, detail=0.7, blur=0.6, noise=0.02, jpeg=72,
        ),
        Camera(
            place="platform", views=(0.15, 0.35, 0.15, 0.35), pitch=0.14,
            light=Light(1.0, 0.3, 0.7), cast=(0.9, 1.04, 1.02),
            gamma=1.35, haze=0.04, detail=0.6, blur=0.7, noise=0.024, jpeg=68,
        ),
        Camera(
            place="plaza", views=(0.3, 0.15, 0.4, 0.15), pitch=0.3,
            light=Light(-0.5, 0.6, 0.62), cast=(1.0, 1.0, 1.03),
            gamma=0.8, haze=0.14, detail=0.85, blur=0.4, noise=0.011, jpeg=82,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class Level:
    """How hard the pictures are.

    Attributes:
        cast: strength of each camera's colour cast and gamma, 1 as in the table above.
        flicker: standard deviation of the brightness and tint of single images.
        occluded: share of images with an object in front.
        crowded: share of images with a second pedestrian partly in frame.
        scenery: contrast of the backdrop, 1 as painted.
        apart: difference of the backdrops' mean colours, 1 as painted.
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
        "easy": Level(
            cast=0.2, flicker=0.02, occluded=0.05, crowded=0.05, scenery=0.35, apart=0.1, loose=0.02, grit=0.5
        ),
        "normal": Level(
            cast=0.35, flicker=0.04, occluded=0.14, crowded=0.12, scenery=0.5, apart=0.15, loose=0.04, grit=1.0
        ),
        "hard": Level(cast=1.0, flicker=0.08, occluded=0.3, crowded=0.25, scenery=0.9, apart=0.8, loose=0.08, grit=1.6),
    }
