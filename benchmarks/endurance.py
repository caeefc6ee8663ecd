"""Whether a long run stays as small as it began: memory, threads and open files over many frames.

The source opens a short clip and a folder of pictures again and again; the stream, the tracker, the drawing and the
files written are the production's. The networks are make-believe ones that find a walking crowd, so that 100,000 frames
take minutes; with --networks default they are the shipped ones, on the demonstration clip. Exits with 1 if memory grew
by more than --most percent after the warm-up, or a thread or an open file is left over.

    python benchmarks/endurance.py --frames 100000
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from apps.command_line import POSE, default_detector
from pipeline.drawing import PoseDrawing
from pipeline.pose_pipeline import Networks, PosePipeline, together
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink
from pipeline.skeletons import COCO
from pipeline.sources import DEMO_CLIP, open_source
from pipeline.stats import StageStats
from pipeline.stopping import Stop
from pipeline.streaming import Feed, Stream
from pipeline.tables import CsvSink
from pipeline.tracker import Tracker
from pipeline.types import Detections, FloatArray, Frame, Image, Poses

CLIP_FRAMES, WIDTH, HEIGHT, FPS = 64, 160, 120, 25.0
PART_FRAMES = 5_000
WARM_UP = 0.2  # of the frames
SAMPLES = 200  # of memory, over the run
PAGE = os.sysconf("SC_PAGE_SIZE")
LIMIT = 0.3


@dataclass
class Watch:
    """A sink that notes the resident memory, in bytes, every so many frames."""

    every: int
    at: list[int] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Note it if it is time."""
        if frame.index % self.every == 0:
            self.at.append(frame.index)
            self.resident.append(resident_bytes())

    def close(self) -> None:
        """Nothing to free."""


class Looped:
    """A source that opens one after the other, again and again, until it gave enough frames."""

    name, live, still, fps = "endurance", False, False, FPS

    def __init__(self, specs: Sequence[Path], frames: int) -> None:
        self._specs = specs
        self.frame_count: int | None = frames

    def frames(self) -> Iterator[Frame]:
        """As many frames as asked for, with indices and times that go on."""
        index = 0
        while True:
            for spec in self._specs:
                source = open_source(str(spec))
                for frame in source.frames():
                    yield Frame(frame.image, index, index / FPS, self.name, frame.captured_s)
                    index += 1
                    if index == self.frame_count:
                        source.close()
                        return
                source.close()

    def close(self) -> None:
        """Nothing to free: each clip is closed at its end."""


class Parts:
    """A sink of mp4 files of 5,000 frames each: one mp4 keeps its index, some 72 bytes a frame, until it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._frames = folder, 0
        self._part: Mp4Sink | None = None

    def wants_picture(self, frame: Frame) -> bool:
        """Always."""
        return True

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """Append a picture, to a new file if it is time."""
        if self._part is None or self._frames % PART_FRAMES == 0:
            self.close()
            self._part = Mp4Sink(self._folder / "out.mp4", FPS)
        self._part.write(frame, poses, picture)
        self._frames += 1

    def close(self) -> None:
        """Finish the last file."""
        if self._part is not None:
            self._part.close()


class Crowd:
    """Make-believe networks: bright spots are people, whose keypoints lie in their box."""

    def __init__(self) -> None:
        self._shares = np.random.default_rng(0).uniform(0.05, 0.95, (len(COCO), 2)).astype(np.float32)

    def __call__(self, image: Image) -> Detections:
        """A box round each spot."""
        count, _, rows, _ = cv2.connectedComponentsWithStats((image[:, :, 1] > 128).astype(np.uint8))
        boxes = rows[1:count, :4].astype(np.float32)
        boxes[:, 2:] += boxes[:, :2]
        return Detections(boxes, np.full(len(boxes), 0.9, np.float32))

    def together(self, pictures: Sequence[tuple[Image, FloatArray]]) -> list[tuple[FloatArray, FloatArray]]:
        """Keypoints [N, K, 2] and scores [N, K] for each picture."""
        return [
            (
                boxes[:, None, :2] + self._shares * (boxes[:, None, 2:] - boxes[:, None, :2]),
                np.full((len(boxes), 17), 0.9),
            )
            for _, boxes in pictures
        ]


@dataclass(frozen=True)
class Report:
    """What a run came to. growth: of the memory after the warm-up, 0.01 is 1 %. Threads and files: more than before."""

    frames: int
    seconds: float
    people: int
    start_bytes: float
    end_bytes: float
    most_bytes: float
    threads: int
    files: int

    @property
    def growth(self) -> float:
        """Of the median of the last tenth over that of the first tenth after the warm-up."""
        return self.end_bytes / self.start_bytes - 1

    def in_words(self) -> str:
        """Lines for a person."""
        start, end, most = (value / (1 << 20) for value in (self.start_bytes, self.end_bytes, self.most_bytes))
        return (
            f"{self.frames} frames, {self.people} people in {self.seconds:.0f} s\n"
            f"memory: {start:.1f} MiB after warm-up, {end:.1f} at the end ({self.growth:+.2%}), {most:.1f} at most\n"
            f"left over: {self.threads} threads, {self.files} open files"
        )


def resident_bytes() -> int:
    """The memory that this process holds now (Linux)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * PAGE


