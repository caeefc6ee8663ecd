from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.engine import ModelError
from pipeline.pose_pipeline import Networks, PosePipeline, together
from pipeline.skeletons import COCO
from pipeline.stats import RunCounts, StageStats, stage_table
from pipeline.tracker import Tracker
from tests.fakes import BlobDetector, BlobEstimator, ListSource, frame_of, picture, poses_at, walk
from tests.tiny_networks import detector_file, pose_file


def pipeline_with(detector: BlobDetector, detect_every: int) -> PosePipeline:
    return PosePipeline(detector, BlobEstimator(), Tracker(COCO, 0.3), detect_every, StageStats())


@pytest.mark.parametrize(("detect_every", "calls"), [(1, 20), (5, 4), (6, 4), (100, 1)])
def test_the_detector_runs_every_nth_frame_and_people_are_followed_between(detect_every: int, calls: int) -> None:
    detector = BlobDetector()
    pipeline = pipeline_with(detector, detect_every)
    for index, image in enumerate(walk(20)):
        poses = pipeline(frame_of(image, index))
        assert poses.track_ids.tolist() == [1]
        expected = [20 + 4 * index, 60, 60 + 4 * index, 180]
        assert np.abs(poses.boxes[0] - expected).max() < 12
    assert detector.calls == calls


def test_a_new_picture_size_asks_the_detector_at_once() -> None:
    detector = BlobDetector()
    pipeline = pipeline_with(detector, 5)
    pipeline(frame_of(picture((20, 60, 60, 180)), 0))
    poses = pipeline(frame_of(picture((300, 100, 340, 220), size=(640, 480)), 1))
    assert detector.calls == 2
    np.testing.assert_allclose(poses.boxes, [[300, 100, 340, 220]])


def test_people_of_several_sources_are_one_batch_and_have_ids_of_their_own() -> None:
    detector, estimator = BlobDetector(), BlobEstimator()
    pipelines = [PosePipeline(detector, estimator, Tracker(COCO, 0.3), 5, StageStats()) for _ in range(3)]
    process = together(pipelines)
    alone = pipeline_with(BlobDetector(), 5)
    for index, image in enumerate(walk(12)):
        empty, other = picture(), picture((100, 50, 130, 140), (200, 60, 240, 170))
        first, nobody, two = process(
            [(0, frame_of(image, index)), (1, frame_of(empty, index)), (2, frame_of(other, index))]
        )
        np.testing.assert_array_equal(first.keypoints, alone(frame_of(image, index)).keypoints)
        assert (first.track_ids.tolist(), len(nobody), two.track_ids.tolist()) == ([1], 0, [1, 2])
    assert estimator.pictures == [3] * 12
    assert [len(poses) for poses in process([(2, frame_of(picture((100, 50, 130, 140)), 12))])] == [1]


def test_detect_every_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="detect_every should be at least 1, got 0"):
        pipeline_with(BlobDetector(), 0)


def test_the_networks_of_two_files_make_a_pipeline(tmp_path: Path) -> None:
    stats = StageStats()
    networks = Networks(detector_file(tmp_path), pose_file(tmp_path), stats)
    pipeline = networks.pipeline(ListSource([]))
    for index in range(6):
        poses = pipeline(frame_of(np.full((64, 96, 3), 255, np.uint8), index))
        assert len(poses) > 0
        assert poses.keypoints.shape == (len(poses), 17, 2)
    counts = {stage: row["count"] for stage, row in stats.stages_ms().items()}
    assert counts == {"detect": 1, "pose": 6, "track": 6, "detector network": 1, "pose network": 6}
    assert 0 < stats.share_outside_networks() < 1
    assert networks.score_threshold == 0.3


def test_files_in_each_other_s_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a person_detector network, got the pose network"):
        Networks(pose_file(tmp_path), pose_file(tmp_path), StageStats())
    with pytest.raises(ModelError, match="expected a pose network, got the person_detector network"):
        Networks(detector_file(tmp_path), detector_file(tmp_path), StageStats())


def test_pictures_that_need_not_resemble_each_other_are_each_searched(tmp_path: Path) -> None:
    stats, source = StageStats(), ListSource([])
    source.still = True
    pipeline = Networks(detector_file(tmp_path), pose_file(tmp_path), stats).pipeline(source)
    for index in range(3):
        pipeline(frame_of(np.full((64, 96, 3), 255, np.uint8), index))
    assert stats.stages_ms()["detect"]["count"] == 3


def test_stages_and_the_share_outside_the_networks() -> None:
    stats = StageStats()
    for milliseconds in range(1, 101):
        stats.record("pose", milliseconds / 1000)
        stats.record("pose network", milliseconds / 2000)
    row = stats.stages_ms()["pose"]
    assert (row["count"], row["mean"], row["p50"], row["total"]) == (100, 50.5, 50.5, 5050)
    assert row["p95"] == pytest.approx(95.05)
    assert stats.share_outside_networks() == pytest.approx(0.5)
    assert "time outside the two networks: 50%" in stage_table(stats)
    assert stage_table(StageStats()) == ""


def test_counts_of_several_runs_add_up() -> None:
    total = RunCounts()
    for _ in range(2):
        run = RunCounts(seconds=0.5)
        run.add(poses_at([[0, 0, 10, 20], [30, 0, 40, 20]]))
        run.add(poses_at([]))
        total.include(run)
    assert total.in_words() == "4 frames, 1.0 people a frame (4 tracks), 4.0 frames/s"
