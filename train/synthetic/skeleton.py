"""From a pose's angles to the rotations of the body model's bones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.types import FloatArray
from train.synthetic.poses import Pose, between, turn

_DOWN = np.array([0.0, 0.0, -1.0])
_MIRROR = np.diag([-1.0, 1.0, 1.0])
# The shares of the bend of the spine and of the neck that each bone takes.
_SPINE = {"spine05": 0.15, "spine04": 0.25, "spine03": 0.25, "spine02": 0.2, "spine01": 0.15}
_NECK = {"neck01": 0.3, "neck02": 0.15, "neck03": 0.15, "head": 0.4}


class Skeleton:
    """The rest directions of the limbs. heads: where each bone begins at rest, float [3], metres, by name."""

    def __init__(self, names: Sequence[str], heads: Mapping[str, FloatArray]) -> None:
        self.names = list(names)
        self.arm = _straightening(heads["upperarm01.L"], heads["lowerarm01.L"], heads["wrist.L"])
        self.leg = _straightening(heads["upperleg01.L"], heads["lowerleg01.L"], heads["foot.L"])
        knuckles = heads["finger3-1.L"] - heads["wrist.L"], heads["finger3-3.L"] - heads["finger3-1.L"]
        axis = np.cross(*knuckles)
        self.curl_axis = axis / np.linalg.norm(axis)

    def rotations(self, pose: Pose) -> FloatArray:
        """Float32 [bones, 3, 3]: what each bone turns relative to its parent, in the axes of the body at rest."""
        found = {"root": turn(0, pose.tilt)}
        for shares, angles in ((_SPINE, pose.spine), (_NECK, pose.neck)):
            for name, share in shares.items():
                bend, side, twist = share * angles
                found[name] = turn(2, twist) @ turn(1, side) @ turn(0, bend)
        for side, mark in enumerate("LR"):
            bones = self._arm(pose.arms[side], pose.shrug[side]) | self._leg(pose.legs[side]) | self._fingers(pose.curl)
            for name, matrix in bones.items():
                found[f"{name}.{mark}"] = matrix if mark == "L" else _MIRROR @ matrix @ _MIRROR
        return np.array([found.get(name, np.eye(3)) for name in self.names], np.float32)

    def _arm(self, angles: FloatArray, shrug: float) -> dict[str, FloatArray]:
        elevation, azimuth, twist, elbow, pronation, wrist = angles
        hang, straighten = self.arm
        swing = turn(2, azimuth) @ turn(0, -elevation) @ turn(2, -azimuth) @ turn(2, -twist)
        fore = hang @ straighten
        return {
            "clavicle": turn(1, -shrug),
            "upperarm01": turn(1, shrug) @ swing @ hang,
            "lowerarm01": hang.T @ turn(0, -elbow) @ fore,
            "lowerarm02": fore.T @ turn(2, -pronation / 2) @ fore,
            "wrist": fore.T @ turn(0, wrist) @ turn(2, -pronation / 2) @ fore,
        }

    def _leg(self, angles: FloatArray) -> dict[str, FloatArray]:
        flexion, abduction, twist, knee, ankle = angles
        hang, straighten = self.leg
        thigh = turn(0, -flexion) @ turn(1, -abduction) @ turn(2, twist)
        if flexion > 50:  # a raised thigh goes outwards about the vertical
            thigh = turn(2, abduction) @ turn(0, -flexion) @ turn(2, twist)
        return {
            "upperleg01": thigh @ hang,
            "lowerleg01": hang.T @ turn(0, knee) @ hang @ straighten,
            "foot": (hang @ straighten).T @ turn(0, ankle),
        }

    def _fingers(self, curl: float) -> dict[str, FloatArray]:
        x, y, z = self.curl_axis
        skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        angle = np.radians(curl)
        matrix = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
        return {f"finger{finger}-{joint}": matrix for finger in range(2, 6) for joint in range(1, 4)}


def _straightening(start: FloatArray, middle: FloatArray, end: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The turn that lets a limb's upper half hang straight down, and that which stretches its lower half before it."""
    upper, lower = middle - start, end - middle
    return between(upper, _DOWN), between(lower, upper)
