"""Ours: the pose stage with given boxes, and the whole pipeline. job.variant: a precision of open_engine."""

from __future__ import annotations

import itertools
import time

import cv2
import openvino

from apps.command_line import default_detector
from benchmarks.peers_runners.protocol import Array, Finder, Job, arguments, print_result, read_job, run
from engines.engine import open_engine
from pipeline.pose import PoseEstimator
from pipeline.pose_pipeline import Networks
from pipeline.sources import open_source
from pipeline.stats import StageStats
from pipeline.types import Frame

FPS = 25.0  # what the tracker is told of pictures without a clock


def estimator(job: Job) -> PoseEstimator:
    """The pose stage of the job's network."""
    return PoseEstimator(open_engine(job.network, "openvino", job.variant, job.threads))


def finder(job: Job) -> Finder:
    """The pipeline of the apps: detector on every fifth frame and when it is wanted, poses, ids, smoothing."""
    source = open_source(job.video)
    pipeline = Networks(default_detector(), job.network, StageStats(), job.threads).pipeline(source)
    source.close()
    numbers = itertools.count()

    def find(image: Array) -> int:
        index = next(numbers)
        return len(pipeline(Frame(image, index, index / FPS, "pictures", time.monotonic())))

    return find


def main() -> None:
    """Run the job of the command line."""
    job = read_job(arguments())
    versions = {"openvino": openvino.__version__, "opencv": cv2.__version__}
    given = estimator(job) if job.people else None
    print_result(run(job, given, lambda: finder(job)), versions)


if __name__ == "__main__":
    main()
