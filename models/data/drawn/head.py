"""A head as parts: neck, face, hair in ten styles, hats."""

from dataclasses import replace

import numpy as np

from models.data.drawn.cloth import blend
from models.data.drawn.person import Person
from models.data.drawn.pose import Joints, Point
from models.data.drawn.tube import Array, Paint, flat
from models.data.drawn.view import Part, View, around, nearness

BEHIND, NECK, UNDER, SKULL, OVER = 2.9, 3.2, 3.9, 4.0, 4.1
OVAL_KNOTS = (0.0, 0.02, 0.08, 0.18, 0.32, 0.5, 0.68, 0.84, 0.95, 1.0)
OVAL = (0.0, 0.30, 0.58, 0.82, 0.97, 1.0, 0.93, 0.74, 0.45, 0.20)


def head_parts(view: View, person: Person, joints: Joints, head_turn: float) -> list[Part]:
    """Parts of the head, which is turned by `head_turn` radians against the body."""
    view = replace(view, yaw=view.yaw + head_turn)
    height, style = person.build.height, person.hair_style
    radius = 0.043 * height * person.build.head
    crown = joints.crown
    bulk = {"bald": 1.0, "curly": 1.06}.get(style, 1.04)
    top = (crown[0], crown[1] + 0.006 * height, crown[2])
    chin = joints.chin
    nape = (chin[0], chin[1] + 0.02 * height, chin[2] - 0.012 * height)
    collar = person.hat if style == "scarf" else person.skin
    neck_radius = 0.028 * height * (1.25 if style == "scarf" else 1.0)
    low = (joints.neck[0], joints.neck[1] - 0.01 * height, joints.neck[2])
    shaded = (collar[0] * 0.86, collar[1] * 0.84, collar[2] * 0.84)
    oval = tuple(radius * bulk * r for r in OVAL)
    return [
        Part(NECK, nape, low, (neck_radius, neck_radius * 1.15), shaded),
        Part(SKULL, top, chin, oval, face_paint(person, view.yaw), (False, False), OVAL_KNOTS),
        *_hair(view, person, crown, chin, radius),
    ]


def face_paint(person: Person, yaw: float) -> Paint:
    """Skin, hairline, eyes, beard and glasses around a head turned by `yaw`."""
    style = person.hair_style
    back = {"short": 0.68, "curly": 0.72, "bald": -1.0, "cap": 0.66, "beanie": 0.7}.get(style, 1.1)
    side = {"short": 0.42, "curly": 0.55, "bald": -1.0, "bob": 0.86, "long": 0.95}.get(style, 0.48)

    def paint(u: Array, t: Array) -> Array:
        angle = around(u, yaw)
        front = np.abs(angle)
        rgb = flat(person.skin, u)
        rgb = rgb * (np.float32(1.04) - np.float32(0.14) * (t > 0.88))[..., None]
        eyes = (np.abs(front - np.float32(0.42)) < 0.17) & (np.abs(t - np.float32(0.5)) < 0.035)
        rgb = blend(rgb, eyes.astype(np.float32) * np.float32(0.8), (0.1, 0.08, 0.08))
        mouth = (front < 0.25) & (np.abs(t - np.float32(0.78)) < 0.025)
        rgb = blend(rgb, mouth.astype(np.float32) * np.float32(0.5), (0.5, 0.15, 0.15))
        if person.beard:
            jaw = (front < 1.5) & (t > np.float32(0.72) + np.float32(0.1) * (front < 0.5)) & ~mouth
            rgb = blend(rgb, jaw.astype(np.float32) * np.float32(0.85), person.hair)
        if person.glasses:
            rims = (np.abs(front - np.float32(0.42)) < 0.3) & (np.abs(t - np.float32(0.5)) < 0.055)
            bridge = (front < 1.4) & (np.abs(t - np.float32(0.475)) < 0.015)
            rgb = blend(rgb, np.maximum(rims * np.float32(0.85), bridge), (0.08, 0.08, 0.1))
        line = np.interp(front, (0.0, 0.7, 1.1, 1.7, 2.1), (0.2, 0.24, side, side, back)).astype(np.float32)
        if style != "bald":
            rgb = blend(rgb, np.clip((line - t) * np.float32(25), 0, 1), person.hair)
        if style in ("cap", "beanie"):
            rgb = blend(rgb, (t < 0.36).astype(np.float32), person.hat)
        if style == "scarf":
            rgb = blend(rgb, ((front > 0.8) | (t < 0.2) | (t > 0.93)).astype(np.float32), person.hat)
        return rgb

    return paint


def _hair(view: View, person: Person, crown: Point, chin: Point, radius: float) -> list[Part]:
    """What stands out from the skull, behind it (z < 0) or in front."""
    style = person.hair_style
    tall = crown[1] - chin[1]

    def at(up: float, back: float) -> Point:
        return (crown[0], chin[1] + up * tall, crown[2] - back * radius)

    seen_back = nearness(view, at(0.5, 0.8)) - nearness(view, at(0.5, 0.0)) > 0.35 * radius
    if style in ("bob", "long"):
        end, wide = (0.05, 1.0) if style == "bob" else (-0.75, 1.05)
        layer = OVER if seen_back else (UNDER if style == "bob" else BEHIND + 0.5)
        return [Part(layer, at(0.62, 0.25), at(end, 0.45), (radius * 1.08, radius * 1.16, radius * wide), person.hair)]
    if style == "ponytail":
        tail = (radius * 0.35, radius * 0.5, radius * 0.2)
        return [Part(OVER if seen_back else BEHIND, at(0.68, 1.05), at(-0.55, 1.35), tail, person.hair)]
    if style == "bun":
        return [
            Part(
                OVER if seen_back else UNDER, at(0.9, 0.75), at(0.88, 0.95), (radius * 0.55, radius * 0.55), person.hair
            )
        ]
    if style == "curly":
        return [
            Part(OVER if seen_back else UNDER, at(0.75, 0.2), at(0.45, 0.4), (radius * 1.5, radius * 1.4), person.hair)
        ]
    if style == "cap":
        brim = (radius * 0.6, radius * 0.42)
        return [Part(UNDER if seen_back else OVER, at(0.69, -0.75), at(0.64, -1.45), brim, person.hat)]
    if style == "beanie":
        return [Part(OVER, at(0.93, 0.05), at(1.05, 0.1), (radius * 0.85, radius * 0.45), person.hat)]
    return []
