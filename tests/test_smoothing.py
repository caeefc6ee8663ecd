from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.smoothing import PoseSmoother
from pipeline.types import FloatArray, Poses
from tests.fakes import poses_at

FPS = 25.0
BOX = [100.0, 100, 160, 280]
SIZE = float(np.sqrt(60 * 180))


def smoothed(keypoints: FloatArray, times: FloatArray, poses: Poses | None = None) -> FloatArray:
    """What the smoother makes of one person's keypoints [F, 17, 2] at these times [F]."""
    smoother, poses = PoseSmoother(17, 0.3), poses or poses_at([BOX])
    results = [
        smoother(replace(poses, keypoints=np.broadcast_to(points, (len(poses), 17, 2))), float(time_s)).keypoints[0]
        for points, time_s in zip(keypoints, times, strict=True)
    ]
    return np.stack(results)


def moving(path: FloatArray, noise: float = 0.0) -> FloatArray:
    """The standing person's keypoints, shifted along x by the path [F] px, with noise of that deviation, px."""
    points = np.repeat(poses_at([BOX]).keypoints.astype(np.float64), len(path), axis=0)
    points[..., 0] += path[:, None]
    return points + np.random.default_rng(0).normal(0, noise, points.shape)


def jitter(keypoints: FloatArray, truth: FloatArray) -> float:
    """Root mean square of how the error changes from frame to frame, after the first half second."""
    error = (keypoints - truth)[13:]
    return float(np.sqrt((np.diff(error, axis=0) ** 2).sum(-1).mean()))


def frame_times(frames: int) -> FloatArray:
    return np.arange(frames) / FPS


@pytest.mark.parametrize(("speed", "factor"), [(0.0, 3.2), (0.1, 3.0), (0.5, 2.5), (1.0, 2.5)])
def test_a_still_or_slow_person_trembles_far_less(speed: float, factor: float) -> None:
    times = frame_times(100)
    truth = moving(speed * SIZE * times)
    noisy = moving(speed * SIZE * times, noise=0.01 * SIZE)
    assert jitter(smoothed(noisy, times), truth) < jitter(noisy, truth) / factor


@pytest.mark.parametrize("fps", [15.0, 25.0, 60.0])
@pytest.mark.parametrize("noise", [0.0, 0.005])
@pytest.mark.parametrize("moved", [slice(None), slice(9, 10)], ids=["person", "wrist"])
def test_a_fast_move_lags_at_most_a_frame(fps: float, noise: float, moved: slice) -> None:
    times = np.arange(int(2 * fps)) / fps
    speed = 2.0 * SIZE  # a sprint, a throw
    path = np.where(times > 1, speed * (times - 1), 0.0)
    still = np.ones(17, np.bool_)
    still[moved] = False
    points, noisy = moving(path), moving(path, noise * SIZE)
    for each in (points, noisy):
        each[:, still, 0] -= path[:, None]
    lag = (points - smoothed(noisy, times))[:, moved, 0].mean(axis=1)
    tolerance = 3 * noise * SIZE
    assert lag.max() <= speed / 25.0 + tolerance
    assert lag[-1] <= speed / 25.0 / 2 + tolerance


def test_near_and_far_people_are_smoothed_alike() -> None:
    times = frame_times(40)
    points = moving(0.3 * SIZE * times, noise=2.0)
    near = smoothed(points, times)
    poses = poses_at([[value / 10 for value in BOX]])
    far = smoothed(points / 10, times, poses)
    np.testing.assert_allclose(far * 10, near, atol=0.02)


def test_a_variable_frame_rate_follows_the_media_time() -> None:
    times = frame_times(60)
    points = moving(30 * np.sin(3 * times))
    full = smoothed(points, times)
    kept = np.sort(np.random.default_rng(1).choice(60, 40, replace=False))
    np.testing.assert_allclose(smoothed(points[kept], times[kept]), full[kept], atol=2.0)


def test_the_first_frame_of_everyone_is_as_it_was() -> None:
    smoother = PoseSmoother(17, 0.3)
    one = poses_at([BOX])
    assert np.array_equal(smoother(one, 0.0).keypoints, one.keypoints)
    two = poses_at([BOX, [400.0, 100, 460, 280]])
    found = smoother(two, 0.04)
    assert np.array_equal(found.keypoints[1], two.keypoints[1])


def test_who_is_who_goes_by_the_id_and_not_by_the_row() -> None:
    smoother = PoseSmoother(17, 0.3)
    poses = poses_at([BOX, [400.0, 100, 460, 280], [600.0, 100, 660, 280]])
    smoother(poses, 0.0)
    turned = Poses(*(array[::-1] for array in vars(poses).values()))
    np.testing.assert_allclose(smoother(turned, 0.04).keypoints, turned.keypoints, atol=1e-3)


@pytest.mark.parametrize(("gap_s", "anew"), [(0.04, False), (0.3, False), (0.6, True), (0.0, True), (-1.0, True)])
def test_after_a_gap_or_a_step_back_in_time_it_begins_anew(gap_s: float, anew: bool) -> None:
    smoother, poses = PoseSmoother(17, 0.3), poses_at([BOX])
    for time_s in (10.0, 10.04, 10.08):
        smoother(poses, time_s)
    moved = replace(poses, keypoints=poses.keypoints + 5)
    found = smoother(moved, 10.08 + gap_s).keypoints
    assert np.allclose(found, moved.keypoints) == anew
    assert np.isfinite(found).all()


def test_it_goes_on_after_a_step_back_in_time() -> None:
    smoother, poses = PoseSmoother(17, 0.3), poses_at([BOX])
    for time_s in (10.0, 10.04, 3.0):
        smoother(poses, time_s)
    found = smoother(replace(poses, keypoints=poses.keypoints + 5), 3.04).keypoints - poses.keypoints
    assert (found > 0).all()
    assert (found < 4.9).all()


def test_a_short_absence_is_no_new_beginning() -> None:
    smoother, poses = PoseSmoother(17, 0.3), poses_at([BOX])
    smoother(poses, 0.0)
    smoother(Poses.none(17), 0.04)
    moved = replace(poses, keypoints=poses.keypoints + 5)
    assert not np.allclose(smoother(moved, 0.08).keypoints, moved.keypoints)


def test_a_keypoint_that_was_not_sure_begins_anew() -> None:
    smoother, poses = PoseSmoother(17, 0.3), poses_at([BOX])
    scores = poses.scores.copy()
    scores[0, 3] = 0.1
    far = replace(poses, scores=scores, keypoints=poses.keypoints + 50)
    assert np.allclose(smoother(far, 0.0).keypoints, far.keypoints)
    found = smoother(poses, 0.04).keypoints
    assert np.allclose(found[0, 3], poses.keypoints[0, 3])
    assert not np.allclose(found[0, 4], poses.keypoints[0, 4])


def test_nobody_is_ordinary_and_the_rest_of_the_poses_stays() -> None:
    smoother, poses = PoseSmoother(17, 0.3), poses_at([BOX])
    assert len(smoother(Poses.none(17), 0.0)) == 0
    found = smoother(poses, 0.04)
    assert found.keypoints.dtype == np.float32
    for name in ("scores", "boxes", "box_scores", "track_ids"):
        assert np.array_equal(getattr(found, name), getattr(poses, name))
