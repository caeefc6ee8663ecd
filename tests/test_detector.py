"""The detector finds people at their place in the frame, whatever the frame's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engines.engine import ModelError, open_engine
from pipeline.detector import PADDING_GREY, PersonDetector, distinct, letterbox
from pipeline.types import Detections
from tests.helpers import FakeEngine, detector_manifest, pose_manifest
from tests.tiny_networks import detector_file


def detections(boxes: list[list[float]], scores: list[float]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32))


def detector_that_finds(boxes: list[list[float]], scores: list[float]) -> PersonDetector:
    """A detector of 96 px whose network answers with these boxes, in px of its input."""
    found = detections(boxes, scores)
    return PersonDetector(FakeEngine(detector_manifest(96), lambda _: {"boxes": found.boxes, "scores": found.scores}))


def grey(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "inside", "padded"),
    [
        (480, 640, (72, 96), (96, 96)),
        (640, 480, (96, 72), (96, 96)),
        (96, 96, (96, 96), (96, 96)),
        (30, 40, (72, 96), (96, 96)),
        (100, 1000, (10, 96), (32, 96)),
        (3, 1000, (1, 96), (32, 96)),
        (1, 1, (96, 96), (96, 96)),
    ],
)
def test_letterbox_keeps_the_aspect_and_pads_right_and_below(
    height: int, width: int, inside: tuple[int, int], padded: tuple[int, int]
) -> None:
    canvas, zoom = letterbox(grey(height, width), 96)
    assert canvas.shape == (*padded, 3) and canvas.dtype == np.uint8
    assert (canvas[: inside[0], : inside[1]] == 200).all()
    assert (canvas[inside[0] :] == PADDING_GREY).all() and (canvas[:, inside[1] :] == PADDING_GREY).all()
    np.testing.assert_allclose(zoom, [inside[1] / width, inside[0] / height] * 2)


def test_boxes_are_in_frame_pixels_clipped_and_sorted() -> None:
    detector = detector_that_finds([[48, 0, 60, 36], [-6, 30, 24, 90], [0, 0, 9, 9]], [0.6, 0.9, 0.1])
    people = detector(grey(480, 640))
    np.testing.assert_allclose(people.boxes, [[0, 200, 160, 480], [320, 0, 400, 240]], atol=1e-3)
    np.testing.assert_allclose(people.scores, [0.9, 0.6])
    assert people.boxes.dtype == people.scores.dtype == np.float32


def test_the_network_gets_one_bgr_picture_as_it_is() -> None:
    empty = detections([], [])
    engine = FakeEngine(detector_manifest(96), lambda _: {"boxes": empty.boxes, "scores": empty.scores})
    image = grey(96, 96)
    image[..., 0] = 10
    assert len(PersonDetector(engine)(image)) == 0
    np.testing.assert_array_equal(engine.calls[0]["crops"], image[None])


def test_the_threshold_is_the_network_s_own_unless_given() -> None:
    detector = detector_that_finds([[0, 0, 20, 40], [50, 0, 70, 40]], [0.5, 0.3])
    assert len(detector(grey(96, 96))) == 1, "the manifest says 0.4"
    assert len(PersonDetector(detector.engine, score_threshold=0.2)(grey(96, 96))) == 2
    assert len(PersonDetector(detector.engine, score_threshold=0.0)(grey(96, 96))) == 2


def test_overlapping_boxes_leave_the_best() -> None:
    people = detections([[0, 0, 10, 20], [0, 0, 10, 19], [0, 0, 10, 11], [50, 0, 60, 20]], [0.7, 0.8, 0.6, 0.9])
    kept = distinct(people, 0.6)
    np.testing.assert_array_equal(kept.scores, np.array([0.9, 0.8, 0.6], np.float32))
    np.testing.assert_array_equal(kept.boxes[1], [0, 0, 10, 19])


def test_empty_boxes_and_no_boxes() -> None:
    assert len(distinct(Detections.none(), 0.6)) == 0
    assert distinct(Detections.none(), 0.6).boxes.shape == (0, 4)
    assert len(distinct(detections([[5, 5, 5, 9], [9, 9, 5, 12], [0, 0, 4, 4]], [0.9, 0.8, 0.7]), 0.6)) == 1


def test_a_pose_network_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a person_detector network, got the pose network 'tiny_pose'"):
        PersonDetector(FakeEngine(pose_manifest(), lambda inputs: inputs))


def test_through_a_real_graph(tmp_path: Path) -> None:
    """A bright cell of a wide picture is found where it is."""
    detector = PersonDetector(open_engine(detector_file(tmp_path)), score_threshold=0.7)
    frame = np.zeros((320, 960, 3), np.uint8)
    frame[:, 640:] = 255
    (box,) = detector(frame).boxes
    np.testing.assert_allclose(box, [640, 0, 960, 320], atol=0.5)
