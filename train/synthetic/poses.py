"""Random poses: joint rotations from hand-written ranges, by families of what people do.

Axes of the body at rest: x to its left, y to its back, z up. Angles are degrees; those of limbs are written for the
left side and mirrored for the right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipeline.types import FloatArray

# A range is (least, most), degrees.
Range = tuple[float, float]


@dataclass(frozen=True)
class Arm:
    """elevation: of the upper arm from hanging down. azimuth: where it is raised to, 0 forwards, 90 outwards, 180 back.

    twist: inward turn of the upper arm about itself. elbow: flexion.
    """

    elevation: Range
    azimuth: Range
    twist: Range
    elbow: Range


@dataclass(frozen=True)
class Leg:
    """flexion: of the hip, thigh forwards. abduction: outwards. twist: of the thigh, knee outwards. knee: flexion."""

    flexion: Range
    abduction: Range
    twist: Range
    knee: Range


@dataclass(frozen=True)
class Family:
    """Poses of a kind.

    weight: how often. legs: left, right. arms: names in ARMS to choose from. bend: of the spine forwards. tilt: of the
    pelvis forwards. upright: the hips make up for the tilt, so that the legs keep their direction to the ground.
    seat: there is something to sit on. lying: on the ground.
    """

    weight: float
    legs: tuple[Leg, Leg]
    arms: tuple[str, ...]
    bend: Range = (-5, 15)
    tilt: Range = (-3, 8)
    upright: bool = True
    seat: bool = False
    lying: bool = False


@dataclass
class Pose:
    """Angles in degrees.

    arms: float [2, 6], left first: elevation, azimuth, twist, elbow, pronation, wrist. legs: float [2, 5]: flexion,
    abduction, twist, knee, ankle. spine, neck: float [3]: bend forwards, bend to the side, turn. shrug: float [2], of
    the shoulders. curl: of each finger joint. tilt: of the pelvis forwards. roll: about its own axis, if it lies.
    """

    arms: FloatArray
    legs: FloatArray
    spine: FloatArray
    neck: FloatArray
    shrug: FloatArray
    curl: float
    tilt: float
    seat: bool
    lying: bool
    roll: float = 0.0
    family: str = field(default="")


ARMS = {
    "hang": Arm((2, 22), (10, 150), (-15, 35), (4, 40)),
    "swing": Arm((5, 40), (-10, 15), (-10, 20), (10, 60)),
    "back": Arm((8, 40), (150, 190), (-10, 30), (5, 60)),
    "hold": Arm((5, 45), (-5, 60), (5, 50), (65, 125)),
    "carry": Arm((5, 30), (0, 90), (-10, 20), (75, 110)),
    "hips": Arm((32, 55), (85, 125), (45, 80), (80, 115)),
    "crossed": Arm((32, 50), (8, 35), (38, 60), (92, 118)),
    "front": Arm((50, 105), (-15, 55), (-10, 50), (0, 50)),
    "up": Arm((115, 172), (0, 95), (-60, 20), (0, 70)),
    "side": Arm((50, 110), (65, 110), (-50, 30), (0, 60)),
    "face": Arm((20, 75), (0, 55), (0, 55), (115, 145)),
    "head": Arm((95, 150), (40, 95), (-60, -10), (90, 140)),
    "lap": Arm((8, 45), (0, 45), (0, 45), (35, 90)),
    "bar": Arm((45, 85), (-5, 30), (0, 35), (5, 50)),
    "pump": Arm((10, 50), (0, 20), (0, 30), (70, 115)),
    "pump_back": Arm((15, 55), (155, 185), (-5, 15), (65, 110)),
    "floor": Arm((20, 55), (110, 170), (-20, 30), (0, 40)),
    "any": Arm((0, 170), (-25, 150), (-50, 55), (0, 140)),
}
DAILY = ("hang", "hang", "hang", "hold", "hold", "carry", "hips", "crossed", "front", "up", "side", "face", "any")
STILL = Leg((-4, 8), (0, 9), (-2, 22), (0, 10))
EASED = Leg((2, 22), (0, 14), (0, 30), (8, 35))
CHAIR = Leg((72, 102), (0, 25), (-8, 25), (55, 112))
SITTING = ("lap", "lap", "lap", "hold", "hold", "front", "face", "crossed", "any")
FAMILIES = {
    "stand": Family(26, (STILL, STILL), DAILY),
    "ease": Family(14, (STILL, EASED), DAILY, (-5, 20)),
    "walk": Family(
        12, (Leg((15, 36), (-2, 6), (-3, 12), (3, 28)), Leg((-28, -8), (-2, 5), (-3, 12), (8, 48))), ("swing",)
    ),
    "run": Family(
        5,
        (Leg((30, 80), (-2, 10), (-5, 12), (25, 100)), Leg((-35, 5), (-2, 8), (-5, 12), (20, 115))),
        ("pump",),
        (5, 25),
        (3, 18),
    ),
    "sit": Family(15, (CHAIR, CHAIR), SITTING, (-12, 35), (-18, 12), upright=False, seat=True),
    "floor": Family(
        3,
        (Leg((80, 110), (5, 30), (0, 25), (5, 60)), Leg((85, 125), (5, 30), (0, 25), (30, 130))),
        ("lap", "floor", "hold"),
        (0, 35),
        (-25, 5),
        upright=False,
    ),
    "cross_legged": Family(
        2,
        (Leg((80, 100), (35, 50), (30, 50), (110, 135)),) * 2,
        ("lap", "hold", "face"),
        (5, 35),
        (-12, 5),
        upright=False,
    ),
    "crouch": Family(
        4,
        (Leg((85, 125), (5, 30), (0, 20), (95, 145)),) * 2,
        ("lap", "hold", "front", "any"),
        (10, 45),
        (0, 25),
        upright=False,
    ),
    "bend": Family(
        5, (Leg((-5, 25), (0, 15), (-5, 20), (0, 45)),) * 2, ("front", "lap", "hang", "bar", "any"), (20, 60), (20, 60)
    ),
    "ride": Family(
        5, (Leg((55, 105), (3, 28), (0, 20), (35, 110)),) * 2, ("bar",), (5, 40), (5, 45), upright=False, seat=True
    ),
    "board": Family(
        5, (Leg((20, 75), (5, 35), (0, 25), (25, 90)),) * 2, ("side", "front", "pump", "bar", "any"), (5, 45), (0, 30)
    ),
    "sport": Family(
        8, (Leg((-25, 85), (-3, 45), (-10, 35), (0, 105)),) * 2, ("any", "up", "side", "front"), (-20, 40), (-10, 30)
    ),
    "kneel": Family(
        2, (Leg((70, 100), (0, 15), (0, 15), (75, 110)), Leg((-15, 15), (0, 12), (0, 10), (80, 110))), DAILY, (0, 35)
    ),
    "lie": Family(
        2,
        (Leg((-5, 40), (0, 20), (-5, 30), (0, 70)),) * 2,
        ("hang", "hold", "up", "side", "head"),
        (-5, 15),
        lying=True,
    ),
}
_TWO_SIDED = ("hips", "crossed", "bar", "head", "up", "front")


def random_pose(rng: np.random.Generator) -> Pose:
    """A pose of a random family; in half of all it is the mirror image of what the ranges say."""
    names = list(FAMILIES)
    weights = np.array([FAMILIES[name].weight for name in names])
    name = names[rng.choice(len(names), p=weights / weights.sum())]
    family = FAMILIES[name]
    tilt = rng.uniform(*family.tilt)
    legs = np.array([_leg(rng, leg, tilt, family) for leg in family.legs])
    arms = np.array(_arms(rng, name, family))
    spine = np.array([rng.uniform(*family.bend), rng.normal(0, 6), rng.normal(0, 10)])
    neck = np.array([rng.normal(5, 12) - 0.5 * max(0.0, spine[0] + tilt - 15), rng.normal(0, 8), rng.normal(0, 24)])
    neck = np.clip(neck, (-45, -25, -65), (45, 25, 65))
    shrug = np.clip(0.12 * (arms[:, 0] - 70), 0, 12) + rng.uniform(-3, 6, 2)
    if rng.random() < 0.5:
        legs, arms, shrug = legs[::-1], arms[::-1], shrug[::-1]
        spine[1:] *= -1
    curl = rng.uniform(-5, 25) if rng.random() < 0.6 else rng.uniform(30, 60)
    roll = float(rng.choice([0, 180, 90, -90]) + rng.normal(0, 15)) if family.lying else 0.0
    return Pose(arms, legs, spine, neck, shrug, curl, tilt, family.seat, family.lying, roll, name)


def _leg(rng: np.random.Generator, leg: Leg, tilt: float, family: Family) -> list[float]:
    """Flexion, abduction, twist, knee, ankle; feet stay level where the ankle can."""
    flexion, knee = rng.uniform(*leg.flexion), rng.uniform(*leg.knee)
    if family.upright:
        flexion = min(flexion + tilt, 125.0)
    level = float(np.clip(flexion - knee - tilt, -25, 40)) if not family.lying else rng.uniform(5, 40)
    return [flexion, rng.uniform(*leg.abduction), rng.uniform(*leg.twist), knee, level + rng.normal(0, 5)]


def _arms(rng: np.random.Generator, name: str, family: Family) -> list[list[float]]:
    """Elevation, azimuth, twist, elbow, pronation and wrist of the left arm and of the right."""
    kinds = list(rng.choice(family.arms, 2))
    if name == "walk":
        kinds = ["back", "swing"] if rng.random() < 0.65 else list(rng.choice(DAILY, 2))
    elif name == "run":
        kinds = ["pump_back", "pump"]
    elif (kinds[0] in _TWO_SIDED and rng.random() < 0.6) or rng.random() < 0.3:
        kinds[1] = kinds[0]
    rows = []
    for kind in kinds:
        arm = ARMS[kind]
        angles = [rng.uniform(*limits) for limits in (arm.elevation, arm.azimuth, arm.twist, arm.elbow)]
        rows.append([*angles, rng.uniform(-30, 60), rng.normal(0, 18)])
    if kinds[0] == kinds[1] and rng.random() < 0.6:
        share = rng.uniform(0.0, 0.3)
        rows[1] = [(1 - share) * a + share * b for a, b in zip(rows[0], rows[1], strict=True)]
    return rows


def turn(axis: int, degrees: float) -> FloatArray:
    """Rotation about a body axis (0 x, 1 y, 2 z), float64 [3, 3]."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[[a, b, a, b], [a, b, b, a]] = cos, cos, -sin, sin
    return matrix


def between(source: FloatArray, target: FloatArray) -> FloatArray:
    """The smallest rotation that takes the direction of `source` to that of `target`, float64 [3, 3]."""
    a, b = source / np.linalg.norm(source), target / np.linalg.norm(target)
    cross = np.cross(a, b)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + a @ b))
