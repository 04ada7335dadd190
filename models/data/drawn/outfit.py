"""Outfits: kinds, colours and patterns of upper and lower clothes."""

import colorsys
from dataclasses import dataclass

import numpy as np

from models.data.drawn.tube import Colour

UPPERS = ("tshirt", "longsleeve", "jacket", "hoodie", "coat", "dress")
LOWERS = ("trousers", "jeans", "slim", "shorts", "skirt")
PATTERNS = ("plain", "stripes", "bars", "checks", "twotone", "dots")

CLOTH: tuple[Colour, ...] = (
    (0.10, 0.10, 0.12), (0.22, 0.23, 0.25), (0.50, 0.51, 0.53), (0.92, 0.92, 0.90),
    (0.85, 0.78, 0.64), (0.45, 0.33, 0.22), (0.12, 0.17, 0.34), (0.20, 0.38, 0.68),
    (0.52, 0.72, 0.86), (0.70, 0.12, 0.14), (0.88, 0.44, 0.16), (0.93, 0.79, 0.24),
    (0.16, 0.40, 0.24), (0.45, 0.52, 0.28), (0.42, 0.22, 0.48),
    (0.90, 0.58, 0.68), (0.14, 0.50, 0.52), (0.40, 0.10, 0.16),
)  # fmt: skip
DENIM: tuple[Colour, ...] = ((0.16, 0.22, 0.36), (0.32, 0.43, 0.60), (0.12, 0.13, 0.17), (0.52, 0.61, 0.72))
MUTED = (0, 1, 2, 4, 5, 6, 13)


@dataclass(frozen=True)
class Outfit:
    """Clothes. `pattern` is worn in `upper_colour` and `second`; `inner` shows in an open jacket; periods in metres."""

    upper: str
    upper_colour: Colour
    second: Colour
    inner: Colour
    pattern: str
    period: float
    lower: str
    lower_colour: Colour
    lower_second: Colour
    lower_pattern: str
    length: float


@dataclass(frozen=True)
class Cut:
    """How an upper garment is cut.

    Attributes:
        long_sleeves: to the wrist; otherwise above the elbow.
        below: least length below the hips, as a share of the body's height; `spread` is added for the longest.
        flare: width at the hem against the hips'.
        slack: width against the body's.
    """

    long_sleeves: bool
    below: float
    spread: float
    flare: float
    slack: float


def cut_of(upper: str) -> Cut:
    """The cut of each of UPPERS."""
    return {
        "tshirt": Cut(False, 0.025, 0.03, 1.04, 1.0),
        "longsleeve": Cut(True, 0.02, 0.03, 1.0, 1.0),
        "jacket": Cut(True, 0.03, 0.05, 1.04, 1.1),
        "hoodie": Cut(True, 0.03, 0.03, 0.97, 1.12),
        "coat": Cut(True, 0.16, 0.12, 1.28, 1.1),
        "dress": Cut(False, 0.15, 0.14, 1.5, 1.0),
    }[upper]


def pick_colour(rng: np.random.Generator, among: tuple[int, ...] = ()) -> Colour:
    """A cloth colour, jittered in hue, saturation and value; `among` limits it to some rows of CLOTH."""
    base = CLOTH[int(rng.choice(among)) if among else int(rng.integers(len(CLOTH)))]
    hue, saturation, value = colorsys.rgb_to_hsv(*base)
    shift = rng.normal(0, 1, 3)
    jittered = colorsys.hsv_to_rgb(
        (hue + 0.015 * shift[0]) % 1,
        float(np.clip(saturation + 0.05 * shift[1], 0, 1)),
        float(np.clip(value + 0.04 * shift[2], 0.07, 0.96)),
    )
    return (jittered[0], jittered[1], jittered[2])


def dress_up(rng: np.random.Generator) -> Outfit:
    """Draw an outfit."""
    upper = str(rng.choice(UPPERS, p=(0.26, 0.2, 0.22, 0.12, 0.08, 0.12)))
    lower = str(rng.choice(LOWERS, p=(0.28, 0.26, 0.16, 0.16, 0.14)))
    main, second = pick_colour(rng), pick_colour(rng)
    while sum(abs(a - b) for a, b in zip(main, second, strict=True)) < 0.5:
        second = pick_colour(rng)
    colour = (
        DENIM[int(rng.integers(len(DENIM)))]
        if lower == "jeans"
        else pick_colour(rng, MUTED if rng.random() < 0.6 else ())
    )
    return Outfit(
        upper=upper,
        upper_colour=main,
        second=second,
        inner=pick_colour(rng),
        pattern=str(rng.choice(PATTERNS, p=(0.42, 0.16, 0.08, 0.14, 0.14, 0.06))),
        period=float(rng.uniform(0.07, 0.14)),
        lower=lower,
        lower_colour=colour,
        lower_second=pick_colour(rng),
        lower_pattern=str(rng.choice(("plain", "side", "checks"), p=(0.76, 0.14, 0.1))),
        length=float(rng.uniform(0.0, 1.0)),
    )
