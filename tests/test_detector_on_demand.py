from __future__ import annotations

import numpy as np
import pytest

from pipeline.pose_pipeline import PosePipeline
from pipeline.skeletons import COCO
from pipeline.smoothing import PoseSmoother
from pipeline.stats import StageStats
from pipeline.tracker import Tracker
from pipeline.types import Image
from tests.fakes import BlobDetector, BlobEstimator, frame_of, picture

PERSON = (40, 60, 80, 180)


def detector_frames(images: list[Image], detect_every: int = 100, rests: int = 0) -> list[int]:
    """The numbers of the frames that the detector was asked about."""
    detector, asked = BlobDetector(), list[int]()
    pipeline = PosePipeline(detector, BlobEstimator(), Tracker(COCO, 0.3), detect_every, StageStats(), rests=rests)
    for index, image in enumerate(images):
        before = detector.calls
        pipeline(frame_of(image, index))
        if detector.calls > before:
            asked.append(index)
    return asked


def test_without_an_event_only_every_nth_frame_is_searched() -> None:
    assert detector_frames([picture(PERSON)] * 21, 10) == [0, 10, 20]


def test_while_the_surroundings_are_still_turns_are_left_out() -> None:
    alone = [picture(PERSON)] * 60
    assert detector_frames(alone, 5, rests=4) == [0, 25, 50]
    assert detector_frames(alone, 1, rests=4) == list(range(60))
    other = [picture(PERSON)] * 7 + [picture(PERSON, (200, 60, 240, 180))] * 30
    assert detector_frames(other, 5, rests=4) == [0, 10, 35]


def test_a_lost_person_is_sought_in_the_next_frame_and_then_in_every_nth() -> None:
    size = 640, 480  # large: one who jumps is not yet another picture
    images = [picture(PERSON, size=size)] * 8 + [picture((200, 60, 240, 180), size=size)] * 15
    assert detector_frames(images, 10) == [0, 9, 19]


def test_somebody_who_leaves_costs_one_search() -> None:
    assert detector_frames([picture(PERSON)] * 8 + [picture()] * 20) == [0, 9]


def test_a_person_seen_for_a_moment_only_is_not_sought() -> None:
    assert detector_frames([picture(PERSON)] * 3 + [picture()] * 20) == [0]


def test_a_changed_picture_is_searched_at_once() -> None:
    images = [picture(PERSON)] * 4 + [np.maximum(picture((200, 60, 240, 180)), 100)] * 6
    assert detector_frames(images) == [0, 4]


@pytest.mark.parametrize("smooth", [True, False])
def test_smoothing_changes_what_is_shown_and_not_where_people_are_sought(smooth: bool) -> None:
    rng = np.random.default_rng(0)
    estimator = BlobEstimator()
    smoother = PoseSmoother(len(COCO), 0.3) if smooth else None
    pipelines = [
        PosePipeline(BlobDetector(), estimator, Tracker(COCO, 0.3), 5, StageStats(), each) for each in (None, smoother)
    ]
    differences = []
    for index in range(20):
        x, y = rng.integers(-3, 4, 2)
        image = picture((40 + x, 60 + y, 80 + x, 180 + y))
        raw, shown = (pipeline(frame_of(image, index)) for pipeline in pipelines)
        np.testing.assert_array_equal(raw.boxes, shown.boxes)
        differences.append(np.abs(raw.keypoints - shown.keypoints).max())
    assert differences[0] == 0
    assert (max(differences) > 0.1) == smooth
