"""The skeletons that networks are trained for, by name."""

from __future__ import annotations

import numpy as np

from pipeline.types import Skeleton

COCO = Skeleton(
    name="coco",
    keypoint_names=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear",
        "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
        "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    links=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    flip_pairs=((1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)),
    # COCO keypoint evaluation: one standard deviation of the annotators' spread, relative to the person's scale.
    oks_sigmas=np.array(
        [.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089]
    ),
)  # fmt: skip

SKELETONS = {COCO.name: COCO}


def skeleton_named(name: str) -> Skeleton:
    """The skeleton of that name. Raises ValueError with the valid names for any other."""
    if name not in SKELETONS:
        raise ValueError(f"unknown skeleton {name!r}: expected one of {', '.join(sorted(SKELETONS))}")
    return SKELETONS[name]
