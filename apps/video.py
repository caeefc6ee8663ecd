"""Skeletons of video files: for each input NAME.jsonl, and NAME.mp4 with the skeletons drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from apps.command_line import DETECTOR, MISTAKES, POSE, new_parser, run_app, tell, tell_interruption, tell_mistake
from pipeline.drawing import PoseDrawing
from pipeline.pose_pipeline import Networks, together
from pipeline.preview import ContactSheet
from pipeline.settings import SettingsError, at_least, read_settings
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink, SinkError
from pipeline.sources import (
    DEMO_CLIP,
    VIDEO_SUFFIXES,
    Source,
    SourceError,
    images_in,
    open_decoded_in_hardware,
    open_source,
    without_password,
)
from pipeline.stats import RunCounts, StageStats, stage_table, write_summary
from pipeline.stopping import Stop, stop_on_signals
from pipeline.streaming import Feed, Stream
from pipeline.types import Frame, Image, Poses


@dataclass(frozen=True)
class VideoSettings:
    """The options of this app, on the command line and in its YAML file."""

    inputs: list[str] = field(default_factory=list)
    out: Path | None = None
    no_video: bool = False
    contact_sheet: Path | None = None
    detect_every: int | None = None
    detector: Path = DETECTOR
    pose: Path = POSE
    summary: Path | None = None
    hw_decode: bool = False

    def __post_init__(self) -> None:
        at_least("detect_every", self.detect_every, 1)
        if not self.inputs:
            raise SettingsError("no input given; expected video files, folders, or 'demo'")
        if self.out is None:
            raise SettingsError("no --out given; expected the folder for the results")


@dataclass(frozen=True)
class Job:
    """One input, its name without a password, and the names of its results."""

    spec: str
    name: str
    json: Path
    video: Path | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments (default: the program's own); returns the exit code."""
    return run_app(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    settings = _settings(argv)
    jobs = plan_jobs(settings)
    stats, total, reports = StageStats(), RunCounts(), list[dict[str, Any]]()
    with stop_on_signals() as stop, ExitStack() as closing:
        networks = Networks(settings.detector, settings.pose, stats)
        sheet: list[Sink] = [ContactSheet(settings.contact_sheet)] if settings.contact_sheet else []
        for sink in sheet:
            closing.callback(sink.close)
        for job in jobs:
            if not stop.requested:
                reports.append(_run_job(job, settings, networks, sheet, stop, total))
    if len(jobs) > 1:
        tell(f"total: {total.in_words()}")
    tell(stage_table(stats))
    tell_interruption(stop)
    if settings.summary:
        write_summary(settings.summary, {"inputs": reports, **total.as_dict()}, stats)
    return stop.exit_code or int(any(report["error"] for report in reports))


def _settings(argv: Sequence[str] | None) -> VideoSettings:
    parser = new_parser(__doc__)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="video, folder of videos or images, or 'demo'")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results, made if need be")
    parser.add_argument("--no-video", action="store_true", help="write no mp4, only JSON lines")
    parser.add_argument("--hw-decode", action="store_true", help="decode the videos in a Jetson's hardware")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="up to 9 annotated frames on one picture")
    given = vars(parser.parse_args(argv))
    return read_settings(VideoSettings, given, given.pop("config", None))


def plan_jobs(settings: VideoSettings) -> list[Job]:
    """The inputs in order, folders of videos opened up, each with result names of its own: walk, walk-2, ...

    Makes the output folder. Raises SinkError if that fails, SettingsError if a result would overwrite an input.
    """
    assert settings.out is not None
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SinkError(f"{settings.out}: cannot be used as output folder ({error.strerror})") from error
    specs = [spec for given in settings.inputs for spec in _videos_in(given, settings.out)]
    files = {Path(DEMO_CLIP if spec == "demo" else spec).resolve() for spec in specs}
    jobs: list[Job] = []
    names: set[str] = set()
    for spec in specs:
        path = Path(spec).resolve() if "://" not in spec else Path(spec)
        stem = name = path.name if path.is_dir() else path.stem
        copies = 1
        while name in names:
            copies += 1
            name = f"{stem}-{copies}"
        names.add(name)
        video = None if settings.no_video else settings.out / f"{name}.mp4"
        if video is not None and video.resolve() in files:
            raise SettingsError(f"{video}: the result would overwrite an input; choose another --out")
        jobs.append(Job(spec, without_password(spec), settings.out / f"{name}.jsonl", video))
    return jobs


def _videos_in(spec: str, out: Path) -> list[str]:
    """The videos below a folder, sorted, without earlier results in `out`; any other input as it is."""
    folder = Path(spec)
    if not folder.is_dir():
        return [spec]
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    same_folder = folder.resolve() == out.resolve()
    videos = [path for path in found if same_folder or out.resolve() not in path.resolve().parents]
    return [str(path) for path in videos] or [spec]


def _run_job(
    job: Job, settings: VideoSettings, networks: Networks, sheet: list[Sink], stop: Stop, total: RunCounts
) -> dict[str, Any]:
    """Process one input and report on it. A user's mistake ends this input only."""
    counts, error = RunCounts(), None
    try:
        source = _open_file(job.spec, settings.hw_decode)
        draw = PoseDrawing(networks.skeleton, networks.score_threshold)
        with ExitStack() as closing:
            feed = Feed(source, [*_open_sinks(job, source, closing), *sheet], counts=counts)
            process = together([networks.pipeline(source, settings.detect_every)])
            Stream([feed], process, draw, networks.stats).run(stop)
    except MISTAKES as mistake:
        error = str(mistake)
        tell_mistake(mistake)
    total.include(counts)
    if counts.frames:
        tell(f"{job.name}: {counts.in_words()}")
    if counts.frames and not counts.people:
        tell(f"{job.name}: no person was found in the whole video")
    results = {"json": str(job.json), "video": str(job.video) if job.video else None}
    return {"input": job.name, **results, "error": error, **counts.as_dict()}


def _open_file(spec: str, hw_decode: bool) -> Source:
    """The source, if it has an end."""
    if Path(spec).is_dir() and not images_in(Path(spec)):
        raise SourceError(f"{spec}: no videos and no images in this folder")
    source = (open_decoded_in_hardware if hw_decode else open_source)(spec)
    if source.live:
        source.close()
        raise SourceError(f"{source.name}: a live source has no end; use apps/webcam.py")
    return source


def _open_sinks(job: Job, source: Source, closing: ExitStack) -> list[Sink]:
    """The results of an input and its progress bar, each closed with `closing`."""
    sinks: list[Sink] = [JsonLinesSink(job.json)]
    closing.callback(sinks[-1].close)
    if job.video:
        sinks.append(Mp4Sink(job.video, source.fps))
        closing.callback(sinks[-1].close)
    sinks.append(ProgressBar(source.name, source.frame_count))
    closing.callback(sinks[-1].close)
    return sinks


class ProgressBar:
    """A sink that shows how far an input is; only on a terminal."""

    def __init__(self, name: str, frame_count: int | None) -> None:
        self._bar = tqdm(total=frame_count, desc=Path(name).name, unit=" frames", disable=None, leave=False)

    def wants_picture(self, frame: Frame) -> bool:
        """Never."""
        return False

    def write(self, frame: Frame, poses: Poses, picture: Image | None) -> None:
        """One frame further."""
        self._bar.update()

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


if __name__ == "__main__":
    sys.exit(main())
