"""MPII's measure: the share of joints within a part of the head's size of their true place (PCKh)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray

# Joints that each column of MPII's results tables is the mean of. Pelvis (6) and thorax (7) count nowhere.
COLUMNS: Mapping[str, tuple[int, ...]] = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
COUNTED = (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)
JOINTS = 16
# Andriluka et al., CVPR 2014: a head's size is 0.6 of its box's diagonal.
HEAD_SHARE = 0.6
MAT_KEYS = {"jnt_missing": "[16, P]", "pos_gt_src": "[16, 2, P]", "headboxes_src": "[2, 2, P]"}
NO_TRUTH = -1.0


@dataclass(frozen=True)
class HeadTruth:
    """MPII's labelled people: joints [P, 16, 2] px, 1-based; known bool [P, 16]; head_sizes [P] px."""

    joints: FloatArray
    known: npt.NDArray[np.bool_]
    head_sizes: FloatArray


def read_mpii_truth(path: Path, people: int) -> HeadTruth:
    """The truth about so many people, MPII's mpii_gt_val.mat, in the order of its annotations mpii_val.json.

    Raises OSError or ValueError that says what is wrong with the file.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    with path.open("rb") as file:
        try:
            content = loadmat(file, variable_names=list(MAT_KEYS))
        except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is no MATLAB file of MPII's ground truth (mpii_gt_val.mat): {error}") from None
    if missing := [key for key in MAT_KEYS if key not in content]:
        raise ValueError(f"{path} has no {', '.join(missing)}: expected MPII's ground truth, mpii_gt_val.mat")
    missing_joints, joints, heads = (np.asarray(content[key], np.float64) for key in MAT_KEYS)
    if joints.shape[-1] != people:
        raise ValueError(
            f"{path} is of {joints.shape[-1]} people, the annotations are of {people}: they are not of the same part"
        )
    shapes = {"jnt_missing": (JOINTS, people), "pos_gt_src": (JOINTS, 2, people), "headboxes_src": (2, 2, people)}
    for key, shape in shapes.items():
        if content[key].shape != shape:
            raise ValueError(f"{path}: expected {key} of shape {MAT_KEYS[key]}, got {list(content[key].shape)}")
    sizes = HEAD_SHARE * np.linalg.norm(heads[1] - heads[0], axis=0)
    return HeadTruth(joints.transpose(2, 0, 1), missing_joints.T == 0, sizes)


def pckh(points: FloatArray, truth: HeadTruth) -> dict[str, float]:
    """Head to Ankle, PCKh (of 0.5 head sizes) and PCKh@0.1, in percent, of points [P, 16, >=2] px in truth's order.

    Points are 0-based, as estimators give them. The mean weighs each joint by how often it is known. A column
    without any known joint is -1.
    """
    distances = np.linalg.norm(points[..., :2] + 1.0 - truth.joints, axis=2) / truth.head_sizes[:, None]
    counts = truth.known.sum(0)
    correct = _percent(distances <= 0.5, truth.known)
    # float32, as in the reference.
    strict = _percent(distances <= 0.1, truth.known).astype(np.float32)
    figures = {name: _mean(correct, counts, joints, weighted=False) for name, joints in COLUMNS.items()}
    figures["PCKh"] = _mean(correct, counts, COUNTED, weighted=True)
    figures["PCKh@0.1"] = _mean(strict, counts, COUNTED, weighted=True)
    return figures


def _percent(near: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """For each joint [16], the percentage of known places where it is near."""
    share: npt.NDArray[np.float64] = 100.0 * (near & known).sum(0) / np.maximum(known.sum(0), 1)
    return share


def _mean(figures: FloatArray, counts: npt.NDArray[np.int_], joints: Sequence[int], weighted: bool) -> float:
    """The mean of these joints' figures, each joint that is known anywhere counting the same or by its count."""
    picked, weights = figures[list(joints)], counts[list(joints)]
    if not weights.any():
        return NO_TRUTH
    return float(np.average(picked.astype(np.float64), weights=weights if weighted else weights > 0))
