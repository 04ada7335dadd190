"""Legs, shoes and arms as parts, with the trouser legs and sleeves on them."""

import numpy as np

from models.data.drawn.cloth import blend, lower_paint, sleeve_paint
from models.data.drawn.outfit import cut_of
from models.data.drawn.person import Person
from models.data.drawn.pose import Joints, Point
from models.data.drawn.tube import Array, Paint, flat
from models.data.drawn.view import Part, View, nearness, seen_turn

FAR_ARM, LEGS, NEAR_ARM = 0.0, 1.0, 5.0
LEG_WIDTH = {"slim": 0.95, "jeans": 1.08, "trousers": 1.2, "shorts": 1.1, "skirt": 1.0}


def between(start: Point, end: Point, share: float) -> Point:
    """The point at a share (0..1) of the way."""
    mixed = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
    return (mixed[0], mixed[1], mixed[2])


def leg_parts(view: View, person: Person, joints: Joints, fold: float) -> list[Part]:
    """Both legs. The one nearer to the camera is drawn over the other."""
    build, bare = person.build, person.outfit.lower in ("shorts", "skirt") or person.outfit.upper == "dress"
    unit = build.height * (0.5 + 0.5 * build.girth)
    parts = []
    for index, side in enumerate((-1, 1)):
        hip, knee, ankle, toe = (pair[index] for pair in (joints.hips, joints.knees, joints.ankles, joints.toes))
        layer = LEGS + 0.5 * float(np.clip(nearness(view, between(knee, ankle, 0.5)), -0.8, 0.8))
        parts.append(_shoe(person, ankle, toe, layer))
        if person.boots and bare:
            shaft = (0.036 * unit, 0.03 * unit)
            parts.append(Part(layer + 0.02, between(knee, ankle, 0.4), ankle, shaft, person.shoes, (False, True)))
        if bare:
            parts.append(Part(layer, hip, knee, (0.05 * unit, 0.036 * unit), person.skin))
            parts.append(Part(layer + 0.01, knee, ankle, (0.035 * unit, 0.037 * unit, 0.022 * unit), person.skin))
        if person.outfit.lower == "shorts" and person.outfit.upper != "dress":
            paint = lower_paint(person, 0.07, 0.09, 0.4, seen_turn(view, 1, 1), side, fold)
            hem = between(hip, knee, 0.7 + 0.35 * person.outfit.length)
            parts.append(Part(layer + 0.02, hip, hem, (0.058 * unit, 0.053 * unit), paint, (True, False)))
        elif not bare:
            parts += _trouser_leg(view, person, (hip, knee, ankle), layer, side, fold)
    return parts


def _trouser_leg(
    view: View, person: Person, leg: tuple[Point, Point, Point], layer: float, side: int, fold: float
) -> list[Part]:
    hip, knee, ankle = leg
    unit = person.build.height * (0.5 + 0.5 * person.build.girth)
    wide, turn = LEG_WIDTH[person.outfit.lower], seen_turn(view, 1, 1)
    thigh = (0.053 * unit, 0.05 * unit * wide, 0.039 * unit * wide)
    shin = (0.039 * unit * wide, 0.035 * unit * wide, 0.026 * unit * wide**2)
    upper = lower_paint(person, 0.07, 0.09, 0.4, turn, side, fold + side)
    lower = lower_paint(person, 0.07, 0.49, 0.4, turn, side, fold + side)
    end = between(knee, ankle, 0.55 if person.boots else 1.03)
    parts = [Part(layer, hip, knee, thigh, upper), Part(layer + 0.01, knee, end, shin, lower, (True, False))]
    if person.boots:
        parts.append(
            Part(
                layer + 0.02, between(knee, ankle, 0.45), ankle, (0.04 * unit, 0.03 * unit), person.shoes, (False, True)
            )
        )
    return parts


def _shoe(person: Person, ankle: Point, toe: Point, layer: float) -> Part:
    height = person.build.height
    heel = (ankle[0], ankle[1] - 0.02 * height, ankle[2] - 0.02 * height)
    return Part(layer - 0.01, heel, toe, (0.025 * height, 0.022 * height, 0.017 * height), _shoe_paint(person))


def _shoe_paint(person: Person) -> Paint:
    def paint(u: Array, t: Array) -> Array:
        return blend(flat(person.shoes, u), (np.abs(u) > 0.62).astype(np.float32), person.soles)

    return paint


def arm_parts(view: View, person: Person, joints: Joints, fold: float) -> list[Part]:
    """Both arms, before or behind the trunk."""
    build, cut = person.build, cut_of(person.outfit.upper)
    unit = build.height * (0.55 + 0.45 * build.girth)
    parts = []
    for index in range(2):
        shoulder, elbow, hand = joints.shoulders[index], joints.elbows[index], joints.hands[index]
        near = nearness(view, between(elbow, hand, 0.3))
        layer = (NEAR_ARM if near > -0.05 else FAR_ARM) + 0.1 * near
        fist = (between(elbow, hand, 0.97), between(elbow, hand, 1.14))
        parts.append(Part(layer, *fist, (0.021 * unit, 0.019 * unit), person.skin))
        if cut.long_sleeves:
            bulk = cut.slack
            upper, lower = (
                (0.029 * unit * bulk, 0.033 * unit * bulk, 0.028 * unit * bulk),
                (0.028 * unit * bulk, 0.021 * unit * bulk),
            )
            parts.append(Part(layer + 0.01, shoulder, elbow, upper, sleeve_paint(person, 0.05, 0.06, 0.27, fold)))
            cuff = sleeve_paint(person, 0.05, 0.33, 0.27, fold)
            parts.append(Part(layer + 0.02, elbow, hand, lower, cuff, (True, False)))
        else:
            parts.append(Part(layer, shoulder, elbow, (0.028 * unit, 0.025 * unit), person.skin))
            parts.append(Part(layer + 0.01, elbow, hand, (0.025 * unit, 0.017 * unit), person.skin))
            hem = between(shoulder, elbow, 0.5 + 0.35 * person.outfit.length)
            paint = sleeve_paint(person, 0.05, 0.06, 0.15, fold)
            parts.append(
                Part(layer + 0.02, shoulder, hem, (0.028 * unit, 0.035 * unit, 0.036 * unit), paint, (True, False))
            )
    return parts
