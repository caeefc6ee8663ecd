"""The story of a frame: find the people, estimate their poses, say who is who."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from engines.engine import ModelError, open_engine
from engines.frames import shared
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from pipeline.scene_change import SceneChange, Surroundings, thumbnail
from pipeline.smoothing import PoseSmoother
from pipeline.sources import Source
from pipeline.stats import NETWORKS, StageStats, TimedEngine
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Image, Poses, Skeleton

DETECT_EVERY = 5
RESTS = 4  # turns in a row that the detector leaves out, at most, while nobody can have come
Detector = Callable[[Image], Detections]


class Estimator(Protocol):
    """The poses of several pictures' people at once."""

    def together(self, pictures: Sequence[tuple[Image, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
        """Images and boxes [N, 4] -> keypoints [N, K, 2] and scores [N, K] of each, in px of the image."""


class Networks:
    """The two networks, ready to run, with their calls timed. Raises ModelError for a file that does not fit.

    threads: CPU threads of each, None for all cores.
    """

    def __init__(self, detector: str | Path, pose: str | Path, stats: StageStats, threads: int | None = None) -> None:
        detector_engine, pose_engine = (open_engine(file, threads=threads) for file in (detector, pose))
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

    def pipeline(self, source: Source, detect_every: int | None = None, smooth: bool = True) -> PosePipeline:
        """A pipeline for one source, with a tracker and a smoother of its own.

        detect_every: by default 5, and 1 for pictures that need not resemble their neighbours. smooth: whether to
        smooth the keypoints over time; those of such pictures never are.
        """
        every = detect_every or (1 if source.still else DETECT_EVERY)
        tracker = Tracker(self.skeleton, self.score_threshold, at_once=source.still)
        smoother = PoseSmoother(len(self.skeleton), self.score_threshold) if smooth and not source.still else None
        return PosePipeline(self.detector, self.estimator, tracker, every, self.stats, smoother)


class PosePipeline:
    """Frames of one source in, poses out.

    The detector runs on every `detect_every`-th frame, and when the tracker or a changed picture asks for it. While
    everybody is known and the surroundings are still, nobody can have come: it then leaves out up to `rests` turns in a
    row, but none where it is to run on every frame.
    """

    def __init__(
        self, detector: Detector, estimator: Estimator, tracker: Tracker, detect_every: int, stats: StageStats,
        smoother: PoseSmoother | None = None, rests: int = RESTS,
    ) -> None:  # fmt: skip
        if detect_every < 1:
            raise ValueError(f"detect_every should be at least 1, got {detect_every}")
        self._detector, self.estimator, self._tracker = detector, estimator, tracker
        self._detect_every, self.stats = detect_every, stats
        self._smoother, self._changed, self._surroundings = smoother, SceneChange(), Surroundings()
        self._rests = rests if detect_every > 1 else 0
        self._until_detection = self._rested = 0
        self._shape: tuple[int, ...] = ()

    def __call__(self, frame: Frame) -> Poses:
        """The people of the next frame."""
        return together([self])([(0, frame)])[0]

    def find_people(self, frame: Frame) -> Detections:
        """Where to look for the people of the next frame.

        By the detector when it is its turn or wanted, else where they are expected after the last poses.
        """
        image = frame.image
        if image.shape != self._shape:
            self._shape = image.shape
            self._tracker.forget()
        seen = thumbnail(image)
        if self._changed(seen):
            self._tracker.doubt()
        wanted = self._tracker.wants_detector
        self._until_detection = 0 if wanted else self._until_detection - 1
        carried = self._tracker.carried(frame.time_s)
        if self._until_detection > 0:
            return carried
        self._until_detection = self._detect_every
        if not wanted and self._may_rest(seen, carried, image):
            self._rested += 1
            return carried
        self._rested = 0
        self._surroundings.remember(seen)
        with self.stats.timed("detect"):
            found = self._detector(image)
        return self._tracker.confirm(found, frame.time_s)

    def _may_rest(self, seen: FloatArray, carried: Detections, image: Image) -> bool:
        """Whether the detector may leave out this turn: everybody is known, and nobody can have come."""
        size = image.shape[1], image.shape[0]
        known = self._rested < self._rests and self._tracker.settled
        return known and self._surroundings.are_still(seen, carried.boxes, size)

    def follow(self, frame: Frame, people: Detections, keypoints: FloatArray, scores: FloatArray) -> Poses:
        """Who is who among the poses that were found in the people's boxes."""
        with self.stats.timed("track"):
            poses = self._tracker.update(people, keypoints, scores, frame.time_s)
            return self._smoother(poses, frame.time_s) if self._smoother else poses


def together(pipelines: Sequence[PosePipeline]) -> Callable[[Sequence[tuple[int, Frame]]], list[Poses]]:
    """What finds the people in frames of several sources at once, given as a pipeline's number and its next frame.

    The crops of all frames are one batch. The pipelines are those of one pair of networks.
    """
    estimator, stats = pipelines[0].estimator, pipelines[0].stats

    def process(numbered: Sequence[tuple[int, Frame]]) -> list[Poses]:
        frames = [replace(frame, image=shared(frame.image)) for _, frame in numbered]
        owners = [pipelines[number] for number, _ in numbered]
        people = [owner.find_people(frame) for owner, frame in zip(owners, frames, strict=True)]
        with stats.timed("pose"):
            found = estimator.together([(f.image, some.boxes) for f, some in zip(frames, people, strict=True)])
        steps = zip(owners, frames, people, found, strict=True)
        return [owner.follow(frame, some, *poses) for owner, frame, some, poses in steps]

    return process
