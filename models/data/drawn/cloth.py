"""Surfaces of clothes: patterns around the body, and details on the front and back."""

import numpy as np

from models.data.drawn.person import Person
from models.data.drawn.tube import Array, Colour, Paint, flat
from models.data.drawn.view import around


def blend(rgb: Array, mask: Array, colour: Colour) -> Array:
    """(h, w, 3) blended with a colour by a mask (h, w) in 0..1."""
    return rgb + mask[..., None] * (np.asarray(colour, np.float32) - rgb)


def pattern_mask(kind: str, period: float, across: Array, down: Array) -> Array:
    """How much of the second colour a pattern shows, (h, w) in 0..1, at surface places in metres."""
    if kind == "stripes":
        return _wave(down, period) * np.ones_like(across)
    if kind == "bars":
        return _wave(across, period * 0.8)
    if kind == "checks":
        return np.float32(0.5) * _wave(down, period) + np.float32(0.5) * _wave(across, period)
    if kind == "twotone":
        return (down > np.float32(0.12 + 2.0 * (period - 0.07))).astype(np.float32) * np.ones_like(across)
    if kind == "dots":
        row = np.sin(across * np.float32(2 * np.pi / period)) * np.sin(down * np.float32(2 * np.pi / period))
        return (np.abs(row) > 0.55).astype(np.float32)
    return np.zeros_like(across)


def _wave(place: Array, period: float) -> Array:
    return (np.sin(place * np.float32(2 * np.pi / period)) > np.float32(0.1)).astype(np.float32)


def crease(rgb: Array, u: Array, down: Array, fold: float, strength: float = 0.035) -> Array:
    """Slanted folds of cloth; `fold` (radians) changes from picture to picture."""
    bend = np.sin(u * np.float32(2.2) + np.float32(fold))
    wave = np.sin(down * np.float32(29) + np.float32(2.5) * bend) * bend + np.sin(
        u * np.float32(7) + np.float32(3 * fold)
    )
    return rgb * (np.float32(1) + np.float32(strength) * wave)[..., None]


def upper_paint(person: Person, radius: float, length: float, turn: float, fold: float) -> Paint:
    """The upper garment on the trunk; radius and length (metres) turn (u, t) into places on the cloth."""
    outfit = person.outfit

    def paint(u: Array, t: Array) -> Array:
        angle, down = around(u, turn), t * np.float32(length)
        across, front = angle * np.float32(radius), np.abs(angle)
        mask = pattern_mask(outfit.pattern, outfit.period, across, down)
        rgb = blend(flat(outfit.upper_colour, u), mask, outfit.second)
        rgb = _front(rgb, person, front, angle, down)
        rgb = _print(rgb, person, angle, down)
        return crease(_straps(rgb, person, angle, down), u, down, fold)

    return paint


def _front(rgb: Array, person: Person, front: Array, angle: Array, down: Array) -> Array:
    outfit = person.outfit
    if outfit.upper in ("jacket", "coat"):
        gap = np.float32(0.14 + 0.35 * outfit.length) + down * np.float32(0.25)
        rgb = blend(
            rgb, ((front > gap) & (front < gap + np.float32(0.07))).astype(np.float32) * np.float32(0.5), (0, 0, 0)
        )
        rgb = blend(rgb, (front < gap).astype(np.float32), outfit.inner)
    if outfit.upper == "hoodie":
        pocket = (front < 0.7) & (down > 0.36) & (down < 0.48)
        rgb = blend(rgb, pocket.astype(np.float32) * np.float32(0.25), (0, 0, 0))
    if outfit.upper in ("dress", "coat"):
        belt = np.abs(down - np.float32(0.40)) < 0.022
        rgb = blend(rgb, belt.astype(np.float32) * np.ones_like(angle), outfit.inner)
    collar = (down < np.float32(0.075) - front * np.float32(0.03)) & (front < 1.0)
    if outfit.upper in ("tshirt", "dress"):
        rgb = blend(rgb, collar.astype(np.float32), person.skin)
    return rgb


def _print(rgb: Array, person: Person, angle: Array, down: Array) -> Array:
    x, y = person.logo_place
    if person.logo_kind == "chest":
        mask = (np.abs(angle - np.float32(np.sign(x) * 0.4)) < 0.24) & (np.abs(down - np.float32(0.17)) < 0.04)
    elif person.logo_kind == "wide":
        mask = (np.abs(angle) < 0.62) & (np.abs(down - np.float32(y - 0.05)) < 0.065)
    elif person.logo_kind == "back":
        mask = (np.abs(angle) > 2.5) & (np.abs(down - np.float32(0.22)) < 0.09)
    else:
        return rgb
    return blend(rgb, mask.astype(np.float32), person.logo)


def _straps(rgb: Array, person: Person, angle: Array, down: Array) -> Array:
    if person.bag == "backpack":
        mask = (np.abs(np.abs(angle) - np.float32(0.72)) < 0.14) & (down < 0.36)
    elif person.bag == "shoulder":
        middle = np.float32(-person.side) * np.where(
            np.abs(angle) < np.pi / 2, angle, np.sign(angle) * np.float32(np.pi) - angle
        )
        mask = np.abs(down - np.float32(0.24) + middle * np.float32(0.17)) < 0.03
    else:
        return rgb
    return blend(rgb, mask.astype(np.float32), person.bag_colour)


def sleeve_paint(person: Person, radius: float, offset: float, length: float, fold: float) -> Paint:
    """A sleeve whose pattern goes on `offset` metres below the shoulder."""
    outfit = person.outfit

    def paint(u: Array, t: Array) -> Array:
        down = t * np.float32(length) + np.float32(offset)
        rgb = flat(outfit.upper_colour, u)
        if outfit.pattern in ("stripes", "checks", "bars"):
            rgb = blend(
                rgb, pattern_mask(outfit.pattern, outfit.period, u * np.float32(radius * 1.5), down), outfit.second
            )
        return crease(rgb, u, down, fold)

    return paint


def lower_paint(
    person: Person, radius: float, offset: float, length: float, turn: float, side: int, fold: float
) -> Paint:
    """A trouser leg (side -1 or +1) or a skirt (side 0)."""
    outfit = person.outfit

    def paint(u: Array, t: Array) -> Array:
        down = t * np.float32(length) + np.float32(offset)
        rgb = flat(outfit.lower_colour, u)
        rgb = rgb * (np.float32(1) - np.float32(0.28) * np.exp(-np.abs(down) * np.float32(14)))[..., None]
        if outfit.lower_pattern == "checks":
            mask = pattern_mask("checks", outfit.period, around(u, turn) * np.float32(radius), down)
            rgb = blend(rgb, mask * np.float32(0.7), outfit.lower_second)
        elif outfit.lower_pattern == "side" and side != 0:
            mask = np.abs(around(u, turn) - np.float32(side * np.pi / 2)) < 0.4
            rgb = blend(rgb, mask.astype(np.float32), outfit.lower_second)
        return crease(rgb, u, down, fold, 0.06 if outfit.lower == "jeans" else 0.035)

    return paint
