"""An identity: build, head, clothes and bag, the same in all of its images."""

from dataclasses import dataclass

import numpy as np

from models.data.drawn.outfit import Outfit, dress_up, pick_colour
from models.data.drawn.tube import Colour

GROUP = 3
"""Identities 3g, 3g + 1, 3g + 2 wear the same outfit and differ in everything else."""

SKINS: tuple[Colour, ...] = (
    (0.96, 0.80, 0.69), (0.91, 0.72, 0.58), (0.82, 0.61, 0.46), (0.68, 0.47, 0.33),
    (0.50, 0.33, 0.23), (0.36, 0.24, 0.18),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06), (0.16, 0.10, 0.07), (0.33, 0.20, 0.11), (0.52, 0.30, 0.14),
    (0.83, 0.67, 0.38), (0.62, 0.60, 0.58), (0.58, 0.17, 0.09),
)  # fmt: skip
SHOES: tuple[Colour, ...] = (
    (0.10, 0.10, 0.11), (0.93, 0.93, 0.92), (0.35, 0.22, 0.14), (0.75, 0.15, 0.15),
    (0.20, 0.30, 0.60), (0.55, 0.55, 0.56),
)  # fmt: skip
HAIR_STYLES = ("short", "bald", "bob", "long", "ponytail", "bun", "curly", "cap", "beanie", "scarf")
BAGS = ("none", "backpack", "shoulder", "handbag")


@dataclass(frozen=True)
class Build:
    """Measures of a body: height in metres, the others relative to an average body (1 = average)."""

    height: float
    girth: float
    shoulders: float
    hips: float
    legs: float
    head: float


@dataclass(frozen=True)
class Person:
    """One identity. `side` is the body's side (+1 or -1) on which a bag hangs."""

    build: Build
    skin: Colour
    hair: Colour
    hair_style: str
    hat: Colour
    beard: bool
    glasses: bool
    outfit: Outfit
    logo: Colour
    logo_place: tuple[float, float]
    logo_kind: str
    shoes: Colour
    soles: Colour
    boots: bool
    bag: str
    bag_colour: Colour
    bag_size: float
    side: int


def make_person(seed: int, identity: int) -> Person:
    """The person of an identity: details from (seed, identity), clothes from (seed, identity // GROUP)."""
    rng = np.random.default_rng([seed, 1, identity])
    group = np.random.default_rng([seed, 2, identity // GROUP])
    outfit = dress_up(group)
    # People with the same outfit never get the same hair or bag: each takes the next of a shuffled list.
    member = identity % GROUP
    styles, bags = group.permutation(HAIR_STYLES), group.permutation(BAGS)
    style = str(styles[member])
    tied = style in ("bob", "long", "ponytail", "bun", "scarf")
    masculine = bool(rng.random() < (0.1 if tied else 0.75)) and style != "scarf"
    return Person(
        build=_build(rng, masculine),
        skin=SKINS[int(rng.choice(len(SKINS), p=(0.22, 0.24, 0.2, 0.14, 0.11, 0.09)))],
        hair=HAIRS[int(rng.choice(len(HAIRS), p=(0.26, 0.22, 0.17, 0.12, 0.11, 0.07, 0.05)))],
        hair_style=style,
        hat=pick_colour(rng),
        beard=masculine and not tied and bool(rng.random() < 0.35),
        glasses=bool(rng.random() < 0.25),
        outfit=outfit,
        logo=pick_colour(rng),
        logo_place=(float(rng.uniform(-0.35, 0.35)), float(rng.uniform(0.24, 0.42))),
        logo_kind=str(rng.choice(("none", "none", "chest", "wide", "back"))),
        shoes=SHOES[int(rng.integers(len(SHOES)))],
        soles=(0.9, 0.9, 0.88) if rng.random() < 0.5 else (0.12, 0.1, 0.1),
        boots=bool(rng.random() < 0.2),
        bag=str(bags[member]),
        bag_colour=pick_colour(rng),
        bag_size=float(rng.uniform(0.8, 1.2)),
        side=int(rng.choice((-1, 1))),
    )


def _build(rng: np.random.Generator, masculine: bool) -> Build:
    return Build(
        height=float(np.clip(rng.normal(1.77 if masculine else 1.65, 0.08), 1.45, 2.0)),
        girth=float(np.clip(rng.normal(1.01, 0.12), 0.8, 1.32)),
        shoulders=float(rng.normal(1.06 if masculine else 0.94, 0.04)),
        hips=float(rng.normal(0.96 if masculine else 1.06, 0.04)),
        legs=float(rng.normal(1.0, 0.03)),
        head=float(rng.normal(1.0, 0.05)),
    )
