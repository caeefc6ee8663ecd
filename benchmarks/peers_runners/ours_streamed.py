"""Ours as apps/video.py --no-video runs it: reading, poses and JSON lines in threads of their own."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import openvino

from apps.clip_times import WARM_UP_FRAMES, run_clip
from apps.command_line import default_detector
from benchmarks.peers_runners.protocol import FILE, Measurement, arguments, peak_mb, print_result, read_job
from pipeline.pose_pipeline import Networks
from pipeline.stats import StageStats
from pipeline.types import Frame, Image, Poses


class Latencies:
    """A sink that knows how old each frame is when it leaves, ms."""

    def __init__(self) -> None:
        self.ms: list[float] = []

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """One more."""
        self.ms.append(round(1000 * (time.monotonic() - frame.captured_s), 3))

    def close(self) -> None:
        """Nothing to free."""


def main() -> None:
    """Run the job of the command line: a file is its only case, and frames wait in queues for what is busy."""
    job = read_job(arguments())
    networks = Networks(default_detector(), job.network, StageStats(), job.threads)
    with tempfile.TemporaryDirectory() as folder:
        run_clip(networks, job.video, Path(folder), None, False, WARM_UP_FRAMES)
        latencies, cpu = Latencies(), time.process_time()
        run = run_clip(networks, job.video, Path(folder), None, False, job.frames, [latencies])
        cpu = time.process_time() - cpu
    counts = run.counts
    one = Measurement(FILE, counts.frames, counts.seconds, cpu, peak_mb(), counts.people, latencies.ms)
    print_result([one], {"openvino": openvino.__version__, "opencv": cv2.__version__})


if __name__ == "__main__":
    main()
