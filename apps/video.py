"""Skeletons of video files: for each input NAME.jsonl, and NAME.mp4 with the skeletons drawn.

What an earlier run has finished is not done again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import cast

from apps.command_line import POSE, default_detector, new_parser, run_app, tell, tell_interruption
from engines.engine import ENGINE_SUFFIX, file_sha256
from pipeline.batch.folder import OutputFolder
from pipeline.batch.job import COCO_RESULTS, CSV, JSON, VIDEO, Work
from pipeline.batch.journal import options_key
from pipeline.batch.plan import plan_jobs
from pipeline.batch.progress import BatchProgress
from pipeline.batch.run import Batch, ThisProcess, Workers
from pipeline.batch.workers import Processes, usable_cores
from pipeline.drawing import DrawStyle, draw_style
from pipeline.pose_pipeline import Networks
from pipeline.preview import ContactSheet
from pipeline.settings import SettingsError, at_least, read_settings
from pipeline.stats import StageStats, stage_table, write_summary
from pipeline.stopping import stop_on_signals


@dataclass(frozen=True)
class VideoSettings:
    """The options of this app, on the command line and in its YAML file."""

    inputs: list[str] = field(default_factory=list)
    out: Path | None = None
    no_video: bool = False
    csv: bool = False
    coco: bool = False
    contact_sheet: Path | None = None
    detect_every: int | None = None
    no_smoothing: bool = False
    detector: Path = field(default_factory=default_detector)
    pose: Path = POSE
    draw: str = ""
    summary: Path | None = None
    hw_decode: bool = False
    overwrite: bool = False
    jobs: int | None = None
    ray: str | None = None
    ray_cpus: int = 1
    ray_gpus: float | None = None

    def __post_init__(self) -> None:
        at_least("detect_every", self.detect_every, 1)
        at_least("jobs", self.jobs, 1)
        at_least("ray_cpus", self.ray_cpus, 1)
        draw_style(self.draw)
        if not self.inputs:
            raise SettingsError("no input given; expected video files, folders, or 'demo'")
        if self.out is None:
            raise SettingsError("no --out given; expected the folder for the results")
        if self.contact_sheet and (self.ray or (self.jobs or 1) > 1):
            raise SettingsError("one process draws the contact sheet; leave out --jobs and --ray, or --contact-sheet")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the results that are wanted."""
        chosen = {JSON: True, VIDEO: not self.no_video, CSV: self.csv, COCO_RESULTS: self.coco}
        return tuple(suffix for suffix, wanted in chosen.items() if wanted)

    @property
    def on_gpu(self) -> bool:
        """Whether a network runs on a GPU."""
        return ENGINE_SUFFIX in (self.detector.suffix, self.pose.suffix)

    def key(self, hashes: Mapping[Path, str]) -> str:
        """Of all options that the results depend on. hashes: of the network files."""
        networks = {"detector": hashes[self.detector], "pose": hashes[self.pose]}
        style = draw_style(self.draw)
        drawn = {} if self.no_video or style == DrawStyle() else {"draw": asdict(style)}
        frames = {name: getattr(self, name) for name in ("detect_every", "no_smoothing", "hw_decode")}
        return options_key({**networks, **drawn, **frames})


def main(argv: Sequence[str] | None = None) -> int:
    """Run with these arguments (default: the program's own); returns the exit code."""
    return run_app(_run, argv)


def _run(argv: Sequence[str] | None) -> int:
    settings = _settings(argv)
    assert settings.out is not None
    hashes, stats = {file: file_sha256(file) for file in (settings.detector, settings.pose)}, StageStats()
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        folder = stack.enter_context(OutputFolder(settings.out))
        jobs = plan_jobs(settings.inputs, settings.out, settings.suffixes, folder.journal.owners())
        progress = stack.enter_context(closing(BatchProgress(len(jobs))))
        batch = Batch(jobs, folder, settings.key(hashes), settings.suffixes, progress, settings.overwrite)
        batch.tell_plan()
        if batch.waiting:
            _workers(settings, batch.waiting, folder, hashes, stack).run(batch, stop, stats)
    _tell_end(batch, stats)
    tell_interruption(stop, "what was not finished is named NAME.partial; the next run does it anew")
    if settings.summary:
        write_summary(settings.summary, {"inputs": batch.reports(), **batch.total.as_dict()}, stats)
    return stop.exit_code or int(bool(batch.bad))


