"""The trunk as parts: the upper garment from neck to hem, a hood, and the hips or skirt below it."""

from models.data.drawn.cloth import lower_paint, upper_paint
from models.data.drawn.outfit import cut_of
from models.data.drawn.person import Person
from models.data.drawn.pose import Joints
from models.data.drawn.view import Part, View, nearness, seen_turn, seen_width, sideways

HIPS, SKIRT, TRUNK = 1.9, 2.0, 3.0


def trunk_parts(view: View, person: Person, joints: Joints, fold: float) -> list[Part]:
    """The trunk's parts; `fold` (radians) places the creases."""
    parts = [_garment(view, person, joints, fold)]
    if person.outfit.upper == "hoodie":
        parts.append(_hood(view, person, joints))
    if person.outfit.upper != "dress":
        parts.append(_below(view, person, joints, fold))
    return parts


def outline(person: Person, waist: float, length: float) -> list[tuple[float, float, float]]:
    """Rows (metres below the neck, half-width, half-depth) of the upper garment, shares of the body's height."""
    build, cut = person.build, cut_of(person.outfit.upper)
    girth, belly = build.girth, build.girth * max(1.0, build.girth)
    broad, hips = build.shoulders * (0.7 + 0.3 * girth), build.hips * girth
    return [
        (0.000, 0.032, 0.034),
        (0.012, 0.058, 0.044),
        (0.030, 0.092 * broad, 0.056),
        (0.055, 0.112 * broad, 0.064),
        (0.130, 0.108 * broad, 0.071 * girth),
        (0.640 * waist, 0.090 * belly, 0.067 * belly),
        (waist, 0.099 * hips, 0.074 * girth),
        (length, 0.102 * hips * cut.flare, 0.076 * girth * cut.flare),
    ]


def leg_room(view: View, person: Person, joints: Joints) -> float:
    """Half-width in metres that a hem needs to hold both knees."""
    return max(abs(sideways(view, knee)) for knee in joints.knees) + 0.035 * person.build.height * person.build.girth


def _garment(view: View, person: Person, joints: Joints, fold: float) -> Part:
    height, cut = person.build.height, cut_of(person.outfit.upper)
    waist = (joints.neck[1] - joints.pelvis[1]) / height
    length = waist + cut.below + cut.spread * person.outfit.length
    rows = outline(person, waist, length)
    radii = tuple(seen_width(view, wide * height * cut.slack, deep * height * cut.slack) for _, wide, deep in rows)
    if cut.below > 0.1:
        radii = (*radii[:-1], max(radii[-1], leg_room(view, person, joints)))
    hem = (0.0, joints.neck[1] - length * height, 0.0)
    paint = upper_paint(person, 0.1 * height, length * height, seen_turn(view, 0.11, 0.07), fold)
    return Part(TRUNK, joints.neck, hem, radii, paint, (True, False), tuple(down / length for down, _, _ in rows))


def _hood(view: View, person: Person, joints: Joints) -> Part:
    height, neck = person.build.height, joints.neck
    left = (-0.03 * height, neck[1] - 0.005 * height, neck[2] - 0.045 * height)
    right = (-left[0], left[1], left[2])
    shade = person.outfit.upper_colour
    dark = (shade[0] * 0.88, shade[1] * 0.88, shade[2] * 0.88)
    layer = TRUNK + 0.3 if nearness(view, left) + nearness(view, right) > -0.02 else TRUNK - 0.1
    return Part(layer, left, right, (0.036 * height, 0.036 * height), dark)


def _below(view: View, person: Person, joints: Joints, fold: float) -> Part:
    build, outfit = person.build, person.outfit
    height, pelvis = build.height, joints.pelvis[1]
    turn = seen_turn(view, 0.11, 0.07)
    hip = seen_width(view, 0.097 * height * build.hips * build.girth, 0.072 * height * build.girth)
    waistline = (0.0, pelvis + 0.05 * height, 0.0)
    if outfit.lower == "skirt":
        hem = (0.0, pelvis - (0.1 + 0.17 * outfit.length) * height, 0.0)
        paint = lower_paint(person, 0.16, 0.0, 0.5, turn, 0, fold)
        wide = max(hip * 1.4, leg_room(view, person, joints))
        return Part(SKIRT, waistline, hem, (hip * 0.9, hip * 1.08, wide), paint, (True, False))
    crotch = (0.0, pelvis - 0.02 * height, 0.0)
    return Part(HIPS, waistline, crotch, (hip * 0.93, hip * 0.97), lower_paint(person, 0.16, 0.0, 0.12, turn, 0, fold))
