"""A make-believe world for the pipeline: people are bright upright rectangles on a dark ground."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.capture import quiet_opencv
from pipeline.pose_pipeline import PosePipeline
from pipeline.skeletons import COCO
from pipeline.smoothing import PoseSmoother
from pipeline.sources import Source
from pipeline.stats import StageStats
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Image, Poses

quiet_opencv()

# A standing figure inside its box: x, y of each COCO keypoint as shares of the box.
STANDING = np.array(
    [
        (.50, .07), (.55, .05), (.45, .05), (.60, .07), (.40, .07), (.75, .20), (.25, .20), (.85, .35), (.15, .35),
        (.90, .50), (.10, .50), (.65, .52), (.35, .52), (.65, .75), (.35, .75), (.65, .96), (.35, .96),
    ],
    np.float32,
)  # fmt: skip


def picture(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (320, 240)) -> Image:
    """A picture of `size` (width, height) with a person in each box."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[max(y1, 0) : y2, max(x1, 0) : x2] = 255
    return image


def walk(frames: int, speed: int = 4, size: tuple[int, int] = (320, 240)) -> list[Image]:
    """Someone walking to the right."""
    return [picture((20 + speed * index, 60, 60 + speed * index, 180), size=size) for index in range(frames)]


def frame_of(image: Image, index: int = 0, fps: float = 25.0) -> Frame:
    return Frame(image, index, index / fps, "test", time.monotonic())


def standing(boxes: FloatArray | list[list[float]], score: float = 0.9) -> tuple[FloatArray, FloatArray]:
    """Keypoints and scores of standing people in these boxes."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    points = boxes[:, None, :2] + STANDING * (boxes[:, 2:] - boxes[:, :2])[:, None]
    return points.astype(np.float32), np.full((len(boxes), 17), score, np.float32)


def poses_at(boxes: list[list[float]], score: float = 0.9) -> Poses:
    points, scores = standing(boxes, score)
    ids = np.arange(1, len(boxes) + 1)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return Poses(points, scores, array, np.full(len(boxes), 0.8, np.float32), ids)


class BlobDetector:
    """Finds the bright rectangles, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Image) -> Detections:
        self.calls += 1
        count, _, rows, _ = cv2.connectedComponentsWithStats((image[:, :, 1] > 128).astype(np.uint8))
        found = rows[1:count, :4].astype(np.float32)
        found[:, 2:] += found[:, :2]
        return Detections(found, np.full(len(found), 0.9, np.float32))


def blob_estimator(image: Image, boxes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A standing figure in the bright part of each box; scores of 0 where there is none."""
    found = np.zeros((len(boxes), 4), np.float32)
    scores = np.zeros((len(boxes), 17), np.float32)
    for row, box in enumerate(boxes):
        x1, y1, x2, y2 = np.round(box).astype(int)
        x1, y1 = max(x1 - 10, 0), max(y1 - 10, 0)
        ys, xs = np.nonzero(image[y1 : max(y2 + 10, 0), x1 : max(x2 + 10, 0), 1] > 128)
        if len(ys):
            found[row] = x1 + xs.min(), y1 + ys.min(), x1 + xs.max() + 1, y1 + ys.max() + 1
            scores[row] = 0.9
    return standing(found)[0], scores


class BlobEstimator:
    """`blob_estimator` for the people of several pictures; remembers how many pictures it was given at a time."""

    def __init__(self) -> None:
        self.pictures: list[int] = []

    def together(self, pictures: Sequence[tuple[Image, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
        self.pictures.append(len(pictures))
        return [blob_estimator(image, boxes) for image, boxes in pictures]


class BlobNetworks:
    """Stands in for pipeline.pose_pipeline.Networks."""

    skeleton = COCO
    score_threshold = 0.3

    def __init__(self, detector: Path, pose: Path, stats: StageStats, threads: int | None = None) -> None:
        self.stats = stats

    def pipeline(self, source: Source, detect_every: int | None, smooth: bool = True) -> PosePipeline:
        every = detect_every or (1 if source.still else 5)
        smoother = PoseSmoother(len(COCO), 0.3) if smooth and not source.still else None
        return PosePipeline(BlobDetector(), BlobEstimator(), Tracker(COCO, 0.3), every, self.stats, smoother)


class ListSource:
    """A source of given images; `live` ones come `interval_s` apart. `error` is raised at the end."""

    name, still, fps = "list", False, 25.0

    def __init__(
        self, images: list[Image], live: bool = False, interval_s: float = 0.0, error: Exception | None = None
    ) -> None:
        self.images, self.live, self.interval_s, self.error = images, live, interval_s, error
        self.frame_count: int | None = len(images)
        self.given = 0
        self.closed = False

    def frames(self) -> Iterator[Frame]:
        for index, image in enumerate(self.images):
            self.given += 1
            yield frame_of(image.copy(), index, self.fps)
            time.sleep(self.interval_s)
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True


class ListSink:
    """Remembers what it was given; raises `error` at frame `fail_at`."""

    def __init__(self, pictures: bool = False, fail_at: int | None = None, error: Exception | None = None) -> None:
        self.pictures, self.fail_at, self.error = pictures, fail_at, error
        self.frames: list[int] = []
        self.people: list[int] = []
        self.drawn = 0

    def wants_picture(self, frame: Frame) -> bool:
        return self.pictures

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        if frame.index == self.fail_at and self.error:
            raise self.error
        self.frames.append(frame.index)
        self.people.append(len(poses))
        self.drawn += picture is not None

    def close(self) -> None:
        pass


def write_video(path: Path, images: list[Image], fps: float = 25.0) -> Path:
    """The images as a video file: mp4v in .mp4, motion JPEG in .avi."""
    height, width = images[0].shape[:2]
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), codec, fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(image)
    writer.release()
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def video_facts(path: Path) -> tuple[int, int, int]:
    """Width, height and number of frames that can be read."""
    capture = cv2.VideoCapture(str(path))
    width, height = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    frames = 0
    while capture.read()[0]:
        frames += 1
    return width, height, frames
