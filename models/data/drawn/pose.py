"""The pose in one image (walking phase, arms, lean), and the joints that follow from it."""

from dataclasses import dataclass

import numpy as np

from models.data.drawn.person import Build

Point = tuple[float, float, float]
"""Metres in the body's frame: x to the body's side +1, y up from the ground, z forward."""


@dataclass(frozen=True)
class Pose:
    """Angles in radians. `stride` is the greatest swing of a thigh; `elbows` and `raise_` are for sides (-1, +1)."""

    phase: float
    stride: float
    swing: float
    elbows: tuple[float, float]
    lean: float
    head_turn: float


@dataclass(frozen=True)
class Joints:
    """Points of the body in metres; pairs are sides (-1, +1)."""

    pelvis: Point
    neck: Point
    chin: Point
    crown: Point
    shoulders: tuple[Point, Point]
    elbows: tuple[Point, Point]
    hands: tuple[Point, Point]
    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    ankles: tuple[Point, Point]
    toes: tuple[Point, Point]


def strike_pose(rng: np.random.Generator, bag_side: int | None) -> Pose:
    """Draw a pose: mostly walking, sometimes standing; the arm that carries a handbag hangs."""
    walking = rng.random() < 0.8
    elbows = [float(rng.uniform(0.1, 0.5)) for _ in range(2)]
    phoning = int(rng.integers(2))
    if rng.random() < 0.12:
        elbows[phoning] = float(rng.uniform(1.6, 2.3))
    if bag_side is not None:
        elbows[(bag_side + 1) // 2] = 0.08
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.3, 0.55) if walking else rng.uniform(0.0, 0.1)),
        swing=float(rng.uniform(0.2, 0.6) if walking else rng.uniform(0.0, 0.12)),
        elbows=(elbows[0], elbows[1]),
        lean=float(rng.normal(0.03, 0.03)),
        head_turn=float(rng.normal(0, 0.25)),
    )


def find_joints(build: Build, pose: Pose) -> Joints:
    """Forward kinematics of a walk: legs and arms swing in the plane of walking, opposite to each other."""
    height = build.height
    leg, ankle_height = 0.485 * height * build.legs, 0.045 * height
    thigh, shin, foot = 0.51 * (leg - ankle_height), 0.49 * (leg - ankle_height), 0.115 * height
    half_hips, half_shoulders = (
        0.052 * height * build.hips,
        0.097 * height * build.shoulders * (0.7 + 0.3 * build.girth),
    )
    legs = [_leg(side, pose, leg, thigh, shin, foot, half_hips) for side in (-1, 1)]
    drop = ankle_height - min(ankle[1] for _, _, ankle, _ in legs)
    (hips, knees, ankles, toes) = zip(*(_raised(points, drop) for points in legs), strict=True)
    pelvis = (0.0, leg + drop, 0.0)
    head = 0.13 * height * build.head
    tall = height - head - 0.03 * height
    neck = (0.0, tall + drop, (tall - leg) * pose.lean)
    chin = (0.0, height - head + drop, neck[2] + 0.01 * height)
    crown = (0.0, height + drop, chin[2])
    arms = [_arm(side, pose, neck, half_shoulders, height) for side in (-1, 1)]
    shoulders, elbows, hands = zip(*arms, strict=True)
    return Joints(pelvis, neck, chin, crown, shoulders, elbows, hands, hips, knees, ankles, toes)


def _raised(points: tuple[Point, Point, Point, Point], up: float) -> list[Point]:
    return [(x, y + up, z) for x, y, z in points]


def _leg(
    side: int, pose: Pose, leg: float, thigh: float, shin: float, foot: float, half_hips: float
) -> tuple[Point, Point, Point, Point]:
    phase = pose.phase + (0.0 if side > 0 else np.pi)
    swing = pose.stride * np.sin(phase) + 0.06
    flex = 0.08 + 1.5 * pose.stride * max(0.0, np.cos(phase + 0.4)) ** 1.5
    hip = (side * half_hips, leg, 0.0)
    knee = (side * half_hips * 0.95, leg - thigh * np.cos(swing), thigh * np.sin(swing))
    low = swing - flex
    ankle = (side * half_hips * 0.85, knee[1] - shin * np.cos(low), knee[2] + shin * np.sin(low))
    pitch = -0.28 + 0.75 * min(low, 0.0) + 0.3 * max(low, 0.0)
    toe = (ankle[0] + side * 0.02, ankle[1] + foot * np.sin(pitch), ankle[2] + foot * np.cos(pitch))
    return hip, knee, ankle, toe


def _arm(side: int, pose: Pose, neck: Point, half_shoulders: float, height: float) -> tuple[Point, Point, Point]:
    upper, lower = 0.165 * height, 0.165 * height
    swing = -pose.swing * np.sin(pose.phase + (0.0 if side > 0 else np.pi))
    shoulder = (side * half_shoulders, neck[1] - 0.052 * height, neck[2] * 0.9)
    elbow = (
        shoulder[0] + side * 0.16 * upper,
        shoulder[1] - upper * np.cos(swing),
        shoulder[2] + upper * np.sin(swing),
    )
    bend = swing + pose.elbows[(side + 1) // 2]
    hand = (elbow[0] - side * 0.02 * lower, elbow[1] - lower * np.cos(bend), elbow[2] + lower * np.sin(bend))
    return shoulder, elbow, hand
