"""The values that travel through the pipeline: arrays with a stated shape and unit, never lists of objects.

N is the number of people in a frame (0 is ordinary) and K the number of keypoints of the skeleton.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    image: uint8 [H, W, 3], BGR. index: 0-based number of the frame in its source.
    time_s: media time in seconds since the source's first frame.
    source: the name of the source, as a user would recognise it.
    captured_s: `time.monotonic()` when the frame reached this program; latency is counted from here.
    file_name: of the picture, where the source is a folder of them.
    undecoded: packets that gave no picture since the frame before this one.
    """

    image: Image
    index: int
    time_s: float
    source: str
    captured_s: float
    file_name: str = ""
    undecoded: int = 0


@dataclass(frozen=True)
class Detections:
    """People found in a frame. boxes: float32 [N, 4], x1 y1 x2 y2 in frame px. scores: float32 [N], 0 to 1."""

    boxes: FloatArray
    scores: FloatArray

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def none() -> Detections:
        """No people."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Poses:
    """Skeletons of a frame.

    keypoints: float32 [N, K, 2], x y in frame px. scores: float32 [N, K], heatmap maxima, about 0 to 1.
    boxes: float32 [N, 4], x1 y1 x2 y2 in frame px. box_scores: float32 [N], 0 to 1.
    track_ids: int64 [N], positive, the same for the same person from frame to frame.
    """

    keypoints: FloatArray
    scores: FloatArray
    boxes: FloatArray
    box_scores: FloatArray
    track_ids: IntArray

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def none(keypoint_count: int) -> Poses:
        """No people, for a skeleton of `keypoint_count` points."""
        return Poses(
            np.zeros((0, keypoint_count, 2), np.float32),
            np.zeros((0, keypoint_count), np.float32),
            np.zeros((0, 4), np.float32),
            np.zeros(0, np.float32),
            np.zeros(0, np.int64),
        )


@dataclass(frozen=True)
class Skeleton:
    """What the keypoints of a network mean.

    keypoint_names: K names. links: pairs of keypoint indices that a drawing joins.
    flip_pairs: pairs of indices that swap in a mirror image.
    oks_sigmas: float64 [K], the per-keypoint constants of COCO's object keypoint similarity.
    upper_body: indices of what half-body augmentation holds for the upper half; the others are the lower one.
    """

    name: str
    keypoint_names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]
    flip_pairs: tuple[tuple[int, int], ...]
    oks_sigmas: FloatArray
    upper_body: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.keypoint_names)

    @property
    def flip_order(self) -> list[int]:
        """For each of the K keypoints, the index of what it is in a mirror image."""
        order = list(range(len(self)))
        for left, right in self.flip_pairs:
            order[left], order[right] = right, left
        return order
