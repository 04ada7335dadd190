"""Bags as parts: a backpack behind, a bag at the hip, a handbag below the hand."""

import numpy as np

from models.data.drawn.cloth import blend
from models.data.drawn.person import Person
from models.data.drawn.pose import Joints
from models.data.drawn.tube import Array, Colour, Paint, flat
from models.data.drawn.view import Part, View, nearness, seen_width


def bag_parts(view: View, person: Person, joints: Joints) -> list[Part]:
    """The bag that the person carries, none or a few parts."""
    draw = {"backpack": _backpack, "shoulder": _shoulder_bag, "handbag": _handbag}.get(person.bag)
    return draw(view, person, joints) if draw else []


def _flap(colour: Colour, share: float) -> Paint:
    dark = (colour[0] * 0.6, colour[1] * 0.6, colour[2] * 0.6)

    def paint(u: Array, t: Array) -> Array:
        rgb = flat(colour, u)
        seam = np.abs(t - np.float32(share) - np.float32(0.05) * u * u) < 0.035
        pocket = (t > 0.55) & (np.abs(u) < 0.6)
        return blend(rgb, np.maximum(seam, pocket * np.float32(0.35)).astype(np.float32), dark)

    return paint


def _backpack(view: View, person: Person, joints: Joints) -> list[Part]:
    height, size = person.build.height, person.bag_size
    back = joints.neck[2] - (0.062 * person.build.girth + 0.035 * size) * height
    top = (0.0, joints.neck[1] - 0.035 * height, back)
    end = (0.0, joints.neck[1] - (0.06 + 0.2 * size) * height, back)
    near = nearness(view, top)
    wide = seen_width(view, 0.088 * height * size, 0.05 * height * size)
    layer = 3.5 if near > 0.02 else (2.5 if near > -0.06 else 0.5)
    radii = tuple(wide * r for r in (0.45, 0.8, 0.95, 1.0, 1.03, 1.03, 0.98, 0.8))
    knots = (0.0, 0.05, 0.16, 0.35, 0.6, 0.85, 0.95, 1.0)
    return [Part(layer, top, end, radii, _flap(person.bag_colour, 0.4), (False, False), knots)]


def _shoulder_bag(view: View, person: Person, joints: Joints) -> list[Part]:
    height, size = person.build.height, person.bag_size
    x = person.side * (0.105 * person.build.girth + 0.02) * height
    top, end = (x, joints.pelvis[1] + 0.055 * height, -0.01), (x, joints.pelvis[1] - 0.06 * height * size, -0.01)
    wide = seen_width(view, 0.026 * height, 0.075 * height * size)
    layer = 4.9 if nearness(view, top) > -0.04 else 0.2
    return [
        Part(
            layer,
            top,
            end,
            (wide * 0.92, wide, wide * 1.05, wide * 0.95),
            _flap(person.bag_colour, 0.5),
            (False, False),
        )
    ]


def _handbag(view: View, person: Person, joints: Joints) -> list[Part]:
    height, size = person.build.height, person.bag_size
    hand, elbow = joints.hands[(person.side + 1) // 2], joints.elbows[(person.side + 1) // 2]
    layer = (5.0 if nearness(view, elbow) > -0.05 else 0.0) + 0.3
    top = (hand[0], hand[1] - 0.07 * height, hand[2])
    low = (hand[0], top[1] - 0.085 * height * size, hand[2])
    wide = seen_width(view, 0.025 * height, 0.07 * height * size)
    grip, cord = 0.55 * wide, (0.006 * height, 0.006 * height)
    along = (float(np.cos(view.yaw)), float(np.sin(view.yaw)))
    ends = [(top[0] + way * grip * along[0], top[1], top[2] + way * grip * along[1]) for way in (-1, 1)]
    straps = [Part(layer - 0.01, hand, end, cord, person.bag_colour) for end in ends]
    body = (wide * 0.85, wide * 0.95, wide)
    return [*straps, Part(layer, top, low, body, _flap(person.bag_colour, 0.3), (False, False))]
