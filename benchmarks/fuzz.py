"""What damaged files do to the program: no crash, no hang, and no frame lost without a word.

Small videos and pictures, written by OpenCV from the demonstration clip, are damaged by chance: bits flipped, ends cut
off, blocks zeroed, doubled or swapped, bytes of the header changed. Each goes through source, pipeline (with
make-believe networks) and JSON lines, in a worker process with a time limit. What a file came to:

    clean     every frame came (of these, "altered": a picture looks otherwise, which no container tells)
    reported  an error of one line says what is missing, or that the file cannot be read
    shorter   fewer frames, but the damaged file itself announces no more, or nothing: this cannot be known
    silent    fewer frames than the file announces, and no error
    crashed   the process ended, or an error that is not one of a source
    hung      nothing came of it within the time limit

Exits with 1 if any was silent, crashed or hung. The same seed damages the same bytes.

    python -m benchmarks.fuzz --mutations 2000 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cv2
import numpy as np

from benchmarks.fuzz_damage import DAMAGES, PICTURES, VIDEOS, write_material
from pipeline.capture import quiet_opencv
from pipeline.pose_pipeline import PosePipeline, together
from pipeline.sinks import JsonLinesSink
from pipeline.skeletons import COCO
from pipeline.sources import SourceError, open_source
from pipeline.stats import StageStats
from pipeline.stopping import Stop
from pipeline.streaming import Feed, Stream
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Image, Poses

ROOT = Path(__file__).resolve().parent.parent
OUTCOMES = ("clean", "altered", "reported", "shorter", "silent", "crashed", "hung")
FAILURES = OUTCOMES[4:]
THUMBNAIL, ALTERED = (16, 12), 8.0  # px; grey levels
LIMIT_S = 30.0


class Thumbnails:
    """A sink that keeps each picture, small."""

    def __init__(self) -> None:
        self.kept: list[Image] = []

    def wants_picture(self, frame: Frame) -> bool:
        """Never: it takes the frame's own."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Keep one."""
        self.kept.append(np.asarray(cv2.resize(frame.image, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8))

    def close(self) -> None:
        """Nothing to free."""


class SomebodyInTheMiddle:
    """Make-believe networks."""

    def __call__(self, image: Image) -> Detections:
        """One box."""
        height, width = image.shape[:2]
        box = np.array([[width * 0.4, height * 0.2, width * 0.6, height * 0.8]], np.float32)
        return Detections(box, np.full(1, 0.9, np.float32))

    def together(self, pictures: Sequence[tuple[Image, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
        """All keypoints at the box's corner."""
        return [
            (np.repeat(boxes[:, None, :2], len(COCO), 1), np.full((len(boxes), len(COCO)), 0.9, np.float32))
            for _, boxes in pictures
        ]


def run_file(path: Path, out: Path) -> tuple[int, int | None, str, list[Image]]:
    """JSON lines written, frames announced, the source's error, and the thumbnails of a file."""
    announced, error, thumbnails = None, "", Thumbnails()
    out.unlink(missing_ok=True)
    try:
        source = open_source(str(path))
        announced, stats, networks = source.frame_count, StageStats(), SomebodyInTheMiddle()
        pipeline = PosePipeline(networks, networks, Tracker(COCO, 0.3), 5, stats)
        with closing(JsonLinesSink(out)) as lines:
            feed = Feed(source, [lines, thumbnails])
            Stream([feed], together([pipeline]), lambda frame, poses: frame.image, stats).run(Stop())
    except SourceError as mistake:
        error = str(mistake)
        if "\n" in error:
            raise AssertionError("more than one line") from mistake
    text = out.read_text(encoding="utf-8") if out.exists() else ""
    numbers = [json.loads(line)["frame"] for line in text.splitlines()]
    if numbers != list(range(len(numbers))):
        raise AssertionError("the lines are not in order")
    return len(numbers), announced, error, thumbnails.kept


def altered(thumbnails: Sequence[Image], whole: Sequence[Image]) -> bool:
    """Whether a picture looks otherwise than it did."""
    return any(
        float(np.abs(one.astype(float) - other).mean()) > ALTERED for one, other in zip(thumbnails, whole, strict=False)
    )


def outcome_of(path: Path, out: Path, whole: Sequence[Image]) -> tuple[str, str]:
    """What a damaged file came to, and its error."""
    try:
        lines, announced, error, thumbnails = run_file(path, out)
    except Exception as bug:
        return "crashed", f"{type(bug).__name__}: {bug}"
    if error:
        return "reported", error
    if lines >= len(whole):
        return ("altered" if altered(thumbnails, whole) else "clean"), ""
    return ("silent" if announced is not None and lines < announced else "shorter"), f"{lines} of {announced}"


def plan(number: int, seed: int) -> tuple[str, str, random.Random]:
    """The file, the damage and the random numbers of a mutation."""
    names, damages = (*VIDEOS, *PICTURES), list(DAMAGES)
    return names[number % len(names)], damages[number // len(names) % len(damages)], random.Random(f"{seed}/{number}")


def work(material: Path, seed: int) -> None:
    """A worker: numbers of mutations on stdin, their outcomes as JSON lines on stdout."""
    quiet_opencv()
    with tempfile.TemporaryDirectory() as folder:
        whole = {path.name: run_file(path, Path(folder) / "out.jsonl")[3] for path in material.iterdir()}
        for line in sys.stdin:
            name, damage, rng = plan(int(line), seed)
            path = Path(folder) / name
            path.write_bytes(DAMAGES[damage]((material / name).read_bytes(), rng))
            print(json.dumps(outcome_of(path, Path(folder) / "out.jsonl", whole[name])), flush=True)


class Worker:
    """A process that is started anew when it has crashed or hung."""

    def __init__(self, material: Path, seed: int, limit_s: float) -> None:
        self._command = [sys.executable, "-m", "benchmarks.fuzz", "--worker", str(material), "--seed", str(seed)]
        self._limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None
        # What it and its libraries say: a pipe would fill up.
        self._words = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115

    def outcome(self, number: int) -> tuple[str, str]:
        """Of a mutation."""
        process = self._process or self._start()
        assert process.stdin and process.stdout
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self._limit_s)
        answer = process.stdout.readline() if ready else ""
        if answer:
            outcome, error = json.loads(answer)
            return outcome, error
        self._end()
        self._words.seek(0)
        last = (self._words.read().strip().splitlines() or [""])[-1]
        return ("crashed", f"exit code {process.returncode} {last}") if ready else ("hung", f"{self._limit_s:.0f} s")

    def close(self) -> None:
        """End the process."""
        self._end()
        self._words.close()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, text=True, env=environment
        )
        return self._process


def run_all(mutations: int, seed: int, workers: int, limit_s: float) -> list[dict[str, Any]]:
    """Number, file, damage, outcome and error of each mutation."""
    numbers, found = SimpleQueue[int](), list[dict[str, Any]]()
    for number in range(mutations):
        numbers.put(number)

    def serve(material: Path) -> None:
        with closing(Worker(material, seed, limit_s)) as worker:
            while True:
                try:
                    number = numbers.get_nowait()
                except Empty:
                    return
                name, damage, _ = plan(number, seed)
                outcome, error = worker.outcome(number)
                found.append({"number": number, "file": name, "damage": damage, "outcome": outcome, "error": error})

    with tempfile.TemporaryDirectory() as folder:
        write_material(Path(folder))
        threads = [threading.Thread(target=serve, args=(Path(folder),)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(found, key=lambda row: row["number"])


def table(found: Sequence[dict[str, Any]], by: str) -> str:
    """A line for each file or damage, and one for all."""
    lines = [f"{'':<14}{'mutations':>10}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES)]
    for kind in [*dict.fromkeys(row[by] for row in found), "all"]:
        counts = Counter(row["outcome"] for row in found if kind in (row[by], "all"))
        lines.append(f"{kind:<14}{counts.total():>10}" + "".join(f"{counts[outcome]:>10}" for outcome in OUTCOMES))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, prints the tables and what failed; 1 if anything did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000, help="how many files to damage (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage (0)")
    parser.add_argument("--workers", type=int, default=2, help="processes (2)")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="seconds for a file (30)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        work(args.worker, args.seed)
        return 0
    found = run_all(args.mutations, args.seed, args.workers, args.limit)
    print(table(found, "file"), table(found, "damage"), sep="\n\n")
    failed = [row for row in found if row["outcome"] in FAILURES]
    for row in failed:
        print(f"{row['outcome']}: mutation {row['number']} ({row['file']}, {row['damage']}): {row['error']}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
