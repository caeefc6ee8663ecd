"""Skeletons on a picture: left and right in different colours, as bold as the person is large."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.settings import SettingsError
from pipeline.types import FloatArray, Frame, Image, Poses, Skeleton

LEFT, RIGHT, MIDDLE = (255, 176, 56), (32, 128, 255), (235, 235, 235)  # BGR: blue, orange, white
OUTLINE = (20, 20, 20)
SHIFT = 4  # fractional bits of coordinates given to OpenCV
PERSON_PER_LINE = 110  # px of person height for one px of line width
MOST_FAT_DOTS = 40  # keypoints; of faces and hands more of them would run into each other
OUTLINED_FROM = 90  # px of person height: round the limbs of smaller people an outline would fill them
WIDEST_LINE = 30
FACE_WORDS = {"nose", "eye", "ear", "mouth", "face"}
FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class DrawStyle:
    """What is drawn of a person.

    score: keypoints with a score at or below it are hidden; None for the network's own threshold. width: of the lines
    in px; None for one by the person's size. boxes, ids, faces: whether boxes, track ids and keypoints of the face are
    drawn.
    """

    score: float | None = None
    width: int | None = None
    boxes: bool = False
    ids: bool = True
    faces: bool = True


def draw_style(text: str) -> DrawStyle:
    """The style that a text such as `boxes=on,ids=off,score=0.5` asks for. Raises SettingsError for any other text."""
    values: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        if name not in STYLE_READERS:
            raise SettingsError(f"draw: unknown setting {item!r}; expected {STYLE_FORM}")
        read = STYLE_READERS[name](value)
        if read is None:
            raise SettingsError(f"draw: {name} cannot be {value!r}; expected {STYLE_FORM}")
        values[name] = read
    return DrawStyle(**values)


def _read_switch(text: str) -> bool | None:
    return {"on": True, "off": False}.get(text)


def _read_score(text: str) -> float | None:
    return float(text) if re.fullmatch(r"0|1|0?\.[0-9]+|1\.0+", text) else None


def _read_width(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,2}", text) and 1 <= int(text) <= WIDEST_LINE else None


STYLE_FORM = f"score=0...1, width=1...{WIDEST_LINE}, boxes=on|off, ids=on|off, faces=on|off, joined by commas"
STYLE_READERS: dict[str, Callable[[str], Any]] = {
    "score": _read_score, "width": _read_width,
    "boxes": _read_switch, "ids": _read_switch, "faces": _read_switch,
}  # fmt: skip


class PoseDrawing:
    """Draws poses of one skeleton; points with a score at or below `score_threshold` are hidden.

    score_threshold: where the style names none.
    """

    def __init__(self, skeleton: Skeleton, score_threshold: float, style: DrawStyle | None = None) -> None:
        self._style = style or DrawStyle()
        self._threshold = score_threshold if self._style.score is None else self._style.score
        self._shown = np.array(
            [self._style.faces or not FACE_WORDS & set(_words(name)) for name in skeleton.keypoint_names]
        )
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
        """Draw on the frame's own image, and return it; on a copy of one that OpenCV cannot draw on."""
        flags = frame.image.flags
        image = frame.image if flags.writeable and flags.c_contiguous else frame.image.copy(order="C")
        # The nearest, lowest in the picture, come last and so on top.
        for row in np.argsort(poses.boxes[:, 3], kind="stable"):
            self._draw_person(image, poses.keypoints[row], poses.scores[row], poses.boxes[row])
        for row in range(len(poses) if self._style.ids else 0):
            _draw_label(image, str(poses.track_ids[row]), poses.boxes[row])
        return image

    def _draw_person(self, image: Image, points: FloatArray, scores: FloatArray, box: FloatArray) -> None:
        sure = (scores > self._threshold) & self._shown
        # Far outside the picture there is nothing to see, and OpenCV's integers would overflow.
        limit = 2 * max(image.shape[:2])
        fixed = np.round(np.clip(points, -limit, limit) * (1 << SHIFT)).astype(np.int32)
        width = self._style.width or line_width(box)
        if self._style.boxes:
            _draw_box(image, box, limit)
        strokes = [
            (colour, fixed[links[sure[links].all(axis=1)]], np.repeat(fixed[dots[sure[dots]]][:, None], 2, axis=1))
            for colour, links, dots in self._strokes
        ]
        if width > 1 or person_size(box) >= OUTLINED_FROM:
            for _, lines, _ in strokes:
                _stroke(image, lines, OUTLINE, width + 2)
        for colour, lines, dots in strokes:
            _stroke(image, lines, colour, width)
            # A line without length is a round dot.
            _stroke(image, dots, colour, width if self._dots_as_lines else 2 * width + 1)


def _side(keypoint: str) -> tuple[int, int, int]:
    """The colour of a keypoint by its name, as in left_eye, wing_left, eye-L, l_eye."""
    words = _words(keypoint)
    for side, colour in (("left", LEFT), ("right", RIGHT)):
        if side in keypoint.lower() or side[0] in words:
            return colour
    return MIDDLE


def _words(keypoint: str) -> list[str]:
    return re.split("[^a-z]+", keypoint.lower())


def line_width(box: FloatArray) -> int:
    """Width in px of a person's lines, from the height of the box [4] (or its width, for someone lying down)."""
    return int(np.clip(round(person_size(box) / PERSON_PER_LINE), 1, 8))


def person_size(box: FloatArray) -> float:
    """The longer side of a box [4], in px."""
    return max(float(box[2] - box[0]), float(box[3] - box[1]))


def _stroke(image: Image, lines: npt.NDArray[np.int32], colour: tuple[int, int, int], width: int) -> None:
    if len(lines):
        cv2.polylines(image, list(lines), False, colour, width, cv2.LINE_AA, SHIFT)


def _draw_box(image: Image, box: FloatArray, limit: int) -> None:
    """A thin frame round the person."""
    x1, y1, x2, y2 = (int(value) for value in np.round(np.clip(box, -limit, limit)))
    for colour, width in ((OUTLINE, 3), (MIDDLE, 1)):
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, width)


def _draw_label(image: Image, text: str, box: FloatArray) -> None:
    """The track id above the box [4], on a dark ground, inside the picture."""
    scale = float(np.clip((box[3] - box[1]) / 300, 0.4, 1.0)) * max(1.0, image.shape[0] / 1080)
    (width, height), _ = cv2.getTextSize(text, FONT, scale, 1)
    left = int(np.clip((box[0] + box[2] - width) / 2, 2, max(2, image.shape[1] - width - 2)))
    bottom = int(np.clip(box[1] - 3, height + 3, image.shape[0] - 3))
    cv2.rectangle(image, (left - 2, bottom - height - 2), (left + width + 1, bottom + 2), OUTLINE, cv2.FILLED)
    cv2.putText(image, text, (left, bottom), FONT, scale, (255, 255, 255), 1, cv2.LINE_AA)
