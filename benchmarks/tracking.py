"""Accuracy, ids and jitter with the detector on every, third, fifth and tenth frame, on a clip of known people.

    python -m benchmarks.tracking --data DATA [--scenes 16] [--seed 0]

DATA holds coco_train/ and lspet/. The clip (benchmarks/moving_people.py) is made of their held-out pictures: scenes of
3 s, cut hard one behind the other, in which four people walk through each other. What is mostly covered is not asked
for. Jitter is how the error of sure keypoints changes from a frame to the next, error is their distance from the label;
both are medians, as shares of the square root of the body's area. Values after a / are with smoothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from apps.command_line import POSE, default_detector
from benchmarks.moving_people import FPS, Labels, MovingPeople
from benchmarks.tracking_figures import id_figures, keypoint_errors, precision
from pipeline.pose_pipeline import Networks
from pipeline.smoothing import PoseSmoother
from pipeline.stats import StageStats
from pipeline.types import Poses

DETECT_EVERY = (1, 3, 5, 10)
COLUMNS = (
    *("every", "detector runs", "AP", "MOTA", "IDF1", "switches", "fragments", "ids", "jitter %", "error %"),
)  # fmt: skip


def run(clip: MovingPeople, detect_every: int, detector: Path, pose: Path) -> tuple[list[Poses], int, float]:
    """The poses of every frame, not smoothed; how often the detector ran; the score above which a keypoint is sure."""
    stats = StageStats()
    networks = Networks(detector, pose, stats)
    pipeline = networks.pipeline(clip, detect_every, smooth=False)
    poses = [pipeline(frame) for frame in clip.frames()]
    return poses, int(stats.stages_ms()["detect"]["count"]), networks.score_threshold


def row(labels: list[Labels], raw: list[Poses], every: int, detections: int, sure: float) -> Iterator[str]:
    """The cells of one interval."""
    smoother = PoseSmoother(labels[0].keypoints.shape[1], sure)
    smooth = [smoother(poses, frame / FPS) for frame, poses in enumerate(raw)]
    ids = id_figures(labels, raw)
    yield str(every)
    yield str(detections)
    yield " / ".join(f"{precision(labels, poses, sure):.3f}" for poses in (raw, smooth))
    yield f"{ids.mota:.3f}"
    yield f"{ids.idf1:.3f}"
    yield from (str(count) for count in (ids.switches, ids.fragments, len(ids.estimates)))
    errors, changes = zip(*(keypoint_errors(labels, poses, sure) for poses in (raw, smooth)), strict=True)
    for measured in (changes, errors):
        yield " / ".join(f"{100 * np.median(each):.2f}" for each in measured)


def main() -> None:
    """Print a line about the clip, and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scenes", type=int, default=16, help="of 3 s each (16)")
    parser.add_argument("--seed", type=int, default=0, help="of the clip (0)")
    parser.add_argument("--detector", type=Path, default=default_detector())
    parser.add_argument("--pose", type=Path, default=POSE)
    options = parser.parse_args()
    clip = MovingPeople(options.data, options.scenes, options.seed)
    labels = [clip.labels(index) for index in range(clip.frame_count or 0)]
    people, counted = (
        len({each for frame in labels for each in frame.ids}),
        sum(frame.counted.sum() for frame in labels),
    )
    print(f"{len(labels)} frames at {FPS:g} a second, {people} people, {counted / len(labels):.1f} a frame")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for every in DETECT_EVERY:
        poses, detections, sure = run(clip, every, options.detector, options.pose)
        print(f"| {' | '.join(row(labels, poses, every, detections, sure))} |", flush=True)


if __name__ == "__main__":
    main()
