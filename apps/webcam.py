"""Skeletons live, from a camera or stream: shown in a window, saved as mp4, written as JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from apps.command_line import DETECTOR, POSE, new_parser, run_app, tell, tell_interruption
from pipeline.drawing import PoseDrawing
from pipeline.pose_pipeline import Networks
from pipeline.settings import SettingsError, at_least, read_settings
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink, WindowSink
from pipeline.sources import Source, open_decoded_in_hardware, open_source
from pipeline.stats import StageStats, stage_table, write_summary
from pipeline.streaming import Stop, Stream, stop_on_signals


@dataclass(frozen=True)
class WebcamSettings:
    """The options of this app, on the command line and in its YAML file."""

    source: str = "0"
    headless: bool = False
    save: Path | None = None
    json: Path | None = None
    frames: int | None = None
    detect_every: int | None = None
    detector: Path = DETECTOR
    pose: Path = POSE
    summary: Path | None = None
    hw_decode: bool = False

    def __post_init__(self) -> None:
        at_least("detect_every", self.detect_every, 1)
        at_least("frames", self.frames, 1)
        if self.save and Path(self.source).exists() and self.save.resolve() == Path(self.source).resolve():
            raise SettingsError(f"{self.save}: saving here would overwrite the source; choose another name")


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments (default: the program's own); returns the exit code."""
    return run_app(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    settings = _settings(argv)
    stats = StageStats()
    with stop_on_signals() as stop:
        networks = Networks(settings.detector, settings.pose, stats)
        source = (open_decoded_in_hardware if settings.hw_decode else open_source)(settings.source)
        with ExitStack() as closing:
            sinks = _open_sinks(settings, source, stop, closing)
            draw = PoseDrawing(networks.skeleton, networks.score_threshold)
            pipeline = networks.pipeline(source, settings.detect_every)
            stream = Stream(source, pipeline, sinks, draw, stats, settings.frames)
            try:
                stream.run(stop)
            finally:
                tell(f"{source.name}: {stream.counts.in_words()}\n{stage_table(stats)}")
                if settings.summary:
                    write_summary(settings.summary, {"source": source.name, **stream.counts.as_dict()}, stats)
        tell_interruption(stop)
    return stop.exit_code


def _settings(argv: Sequence[str] | None) -> WebcamSettings:
    parser = new_parser(__doc__)
    source_help = "camera number, /dev/videoN, csi://N, RTSP or HTTP URL, video, image folder, or 'demo' (0)"
    parser.add_argument("--source", help=source_help)
    parser.add_argument("--hw-decode", action="store_true", help="decode files and RTSP in a Jetson's hardware")
    parser.add_argument("--headless", action="store_true", help="show no window")
    parser.add_argument("--save", type=Path, metavar="MP4", help="save the annotated video")
    parser.add_argument("--json", type=Path, metavar="JSONL", help="write one JSON line a frame")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    given = vars(parser.parse_args(argv))
    return read_settings(WebcamSettings, given, given.pop("config", None))


def _open_sinks(settings: WebcamSettings, source: Source, stop: Stop, closing: ExitStack) -> list[Sink]:
    """The outputs asked for, each closed with `closing`."""
    sinks: list[Sink] = []
    if not settings.headless:
        sinks.append(WindowSink(f"darkstream: {source.name}", stop.request))
        closing.callback(sinks[-1].close)
    if settings.save:
        sinks.append(Mp4Sink(settings.save, source.fps, by_time=source.live))
        closing.callback(sinks[-1].close)
    if settings.json:
        sinks.append(JsonLinesSink(settings.json))
        closing.callback(sinks[-1].close)
    return sinks


if __name__ == "__main__":
    sys.exit(main())