def _settings(argv: Sequence[str] | None) -> VideoSettings:
    parser = new_parser(__doc__)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="video, folder of videos or images, or 'demo'")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results, made if need be")
    parser.add_argument("--no-video", action="store_true", help="write no mp4, only JSON lines")
    parser.add_argument("--csv", action="store_true", help="also write NAME.csv, a row a person a frame")
    parser.add_argument("--coco", action="store_true", help="also write NAME.coco.json, COCO's results format")
    parser.add_argument("--hw-decode", action="store_true", help="decode the videos in a Jetson's hardware")
    parser.add_argument("--contact-sheet", type=Path, metavar="PNG", help="up to 9 annotated frames on one picture")
    parser.add_argument("--overwrite", action="store_true", help="do again what an earlier run has finished")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="so many inputs at a time, each in a process (by the cores)"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="work on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT")
    parser.add_argument("--ray-cpus", type=int, metavar="N", help="CPUs for each input at work on the cluster (1)")
    parser.add_argument("--ray-gpus", type=float, metavar="X", help="GPUs for each, as 0.5 (0; 1 for .engine files)")
    given = vars(parser.parse_args(argv))
    settings = read_settings(VideoSettings, given, given.pop("config", None))
    return _absolute(settings) if settings.ray else settings


def _absolute(settings: VideoSettings) -> VideoSettings:
    """All paths as other machines see them in the folders that they share with this one."""
    inputs = [spec if "://" in spec or spec == "demo" else str(Path(spec).absolute()) for spec in settings.inputs]
    detector, pose = settings.detector.absolute(), settings.pose.absolute()
    return replace(settings, inputs=inputs, out=settings.out and settings.out.absolute(), detector=detector, pose=pose)


def _workers(
    settings: VideoSettings, waiting: int, folder: OutputFolder, hashes: dict[Path, str], stack: ExitStack
) -> Workers:
    """Who does the work. waiting: how many inputs there are to do."""

    def work(threads: int | None) -> Work:
        networks = partial(Networks, settings.detector, settings.pose)
        limited = networks if threads is None else partial(networks, threads=threads)
        style = draw_style(settings.draw)
        smooth = not settings.no_smoothing
        return Work(limited, settings.suffixes, settings.detect_every, settings.hw_decode, threads, style, smooth)

    if settings.ray:
        cpus, gpus = settings.ray_cpus, float(settings.on_gpu) if settings.ray_gpus is None else settings.ray_gpus
        from_here = _import_ray_workers()
        cluster = from_here.Cluster(settings.ray, settings.jobs, cpus, gpus)
        return cast(Workers, from_here.RayActors(work(cpus), cluster, folder.lock, hashes))
    count = _process_count(settings, waiting)
    if count > 1:
        return Processes(work(max(1, usable_cores() // count)), count)
    sheets = [ContactSheet(settings.contact_sheet)] if settings.contact_sheet else []
    for sheet in sheets:
        stack.callback(sheet.close)
    return ThisProcess(work(None), sheets)


def _import_ray_workers() -> ModuleType:
    try:
        from pipeline.batch import ray_workers
    except ImportError as error:
        raise SettingsError('Ray is not installed: pip install -e ".[ray]"') from error
    return ray_workers


def _process_count(settings: VideoSettings, waiting: int) -> int:
    """As many as were asked for; else one for each core, but a single one where a GPU or a contact sheet is shared."""
    shared = settings.contact_sheet or settings.on_gpu
    return min(settings.jobs or (1 if shared else usable_cores()), waiting)


def _tell_end(batch: Batch, stats: StageStats) -> None:
    """What came out of all inputs, how long the stages took, and which inputs were bad."""
    if len(batch.jobs) > 1 and batch.total.frames:
        tell(f"total: {batch.total.in_words()}")
    tell(stage_table(stats))
    if len(batch.jobs) > 1 and batch.bad:
        tell(f"{len(batch.bad)} of {len(batch.jobs)} inputs failed:")
        for error in batch.bad.values():
            tell(f"  {' '.join(error.split())}")


if __name__ == "__main__":
    sys.exit(main())
