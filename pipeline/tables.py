"""Results as tables that other programs read: CSV, and COCO's results format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.pipes import Waiting
from pipeline.sinks import frame_object
from pipeline.text_output import TextOutput
from pipeline.types import FloatArray, Frame, Image, Poses, Skeleton

PERSON_CATEGORY = 1  # COCO's
SURE = 0.2  # the results tables' rule; COCO's evaluation ranks people by these scores
ROW_COLUMNS = ("source", "frame", "time_s", "id", "x1", "y1", "x2", "y2", "score")


class CsvSink:
    """One row a person a frame, in pixels of the original frame; a frame without people has no row.

    The columns: source, frame, time_s, id, x1, y1, x2, y2 and score of the box, then x, y and score of each keypoint.
    waiting: how to wait for the reader of a pipe.
    """

    def __init__(self, path: Path, skeleton: Skeleton, waiting: Waiting | None = None) -> None:
        self._output = TextOutput(path, waiting)
        keypoints = [f"{name}_{value}" for name in skeleton.keypoint_names for value in ("x", "y", "score")]
        self._write([[*ROW_COLUMNS, *keypoints]])

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Write the people of a frame."""
        found = frame_object(frame, poses)
        of_frame = [frame.source, found["frame"], found["time_s"]]
        people = [(person, np.ravel(person["keypoints"]).tolist()) for person in found["people"]]
        self._write([[*of_frame, person["id"], *person["box"], person["score"], *flat] for person, flat in people])

    def close(self) -> None:
        """Give the file its name."""
        self._output.close()

    def _write(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._output.write(text.getvalue())


class CocoResultsSink:
    """People in COCO's results format, as pycocotools' `loadRes` reads it: a JSON list, one object a person.

    image_ids: the ids of pictures by file name, see `image_ids_of`; frames of anything else have their index as id.
    An object has image_id, category_id (1), keypoints as x, y, score of each in turn, score by `person_scores`, and
    bbox as x, y, width, height.
    """

    def __init__(self, path: Path, image_ids: Mapping[str, int] | None = None) -> None:
        self._output = TextOutput(path)
        self._image_ids = image_ids or {}
        self._before = "[\n"

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Write the people of a frame. ValueError if a number is not finite."""
        image_id = self._image_ids.get(frame.file_name, frame.index)
        scores = np.round(person_scores(poses.scores, poses.box_scores), 5).tolist()
        for person, score in zip(frame_object(frame, poses)["people"], scores, strict=True):
            x1, y1, x2, y2 = person["box"]
            result = {
                "image_id": image_id,
                "category_id": PERSON_CATEGORY,
                "keypoints": np.ravel(person["keypoints"]).tolist(),
                "score": score,
                "bbox": [x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)],
            }
            self._output.write(self._before + json.dumps(result, allow_nan=False))
            self._before = ",\n"

    def close(self) -> None:
        """End the list and give the file its name."""
        self._output.write("[]\n" if self._before == "[\n" else "\n]\n")
        self._output.close()


def person_scores(
    keypoint_scores: FloatArray, box_scores: FloatArray, score_threshold: float = SURE
) -> npt.NDArray[np.float64]:
    """Scores [N] of people from those of their keypoints [N, K] and boxes [N].

    The box's score times the mean of the keypoint scores above the threshold (0 where there is none).
    """
    # float64: a float32 score of 0.2 is a little above the threshold 0.2, in the reference as well.
    scores, boxes = np.asarray(keypoint_scores, np.float64), np.asarray(box_scores, np.float64)
    sure = scores > score_threshold
    product: npt.NDArray[np.float64] = boxes * np.where(sure, scores, 0).sum(1) / np.maximum(sure.sum(1), 1)
    return product


def image_ids_of(paths: Sequence[Path]) -> dict[str, int]:
    """COCO's image ids of a folder's pictures, by file name.

    They are the numbers that the names end in, as in 000000000139.jpg and COCO_val2014_000000000042.jpg. If a name ends
    in none, or two in the same, they are the places in the order given, from 0.
    """
    ends = [re.search("[0-9]+$", path.stem) for path in paths]
    numbers = [int(end[0]) for end in ends if end]
    if len(numbers) < len(paths) or len(set(numbers)) < len(paths):
        numbers = list(range(len(paths)))
    return {path.name: number for path, number in zip(paths, numbers, strict=True)}
