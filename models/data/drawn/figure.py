"""A person in a pose as parts: legs, clothes, trunk and arms."""

import numpy as np

from models.data.drawn.bag import bag_parts
from models.data.drawn.cloth import lower_paint, sleeve_paint, upper_paint
from models.data.drawn.head import head_parts
from models.data.drawn.person import Person
from models.data.drawn.pose import Joints, Point, Pose, find_joints
from models.data.drawn.tube import Array, Light
from models.data.drawn.view import Part, View, draw_parts, nearness, seen_turn, seen_width

FAR_ARM, LEGS, HIPS, SKIRT, TRUNK, NEAR_ARM = 0.0, 1.0, 1.9, 2.0, 3.0, 5.0


def draw_person(canvas: Array, view: View, person: Person, pose: Pose, fold: float, light: Light) -> None:
    """Draw somebody over the canvas (H, W, 3), in place; `fold` (radians) places the creases of the clothes."""
    joints = find_joints(person.build, pose)
    parts = [
        *_legs(view, person, joints, fold),
        *_trunk(view, person, joints, fold),
        *_arms(view, person, joints, fold),
        *head_parts(view, person, joints, pose.head_turn),
        *bag_parts(view, person, joints),
    ]
    draw_parts(canvas, view, parts, light)


def between(start: Point, end: Point, share: float) -> Point:
    """The point at a share (0..1) of the way."""
    mixed = [a + share * (b - a) for a, b in zip(start, end, strict=True)]
    return (mixed[0], mixed[1], mixed[2])


def _legs(view: View, person: Person, joints: Joints, fold: float) -> list[Part]:
    outfit, build = person.outfit, person.build
    unit = build.height * (0.55 + 0.45 * build.girth)
    wide = {"slim": 0.92, "jeans": 1.05, "trousers": 1.16}.get(outfit.lower, 1.1)
    bare = outfit.lower in ("shorts", "skirt") or outfit.upper == "dress"
    turn = seen_turn(view, 1, 1)
    parts = []
    for index, side in enumerate((-1, 1)):
        hip, knee, ankle, toe = (pair[index] for pair in (joints.hips, joints.knees, joints.ankles, joints.toes))
        layer = LEGS + 0.5 * float(np.clip(nearness(view, between(knee, ankle, 0.5)), -0.8, 0.8))
        parts.append(_shoe(person, ankle, toe, layer))
        if person.boots:
            parts.append(
                Part(layer + 0.02, between(knee, ankle, 0.55), ankle, (0.035 * unit, 0.03 * unit), person.shoes)
            )
        if bare:
            parts.append(Part(layer, hip, knee, (0.046 * unit, 0.033 * unit), person.skin))
            parts.append(Part(layer + 0.01, knee, ankle, (0.033 * unit, 0.034 * unit, 0.021 * unit), person.skin))
        if not bare:
            thigh, shin = (0.049 * unit * wide, 0.036 * unit * wide), (0.036 * unit * wide, 0.025 * unit * wide**2)
            paint = lower_paint(person, 0.07, 0.0, 0.4, turn, side, fold)
            parts.append(Part(layer, hip, knee, thigh, paint))
            paint = lower_paint(person, 0.07, 0.4, 0.4, turn, side, fold)
            parts.append(Part(layer + 0.01, knee, between(knee, ankle, 1.02), shin, paint, (True, False)))
        elif outfit.lower == "shorts":
            paint = lower_paint(person, 0.07, 0.0, 0.4, turn, side, fold)
            hem = between(hip, knee, 0.7 + 0.35 * outfit.length)
            parts.append(Part(layer + 0.02, hip, hem, (0.054 * unit, 0.05 * unit), paint, (True, False)))
    return parts


def _shoe(person: Person, ankle: Point, toe: Point, layer: float) -> Part:
    height = person.build.height
    heel = (ankle[0], ankle[1] - 0.018 * height, ankle[2] - 0.025 * height)

    def paint(u: Array, t: Array) -> Array:
        rgb = np.broadcast_to(np.float32(person.shoes), (*u.shape, 3))
        return np.where((u < -0.45)[..., None] | (u > 0.6)[..., None], np.float32(person.soles), rgb)

    return Part(layer - 0.01, heel, toe, (0.024 * height, 0.019 * height), paint)


