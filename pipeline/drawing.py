"""Skeletons on a picture: left and right in different colours, as bold as the person is large."""

from __future__ import annotations

import re

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import FloatArray, Frame, Image, Poses, Skeleton

LEFT, RIGHT, MIDDLE = (255, 176, 56), (32, 128, 255), (235, 235, 235)  # BGR: blue, orange, white
OUTLINE = (20, 20, 20)
SHIFT = 4  # fractional bits of coordinates given to OpenCV
PERSON_PER_LINE = 110  # px of person height for one px of line width
MOST_FAT_DOTS = 40  # keypoints; of faces and hands more of them would run into each other
FONT = cv2.FONT_HERSHEY_SIMPLEX


class PoseDrawing:
    """Draws poses of one skeleton; points with a score at or below `score_threshold` are hidden."""

    def __init__(self, skeleton: Skeleton, score_threshold: float) -> None:
        self._threshold = score_threshold
        sides = [_side(name) for name in skeleton.keypoint_names]
        self._dots_as_lines = len(skeleton) > MOST_FAT_DOTS
        links = np.array(skeleton.links, np.int64).reshape(-1, 2)
        link_sides = [sides[a] if sides[a] == sides[b] else MIDDLE for a, b in skeleton.links]
        # One OpenCV call draws all links, or all points, of a colour.
        self._strokes = [
            (colour, links[[side == colour for side in link_sides]], np.flatnonzero([side == colour for side in sides]))
            for colour in (MIDDLE, LEFT, RIGHT)
        ]

    def __call__(self, frame: Frame, poses: Poses) -> Image:
        """Draw on the frame's own image, and return it."""
        image = frame.image if frame.image.flags.writeable else frame.image.copy()
        # The nearest, lowest in the picture, come last and so on top.
        for row in np.argsort(poses.boxes[:, 3], kind="stable"):
            self._draw_person(image, poses.keypoints[row], poses.scores[row], poses.boxes[row])
        for row in range(len(poses)):
            _draw_label(image, str(poses.track_ids[row]), poses.boxes[row])
        return image

    def _draw_person(self, image: Image, points: FloatArray, scores: FloatArray, box: FloatArray) -> None:
        sure = scores > self._threshold
        # Far outside the picture there is nothing to see, and OpenCV's integers would overflow.
        limit = 2 * max(image.shape[:2])
        fixed = np.round(np.clip(points, -limit, limit) * (1 << SHIFT)).astype(np.int32)
        width = line_width(box)
        strokes = [
            (colour, fixed[links[sure[links].all(axis=1)]], np.repeat(fixed[dots[sure[dots]]][:, None], 2, axis=1))
            for colour, links, dots in self._strokes
        ]
        if width > 1:
            for _, lines, _ in strokes:
                _stroke(image, lines, OUTLINE, width + 2)
        for colour, lines, dots in strokes:
            _stroke(image, lines, colour, width)
            # A line without length is a round dot.
            _stroke(image, dots, colour, width if self._dots_as_lines else 2 * width + 1)


def _side(keypoint: str) -> tuple[int, int, int]:
    """The colour of a keypoint by its name, as in left_eye, wing_left, eye-L, l_eye."""
    words = re.split("[^a-z]+", keypoint.lower())
    for side, colour in (("left", LEFT), ("right", RIGHT)):
        if side in keypoint.lower() or side[0] in words:
            return colour
    return MIDDLE


def line_width(box: FloatArray) -> int:
    """Width in px of a person's lines, from the height of the box [4] (or its width, for someone lying down)."""
    size = max(float(box[2] - box[0]), float(box[3] - box[1]))
    return int(np.clip(round(size / PERSON_PER_LINE), 1, 8))


def _stroke(image: Image, lines: npt.NDArray[np.int32], colour: tuple[int, int, int], width: int) -> None:
    if len(lines):
        cv2.polylines(image, list(lines), False, colour, width, cv2.LINE_AA, SHIFT)


def _draw_label(image: Image, text: str, box: FloatArray) -> None:
    """The track id above the box [4], on a dark ground, inside the picture."""
    scale = float(np.clip((box[3] - box[1]) / 300, 0.4, 1.0)) * max(1.0, image.shape[0] / 1080)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    left = int(np.clip((box[0] + box[2] - width) / 2, 2, max(2, image.shape[1] - width - 2)))
    bottom = int(np.clip(box[1] - 3, height + 3, image.shape[0] - 3))
    cv2.rectangle(image, (left - 2, bottom - height - 2), (left + width + 1, bottom + 2), OUTLINE, cv2.FILLED)
    cv2.putText(image, text, (left, bottom), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
