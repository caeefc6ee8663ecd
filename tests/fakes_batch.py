"""Batches in processes of their own, and what may happen to them.

    python -m tests.fakes_batch STEP ARGUMENT...

runs apps/video.py with make-believe networks, and kills it before its STEP-th step that changes the disk; 0: never.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apps import video
from pipeline.batch.plan import RECORDS
from pipeline.pose_pipeline import PosePipeline
from pipeline.skeletons import COCO
from pipeline.sources import Source
from pipeline.tracker import Tracker
from pipeline.types import Detections, Frame
from tests.fakes import BlobDetector, BlobEstimator, BlobNetworks
from tests.helpers import REPOSITORY

FRAME_S = "DARKSTREAM_TEST_FRAME_S"  # how long a frame takes, in the environment since it is for other processes


class TroubledPipeline(PosePipeline):
    """Meets what the name of its source says: `killed` dies at frame 3, `killed_once` only in the first attempt."""

    source = ""

    def find_people(self, frame: Frame) -> Detections:
        time.sleep(float(os.environ.get(FRAME_S, 0)))
        path = Path(self.source)
        if frame.index == 3 and path.stem.startswith("killed"):
            marker = path.with_suffix(".attempts")
            with marker.open("a") as attempts:
                attempts.write(f"{os.getpid()}\n")
            if path.stem == "killed" or len(marker.read_text().splitlines()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        if frame.index == 3 and path.stem.startswith("bug"):
            raise RuntimeError("a bug")
        return super().find_people(frame)


class TroubledNetworks(BlobNetworks):
    """Networks whose pipelines meet trouble."""

    def pipeline(self, source: Source, detect_every: int | None, smooth: bool = True) -> PosePipeline:
        pipeline = TroubledPipeline(BlobDetector(), BlobEstimator(), Tracker(COCO, 0.3), detect_every or 5, self.stats)
        pipeline.source = source.name
        return pipeline


class NoNetworks(BlobNetworks):
    """Networks that end their process while they are opened."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        os._exit(3)


def program(step: int, *arguments: str, frame_s: float = 0.0) -> subprocess.Popen[str]:
    """This module as a process."""
    command = [sys.executable, "-m", "tests.fakes_batch", str(step), *arguments]
    environment = {**os.environ, FRAME_S: str(frame_s), "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Returns when the condition holds; fails if it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def results(out: Path) -> dict[str, bytes]:
    """The files in an output folder by name, without the records."""
    files = [path for path in out.rglob("*") if path.is_file() and RECORDS not in path.parts]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def main() -> int:
    last = int(sys.argv[1])
    steps = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments)

        return step

    os.replace, os.fsync = counted(os.replace), counted(os.fsync)
    # The importable class, for processes that do not have this one's __main__.
    vars(video)["Networks"] = importlib.import_module("tests.fakes_batch").TroubledNetworks
    return video.main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
