"""How fast given networks are on this machine: a clip end to end, and a frame by the number of people in it.

    python apps/benchmark.py
    python apps/benchmark.py --video match.mp4 --pose networks/coco_hrnet_w32_256x192.onnx --plot latency.png

The clip is run as apps/video.py runs it, all stages at once in threads of their own, so that a stage's time has what
the others take from it. By the number of people each stage runs alone, on a frame of the clip with as many boxes.
Figures are medians of the runs, with the least and the most.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from apps.clip_times import clip_figures, clip_table, measure_clip, open_with_end
from apps.command_line import POSE, default_detector, run_app
from apps.latency_plot import plot_latency, require_matplotlib
from apps.stage_times import PeopleTimes, StageTimes, decode_engine, measure_people, people_table
from pipeline.pose_pipeline import DETECT_EVERY, Networks
from pipeline.settings import SettingsError, at_least
from pipeline.sink_errors import SinkError
from pipeline.stats import StageStats
from pipeline.types import Frame

REPEATS = 15  # calls of each stage in a run
FRAME_AT = 10  # of the clip is what people are added to


@dataclass(frozen=True)
class BenchmarkSettings:
    """The options of this app."""

    pose: Path = POSE
    detector: Path = field(default_factory=default_detector)
    video: str = "demo"
    people: list[int] = field(default_factory=lambda: [1, 2, 5, 10, 20])
    runs: int = 5
    frames: int | None = None
    detect_every: int = DETECT_EVERY
    no_video: bool = False
    plot: Path | None = None
    json: Path | None = None

    def __post_init__(self) -> None:
        for count in self.people:
            at_least("people", count, 1)
        for name in ("runs", "frames", "detect_every"):
            at_least(name, getattr(self, name), 1)
        for file in filter(None, (self.plot, self.json)):
            if not file.parent.is_dir():
                raise SettingsError(f"{file}: there is no folder {file.parent}; make it first")
        if self.plot is not None:
            require_matplotlib()


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments (default: the program's own); returns the exit code."""
    return run_app(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    settings = BenchmarkSettings(**vars(_parser().parse_args(argv)))
    networks = Networks(settings.detector, settings.pose, StageStats())
    runs = measure_clip(
        networks, settings.video, settings.runs, settings.detect_every, not settings.no_video, settings.frames
    )
    figures = clip_figures(runs)
    manifest = networks.estimator.engine.manifest
    title = f"{settings.pose.name} ({manifest.precision}), {os.cpu_count()} cores"
    print(f"{title}; {settings.detector.name} on every frame no. {settings.detect_every}; {settings.runs} runs")
    written = "JSON lines" if settings.no_video else "JSON lines and mp4"
    print(
        f"{settings.video}: {figures['frames']} frames, {figures['people_per_frame']:.1f} people a frame, written as "
        f"{written}\nframes/s: {figures['frames_per_s']}\n{clip_table(figures)}\n"
    )
    times = _by_people(settings, networks)
    print(f"ms of one frame, each stage alone; the decode is a part of the network's time\n{people_table(times)}")
    if settings.json is not None:
        _write_json(settings, {"clip": figures, "people": times, "network": asdict(manifest)})
    if settings.plot is not None:
        plot_latency(times, title, settings.detect_every, settings.plot)
    return 0


def _by_people(settings: BenchmarkSettings, networks: Networks) -> dict[int, StageTimes]:
    """The stages by the number of people, in a frame of the clip."""
    frame = _a_frame(settings.video)
    with decode_engine(settings.pose) as decode:
        times = PeopleTimes(networks, decode, frame, REPEATS)
        return measure_people(times, sorted(set(settings.people)), settings.runs)


def _a_frame(spec: str) -> Frame:
    """The tenth frame of the clip, or its last one."""
    source = open_with_end(spec)
    try:
        *_, frame = (frame for frame, _ in zip(source.frames(), range(FRAME_AT), strict=False))
    finally:
        source.close()
    return frame


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, argument_default=argparse.SUPPRESS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pose", type=Path, metavar="FILE", help=f"pose network, .onnx or .engine ({POSE.name})")
    parser.add_argument(
        "--detector", type=Path, metavar="FILE", help="person detector (the one in models/ that is fast here)"
    )
    parser.add_argument("--video", metavar="CLIP", help="video file, folder of images, or 'demo' (demo)")
    parser.add_argument("--people", type=int, nargs="+", metavar="N", help="numbers of people (1 2 5 10 20)")
    parser.add_argument("--runs", type=int, metavar="N", help="how often everything is measured (5)")
    parser.add_argument("--frames", type=int, metavar="N", help="only the first N frames of the clip")
    parser.add_argument("--detect-every", type=int, metavar="N", help="run the detector on every N-th frame (5)")
    parser.add_argument("--no-video", action="store_true", help="write JSON lines only, no mp4")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the latency by the number of people")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures for a machine")
    return parser


def _write_json(settings: BenchmarkSettings, figures: dict[str, Any]) -> None:
    about = {"machine": platform.machine(), "cores": os.cpu_count(), "settings": asdict(settings)}
    text = json.dumps({**about, **figures}, indent=1, default=_plain)
    assert settings.json is not None
    try:
        settings.json.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SinkError(f"{settings.json}: cannot be written ({error.strerror})") from error


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


if __name__ == "__main__":
    sys.exit(main())
