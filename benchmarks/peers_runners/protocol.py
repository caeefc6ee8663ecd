"""What every runner has in common: the job it is given, the clock, and the JSON it prints. Needs numpy and OpenCV only.

    ENVIRONMENT/bin/python -m benchmarks.peers_runners.NAME JOB.json

The last line of a runner's standard output is its result; what libraries print before it is left alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
GivenBoxes = Callable[[Array, Array], tuple[Array, Array]]  # image, boxes [N, 4] -> keypoints [N, K, 2], scores [N, K]
Finder = Callable[[Array], int]  # image -> how many people were found in it
PERSON, FILE = "one person", "file"
LANDMARKS = "--landmarks"  # MediaPipe's runner as a server of keypoints, for its accuracy
LEAST_FRAMES = 5  # are timed, however long one takes


@dataclass(frozen=True)
class Job:
    """What a runner is asked for.

    network: the file to run, of the kind that the runner takes. variant: the runner's own choice (precision, backend).
    inputs: folder of frames.npy uint8 [F, H, W, 3] BGR, boxes_N.npy float32 [F, N, 4] px and person.npy. people: how
    many boxes are given, one measurement each. cases: PERSON and FILE, where asked for. Of each case warm_up frames
    are not timed, and then at most `frames`, or as many as begin within `seconds`.
    """

    network: str
    variant: str
    inputs: str
    video: str
    people: list[int]
    cases: list[str]
    threads: int
    warm_up: int
    frames: int
    seconds: float


@dataclass(frozen=True)
class Measurement:
    """One case of one process.

    case: "N given" or PERSON or FILE. latencies_ms: of each timed frame, from the decoded picture to its poses.
    cpu_s: user and system time of the process. peak_mb: the most memory the process had held until then.
    people: found in all timed frames. keypoints, scores: of the first frame, where boxes were given.
    """

    case: str
    frames: int
    seconds: float
    cpu_s: float
    peak_mb: float
    people: int
    latencies_ms: list[float]
    keypoints: list[Any] = field(default_factory=list)
    scores: list[Any] = field(default_factory=list)


def read_job(arguments: list[str]) -> Job:
    """The job in the file that the command line names; this process is held to its threads."""
    job = Job(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.threads])
    cv2.setNumThreads(job.threads)
    return job


def print_result(measurements: list[Measurement], versions: dict[str, str]) -> None:
    """The result as the last line of standard output."""
    print(f"\n{json.dumps({'measurements': [asdict(one) for one in measurements], 'versions': versions})}", flush=True)


def run(job: Job, given: GivenBoxes | None, finder: Callable[[], Finder] | None) -> list[Measurement]:
    """Every case of the job. finder: makes one that has seen nothing, for each case."""
    measurements = [measure_given(job, given, count) for count in job.people] if given is not None else []
    if finder is not None and PERSON in job.cases:
        person = np.load(Path(job.inputs) / "person.npy", mmap_mode="r")
        measurements.append(measure_found(job, PERSON, finder(), repeated(person)))
    if finder is not None and FILE in job.cases:
        measurements.append(measure_found(job, FILE, finder(), decoded(job.video)))
    return measurements


def measure_given(job: Job, given: GivenBoxes, count: int) -> Measurement:
    """The pose stage alone: a frame and its boxes in, keypoints in its px out."""
    frames = np.load(Path(job.inputs) / "frames.npy", mmap_mode="r")
    boxes = np.load(Path(job.inputs) / f"boxes_{count}.npy")
    for number in range(job.warm_up):
        given(np.array(frames[number % len(frames)]), boxes[number % len(frames)])
    keypoints, scores = given(np.array(frames[0]), boxes[0])

    def pictures() -> Iterator[tuple[int, Array]]:
        number = 0
        while True:
            yield number % len(frames), np.array(frames[number % len(frames)])
            number += 1

    return _timed(
        job, f"{count} given", pictures(), lambda at, image: len(given(image, boxes[at])[0]), keypoints, scores
    )


def measure_found(job: Job, case: str, finder: Finder, images: Iterator[Array]) -> Measurement:
    """From the picture to the poses of the people that are found in it."""
    for _ in range(job.warm_up):
        image = next(images, None)
        if image is not None:
            finder(image)
    return _timed(job, case, enumerate(images), lambda _, image: finder(image))


def _timed(
    job: Job,
    case: str,
    pictures: Iterator[tuple[int, Array]],
    step: Callable[[int, Array], int],
    keypoints: Array | None = None,
    scores: Array | None = None,
) -> Measurement:
    """Run `step` over the pictures. The whole time has their reading in it; a latency begins behind it."""
    latencies: list[float] = []
    people = 0
    cpu, start = time.process_time(), time.perf_counter()
    for at, image in pictures:
        began = time.perf_counter()
        people += step(at, image)
        ended = time.perf_counter()
        latencies.append(round(1000 * (ended - began), 3))
        if len(latencies) >= job.frames or (len(latencies) >= LEAST_FRAMES and ended - start > job.seconds):
            break
    seconds = time.perf_counter() - start
    return Measurement(
        case, len(latencies), seconds, time.process_time() - cpu, peak_mb(), people, latencies,
        [] if keypoints is None else np.round(keypoints, 3).tolist(), [] if scores is None else scores.tolist(),
    )  # fmt: skip


def repeated(images: Array) -> Iterator[Array]:
    """The pictures, over and over."""
    while True:
        for image in images:
            yield np.array(image)


def decoded(video: str) -> Iterator[Array]:
    """The pictures of a file, to its end."""
    capture = cv2.VideoCapture(video)
    while True:
        got, image = capture.read()
        if not got:
            return
        yield image


def peak_mb() -> float:
    """The most memory that this process has held so far. getrusage would answer with its parent's, if that was more."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (peak,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak) / 1024


def arguments() -> list[str]:
    """The command line without the program's name. Exits with the usage where there is no job."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    return sys.argv[1:]
