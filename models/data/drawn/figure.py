"""Drawing of a person in a pose."""

from models.data.drawn.bag import bag_parts
from models.data.drawn.head import head_parts
from models.data.drawn.limb import arm_parts, leg_parts
from models.data.drawn.person import Person
from models.data.drawn.pose import Pose, find_joints
from models.data.drawn.trunk import trunk_parts
from models.data.drawn.tube import Array, Light
from models.data.drawn.view import View, draw_parts


def draw_person(canvas: Array, view: View, person: Person, pose: Pose, fold: float, light: Light) -> None:
    """Draw a person on the canvas (H, W, 3), in place. `fold` (radians) places the creases of the clothes."""
    joints = find_joints(person.build, pose)
    parts = [
        *leg_parts(view, person, joints, fold),
        *trunk_parts(view, person, joints, fold),
        *arm_parts(view, person, joints, fold),
        *head_parts(view, person, joints, pose.head_turn),
        *bag_parts(view, person, joints),
    ]
    draw_parts(canvas, view, parts, light)