def _trunk(view: View, person: Person, joints: Joints, fold: float) -> list[Part]:
    outfit, build, height = person.outfit, person.build, person.build.height
    girth, hips, shoulders = build.girth, build.hips, build.shoulders
    belly = girth * max(1.0, girth)
    top, waist = joints.neck[1], joints.neck[1] - joints.pelvis[1]
    below = {"tshirt": 0.05, "longsleeve": 0.05, "jacket": 0.07, "hoodie": 0.06, "dress": 0.25, "coat": 0.24}[
        outfit.upper
    ]
    length = waist + (below + 0.04 * outfit.length * (3 if below > 0.2 else 1)) * height
    flare = {"dress": 1.55, "coat": 1.3}.get(outfit.upper, 1.0)
    slack = {"jacket": 1.08, "hoodie": 1.1, "coat": 1.08}.get(outfit.upper, 1.0)
    downs = np.array((0.0, 0.02, 0.05, 0.075, 0.15, 0.6 * waist / height, waist / height, length / height)) * height
    wides = np.array(
        (
            0.034,
            0.062,
            0.108 * shoulders,
            0.12 * shoulders,
            0.113 * shoulders,
            0.093 * belly,
            0.1 * hips * girth,
            0.1 * hips * girth * flare,
        )
    )
    deeps = np.array(
        (0.034, 0.045, 0.058, 0.066, 0.072 * girth, 0.068 * belly, 0.073 * girth, 0.073 * girth * flare * 1.1)
    )
    radii = tuple(seen_width(view, w * height * slack, d * height * slack) for w, d in zip(wides, deeps, strict=True))
    turn = seen_turn(view, 0.11, 0.07)
    paint = upper_paint(person, 0.1 * height, float(length), turn, fold)
    hem = (0.0, top - float(length), 0.0)
    parts = [Part(TRUNK, joints.neck, hem, radii, paint, (True, False), tuple((downs / length).tolist()))]
    waistline = (0.0, joints.pelvis[1] + 0.05 * height, 0.0)
    hip = seen_width(view, 0.098 * height * hips * girth, 0.07 * height * girth)
    if outfit.lower == "skirt" and outfit.upper != "dress":
        hem = (0.0, joints.pelvis[1] - (0.1 + 0.17 * outfit.length) * height, 0.0)
        paint = lower_paint(person, 0.16, 0.0, 0.5, turn, 0, fold)
        parts.append(Part(SKIRT, waistline, hem, (hip * 0.9, hip * 1.08, hip * 1.35), paint, (True, False)))
    elif outfit.upper != "dress":
        crotch = (0.0, joints.pelvis[1] - 0.012 * height, 0.0)
        paint = lower_paint(person, 0.16, -0.1, 0.1, turn, 0, fold)
        parts.append(Part(HIPS, waistline, crotch, (hip * 0.92, hip * 0.98), paint))
    return parts


def _arms(view: View, person: Person, joints: Joints, fold: float) -> list[Part]:
    outfit, build = person.outfit, person.build
    unit = build.height * (0.6 + 0.4 * build.girth)
    bulk = {"jacket": 1.15, "hoodie": 1.18, "coat": 1.15}.get(outfit.upper, 1.0)
    parts = []
    for index in range(2):
        shoulder, elbow, hand = joints.shoulders[index], joints.elbows[index], joints.hands[index]
        near = nearness(view, between(elbow, hand, 0.3))
        layer = (NEAR_ARM if near > -0.05 else FAR_ARM) + 0.1 * near
        upper, lower = (0.033 * unit * bulk, 0.027 * unit * bulk), (0.027 * unit * bulk, 0.021 * unit * bulk)
        tip = between(elbow, hand, 1.1)
        parts.append(Part(layer, between(elbow, hand, 0.92), tip, (0.021 * unit, 0.018 * unit), person.skin))
        if outfit.upper in ("tshirt", "dress"):
            parts.append(Part(layer, shoulder, elbow, (0.028 * unit, 0.024 * unit), person.skin))
            parts.append(Part(layer + 0.01, elbow, hand, (0.024 * unit, 0.017 * unit), person.skin))
            paint = sleeve_paint(person, 0.05, 0.06, 0.15, fold)
            cuff = between(shoulder, elbow, 0.55 + 0.3 * outfit.length)
            parts.append(Part(layer + 0.02, shoulder, cuff, (0.034 * unit, 0.035 * unit), paint, (True, False)))
        else:
            parts.append(Part(layer + 0.01, shoulder, elbow, upper, sleeve_paint(person, 0.05, 0.06, 0.27, fold)))
            parts.append(
                Part(layer + 0.02, elbow, hand, lower, sleeve_paint(person, 0.05, 0.33, 0.27, fold), (True, False))
            )
    return parts