def left_over() -> tuple[int, int]:
    """Threads of Python, and open files, of this process."""
    gc.collect()
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def crowd_picture(step: int) -> Image:
    """Three people who walk, one of whom comes and goes."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for person in range(3 if step % 32 < 24 else 2):
        left = (step + 50 * person) % (WIDTH - 20)
        image[20 + 25 * person : 40 + 25 * person, left : left + 8] = 255
    return image


def write_material(folder: Path) -> list[Path]:
    """A clip and a folder of pictures of the crowd."""
    clip, pictures = folder / "clip.avi", folder / "pictures"
    pictures.mkdir()
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    for step in range(CLIP_FRAMES):
        writer.write(crowd_picture(step))
    writer.release()
    for step in range(8):
        cv2.imwrite(str(pictures / f"{step}.png"), crowd_picture(step))
    return [clip, pictures]


def endure(frames: int, default_networks: bool = False) -> Report:
    """Run so many frames through the stream, and report."""
    stats, watch = StageStats(), Watch(max(frames // SAMPLES, 1))
    with tempfile.TemporaryDirectory() as name, ExitStack() as closing:
        folder = Path(name)
        source = Looped([DEMO_CLIP] if default_networks else write_material(folder), frames)
        if default_networks:
            pipeline = Networks(default_detector(), POSE, stats).pipeline(source)
        else:
            crowd = Crowd()
            pipeline = PosePipeline(crowd, crowd, Tracker(COCO, LIMIT), 5, stats)
        threads, files = left_over()
        lines, rows = JsonLinesSink(folder / "out.jsonl"), CsvSink(folder / "out.csv", COCO)
        sinks: list[Sink] = [lines, rows, Parts(folder), watch]
        for sink in sinks:
            closing.callback(sink.close)
        feed = Feed(source, sinks)
        start = time.perf_counter()
        Stream([feed], together([pipeline]), PoseDrawing(COCO, LIMIT), stats).run(Stop())
        seconds = time.perf_counter() - start
        closing.close()
        after = left_over()
    kept = [bytes_ for at, bytes_ in zip(watch.at, watch.resident, strict=True) if at >= WARM_UP * frames]
    tenth = max(len(kept) // 8, 1)
    ends = statistics.median(kept[:tenth]), statistics.median(kept[-tenth:])
    counts = feed.counts
    return Report(counts.frames, seconds, counts.people, *ends, max(kept), after[0] - threads, after[1] - files)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs, prints the report; 1 if memory grew too much or something is left over."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="how many frames (100000)")
    parser.add_argument("--networks", choices=("fake", "default"), default="fake", help="which networks (fake)")
    parser.add_argument("--most", type=float, default=2.0, metavar="PERCENT", help="growth that is allowed (2)")
    args = parser.parse_args(argv)
    report = endure(args.frames, args.networks == "default")
    print(report.in_words())
    flat = report.growth * 100 <= args.most and report.threads <= 0 and report.files <= 0
    print("flat" if flat and report.frames == args.frames else "NOT flat")
    return 0 if flat and report.frames == args.frames else 1


if __name__ == "__main__":
    sys.exit(main())
