"""Keypoints come back to the frame, each person's to its own place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.engine import ModelError, open_engine
from pipeline.pose import PoseEstimator
from pipeline.skeletons import COCO
from tests.helpers import Arrays, FakeEngine, detector_manifest, pose_manifest
from tests.tiny_networks import pose_file

BOXES = np.array([[30, 40, 70, 100], [200, 20, 230, 140], [-20, 150, 90, 239]], np.float32)


def brightest_points(inputs: Arrays) -> Arrays:
    """A pose network whose keypoints all lie at the middle of what is white in the crop."""
    points = []
    for crop in inputs["crops"]:
        y, x = np.nonzero(crop[..., 0] > 128)
        points.append(np.tile([x.mean(), y.mean()], (17, 1)))
    count = len(inputs["crops"])
    return {
        "keypoints": np.array(points, np.float32).reshape(count, 17, 2),
        "scores": np.full((count, 17), 0.9, np.float32),
    }


def test_each_person_s_keypoints_return_to_its_own_place() -> None:
    frame = np.zeros((240, 320, 3), np.uint8)
    places = np.array([[50.0, 60.0], [215.0, 100.0], [40.0, 200.0]])
    for x, y in places.astype(int):
        frame[y - 5 : y + 6, x - 5 : x + 6] = 255
    engine = FakeEngine(pose_manifest(192, 256), brightest_points)
    keypoints, scores = PoseEstimator(engine)(frame, BOXES)
    assert keypoints.shape == (3, 17, 2) and scores.shape == (3, 17)
    np.testing.assert_allclose(keypoints, np.repeat(places[:, None], 17, axis=1), atol=0.3)
    assert len(engine.calls) == 1, "all people of a frame go in one call"
    assert engine.calls[0]["crops"].shape == (3, 256, 192, 3)


def test_people_of_several_pictures_go_in_one_call_and_come_back_to_their_own() -> None:
    dark, lit = np.zeros((240, 320, 3), np.uint8), np.zeros((200, 100, 3), np.uint8)
    dark[55:66, 45:56] = lit[95:106, 65:76] = 255
    engine = FakeEngine(pose_manifest(192, 256), brightest_points)
    boxes = np.array([[50, 80, 90, 130]], np.float32)
    pictures = [(dark, BOXES[:1]), (dark, np.zeros((0, 4), np.float32)), (lit, np.repeat(boxes, 2, axis=0))]
    first, none, last = PoseEstimator(engine).together(pictures)
    np.testing.assert_allclose(first[0], np.full((1, 17, 2), [50.0, 60.0]), atol=0.3)
    assert (none[0].shape, none[1].shape) == ((0, 17, 2), (0, 17))
    np.testing.assert_allclose(last[0], np.full((2, 17, 2), [70.0, 100.0]), atol=0.3)
    assert [call["crops"].shape[0] for call in engine.calls] == [3]


def test_nobody_in_the_frame() -> None:
    keypoints, scores = PoseEstimator(FakeEngine(pose_manifest(), brightest_points))(
        np.zeros((240, 320, 3), np.uint8), np.zeros((0, 4), np.float32)
    )
    assert keypoints.shape == (0, 17, 2) and scores.shape == (0, 17)


def test_the_skeleton_is_the_network_s() -> None:
    assert PoseEstimator(FakeEngine(pose_manifest(), brightest_points)).skeleton is COCO
    octopus = replace(pose_manifest(), skeleton="octopus")
    with pytest.raises(ModelError, match=r"tiny_pose.*unknown skeleton 'octopus'"):
        PoseEstimator(FakeEngine(octopus, brightest_points))


def test_a_detector_is_refused() -> None:
    with pytest.raises(ModelError, match="expected a pose network, got the person_detector network 'tiny_detector'"):
        PoseEstimator(FakeEngine(detector_manifest(), brightest_points))


def test_more_people_than_a_batch_are_all_there(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    crowd = np.tile(BOXES, (3, 1))
    few = PoseEstimator(open_engine(pose_file(tmp_path), "onnxruntime"))(frame, BOXES)
    many = PoseEstimator(open_engine(pose_file(tmp_path, largest_batch=4), "onnxruntime"))(frame, crowd)
    np.testing.assert_allclose(many[0], np.tile(few[0], (3, 1, 1)), atol=1e-4)
    np.testing.assert_allclose(many[1], np.tile(few[1], (3, 1)), atol=1e-6)
