"""Skeletons live, from cameras and streams: in a window or a browser, saved as mp4, as JSON lines, CSV or datagrams."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from apps.command_line import POSE, default_detector, new_parser, run_app, tell, tell_interruption
from pipeline.drawing import PoseDrawing, draw_style
from pipeline.live.view import open_live_view
from pipeline.pipes import Waiting
from pipeline.pose_pipeline import Networks, together
from pipeline.settings import SettingsError, at_least, read_settings
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink, WindowSink
from pipeline.sources import Source, open_decoded_in_hardware, open_source
from pipeline.stats import RunCounts, StageStats, stage_table, write_summary
from pipeline.stopping import Stop, stop_on_signals
from pipeline.streaming import Feed, Stream
from pipeline.tables import CsvSink
from pipeline.udp import UdpSink

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class WebcamSettings:
    """The options of this app, on the command line and in its YAML file."""

    source: list[str] = field(default_factory=lambda: ["0"])
    headless: bool = False
    save: Path | None = None
    json: Path | None = None
    frames: int | None = None
    detect_every: int | None = None
    no_smoothing: bool = False
    detector: Path = field(default_factory=default_detector)
    pose: Path = POSE
    summary: Path | None = None
    hw_decode: bool = False
    give_up: int | None = None
    csv: Path | None = None
    udp: str | None = None
    draw: str = ""
    serve: int | None = None
    serve_address: str = LOOPBACK
    serve_token: str | None = None

    def __post_init__(self) -> None:
        at_least("detect_every", self.detect_every, 1)
        at_least("frames", self.frames, 1)
        at_least("give_up", self.give_up, 0)
        draw_style(self.draw)
        if self.serve is None and (self.serve_token or self.serve_address != LOOPBACK):
            raise SettingsError("serve-address and serve-token are for --serve PORT, which is not given")
        if not self.source:
            raise SettingsError("no source given; expected a camera number, a URL, a video, or 'demo'")
        files = {Path(spec).resolve() for spec in self.source if Path(spec).exists()}
        for path in filter(None, (*self.videos, self.json, self.csv)):
            if path.resolve() in files:
                raise SettingsError(f"{path}: saving here would overwrite the source; choose another name")
        if self.json and self.csv and self.json.resolve() == self.csv.resolve():
            raise SettingsError(f"{self.csv}: both --json and --csv would be written here; choose another name for one")

    @property
    def videos(self) -> list[Path]:
        """The mp4 of each source, if they are to be saved: NAME.mp4, or of several NAME-1.mp4, NAME-2.mp4, ..."""
        if self.save is None or len(self.source) == 1:
            return [self.save] if self.save else []
        return [self.save.with_name(f"{self.save.stem}-{n + 1}{self.save.suffix}") for n in range(len(self.source))]


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments (default: the program's own); returns the exit code."""
    return run_app(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    settings = _settings(argv)
    stats = StageStats()
    with stop_on_signals() as stop, ExitStack() as closing:
        networks = Networks(settings.detector, settings.pose, stats)
        feeds = _open_feeds(settings, networks, stop, closing)
        smooth = not settings.no_smoothing
        process = together([networks.pipeline(feed.source, settings.detect_every, smooth) for feed in feeds])
        draw = PoseDrawing(networks.skeleton, networks.score_threshold, draw_style(settings.draw))
        try:
            Stream(feeds, process, draw, stats, settings.frames, tell).run(stop)
        finally:
            _report(settings, feeds, stats)
    tell_interruption(stop)
    return stop.exit_code


def _settings(argv: Sequence[str] | None) -> WebcamSettings:
    parser = new_parser(__doc__)
    source_help = (
        "camera number, /dev/videoN, csi://N, RTSP or HTTP URL, video, image folder, or 'demo' (0); again for each more"
    )
    parser.add_argument("--source", action="append", help=source_help)
    parser.add_argument("--hw-decode", action="store_true", help="decode files and RTSP in a Jetson's hardware")
    parser.add_argument("--headless", action="store_true", help="show no window")
    parser.add_argument("--save", type=Path, metavar="MP4", help="save the annotated video; NAME-1.mp4, ... of several")
    parser.add_argument("--json", type=Path, metavar="JSONL", help="write one JSON line a frame")
    parser.add_argument("--csv", type=Path, metavar="CSV", help="write one row a person a frame")
    parser.add_argument("--udp", metavar="HOST:PORT", help="send one JSON datagram a frame")
    parser.add_argument("--serve", type=int, metavar="PORT", help="show the pictures to browsers, at this port")
    address_help = f"listen there, 0.0.0.0 for all networks, and ask for a token ({LOOPBACK}: this machine only)"
    parser.add_argument("--serve-address", metavar="ADDRESS", help=address_help)
    parser.add_argument("--serve-token", metavar="TOKEN", help="the token to ask for (a random one, which is printed)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of each source")
    give_up_help = "end when a lost camera or stream has not come back after so long; 0: at once (never)"
    parser.add_argument("--give-up", type=int, metavar="SECONDS", help=give_up_help)
    given = vars(parser.parse_args(argv))
    return read_settings(WebcamSettings, given, given.pop("config", None))


def _open_feeds(settings: WebcamSettings, networks: Networks, stop: Stop, closing: ExitStack) -> list[Feed]:
    """The sources, and the outputs asked for, each closed with `closing`."""
    openers = [_opener(spec, settings.hw_decode) for spec in settings.source]
    sources: list[Source] = []
    for opener in openers:
        sources.append(opener())
        closing.callback(sources[-1].close)
    waiting = Waiting(any(source.live for source in sources), lambda: stop.requested)
    shared = _open_shared(settings, networks, waiting, closing)
    feeds: list[Feed] = []
    for number, (source, opener) in enumerate(zip(sources, openers, strict=True)):
        names = [feed.name for feed in feeds]
        name = source.name if source.name not in names else f"{source.name} ({number + 1})"
        sinks = [*_open_pictures(settings, number, name, source, stop, closing), *shared]
        feeds.append(Feed(source, sinks, name, opener, settings.give_up))
    if settings.serve is not None:
        _serve(settings, feeds, networks.stats, closing)
    return feeds


def _open_shared(settings: WebcamSettings, networks: Networks, waiting: Waiting, closing: ExitStack) -> list[Sink]:
    """The outputs that take the frames of all sources."""
    sinks: list[Sink] = []
    if settings.json:
        sinks.append(JsonLinesSink(settings.json, with_source=len(settings.source) > 1, waiting=waiting))
        closing.callback(sinks[-1].close)
    if settings.csv:
        sinks.append(CsvSink(settings.csv, networks.skeleton, waiting))
        closing.callback(sinks[-1].close)
    if settings.udp:
        datagrams = UdpSink(settings.udp)
        sinks.append(datagrams)
        closing.callback(lambda: tell(datagrams.unsent_in_words()))
        closing.callback(datagrams.close)
    return sinks


def _serve(settings: WebcamSettings, feeds: Sequence[Feed], stats: StageStats, closing: ExitStack) -> None:
    """Add the live view to the outputs of all feeds."""
    assert settings.serve is not None
    view = open_live_view(settings.serve, settings.serve_address, settings.serve_token, stats)
    closing.callback(view.close)
    for feed in feeds:
        view.add(feed.name, feed.counts)
        feed.sinks = [*feed.sinks, view]
    tell(f"live view: {view.url}")


def _opener(spec: str, hw_decode: bool) -> Callable[[], Source]:
    return lambda: (open_decoded_in_hardware if hw_decode else open_source)(spec)


def _open_pictures(
    settings: WebcamSettings, number: int, name: str, source: Source, stop: Stop, closing: ExitStack
) -> list[Sink]:
    """The window and the video of one source."""
    sinks: list[Sink] = []
    if not settings.headless:
        sinks.append(WindowSink(f"darkstream: {name}", stop.request))
        closing.callback(sinks[-1].close)
    if settings.save:
        sinks.append(Mp4Sink(settings.videos[number], source.fps, by_time=source.live))
        closing.callback(sinks[-1].close)
    return sinks


def _report(settings: WebcamSettings, feeds: Sequence[Feed], stats: StageStats) -> None:
    """What came out of each source and how long it took, for a person and, where asked for, a machine."""
    total = RunCounts()
    for feed in feeds:
        total.include(feed.counts)
        tell(f"{feed.name}: {feed.counts.in_words()}")
    total.seconds = max(feed.counts.seconds for feed in feeds)
    if len(feeds) > 1:
        tell(f"total: {total.in_words()}")
    tell(stage_table(stats))
    if settings.summary:
        sources = [{"source": feed.name, **feed.counts.as_dict()} for feed in feeds]
        write_summary(settings.summary, {**sources[0], **total.as_dict(), "sources": sources}, stats)


if __name__ == "__main__":
    sys.exit(main())
