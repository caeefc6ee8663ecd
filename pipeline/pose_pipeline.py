"""The story of a frame: find the people, estimate their poses, say who is who."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines.engine import ModelError, open_engine
from engines.frames import shared
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from pipeline.sources import Source
from pipeline.stats import NETWORKS, StageStats, TimedEngine
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Image, Poses, Skeleton

DETECT_EVERY = 5
Detector = Callable[[Image], Detections]
Estimator = Callable[[Image, FloatArray], tuple[FloatArray, FloatArray]]  # image, boxes -> keypoints, scores


class Networks:
    """The two networks, ready to run, with their calls timed. Raises ModelError for a file that does not fit."""

    def __init__(self, detector: str | Path, pose: str | Path, stats: StageStats) -> None:
        detector_engine, pose_engine = open_engine(detector), open_engine(pose)
        try:
            self.detector = PersonDetector(TimedEngine(detector_engine, NETWORKS[0], stats))
        except ModelError as error:
            raise ModelError(f"{detector}: {error}") from error
        try:
            self.estimator = PoseEstimator(TimedEngine(pose_engine, NETWORKS[1], stats))
        except ModelError as error:
            raise ModelError(f"{pose}: {error}") from error
        self.score_threshold = pose_engine.manifest.score_threshold
        self.stats = stats

    @property
    def skeleton(self) -> Skeleton:
        """What the pose network's keypoints mean."""
        return self.estimator.skeleton

    def pipeline(self, source: Source, detect_every: int | None = None) -> PosePipeline:
        """A pipeline for one source, with a tracker of its own.

        detect_every: by default 5, and 1 for pictures that need not resemble their neighbours.
        """
        every = detect_every or (1 if source.still else DETECT_EVERY)
        tracker = Tracker(self.skeleton, self.score_threshold)
        return PosePipeline(self.detector, self.estimator, tracker, every, self.stats)


class PosePipeline:
    """Frames of one source in, poses out. The detector runs on every `detect_every`-th frame."""

    def __init__(
        self, detector: Detector, estimator: Estimator, tracker: Tracker, detect_every: int, stats: StageStats
    ) -> None:
        if detect_every < 1:
            raise ValueError(f"detect_every should be at least 1, got {detect_every}")
        self._detector, self._estimator, self._tracker = detector, estimator, tracker
        self._detect_every, self._stats = detect_every, stats
        self._until_detection = 0
        self._shape: tuple[int, ...] = ()

    def __call__(self, frame: Frame) -> Poses:
        """The people of the next frame."""
        image = shared(frame.image)
        people = self._find_people(image)
        with self._stats.timed("pose"):
            keypoints, scores = self._estimator(image, people.boxes)
        with self._stats.timed("track"):
            return self._tracker.update(people, keypoints, scores, frame.time_s)

    def _find_people(self, image: Image) -> Detections:
        """By the detector when it is its turn or the picture's size has changed, else where the last poses were."""
        if image.shape != self._shape:
            self._shape, self._until_detection = image.shape, 0
            self._tracker.forget()
        self._until_detection -= 1
        if self._until_detection >= 0:
            return self._tracker.carried()
        self._until_detection = self._detect_every - 1
        with self._stats.timed("detect"):
            found = self._detector(image)
        return self._tracker.confirm(found)
