"""A clip through the pipeline as apps/video.py runs it, several times: frames a second, and where the time goes."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.stage_times import CROP, Spread
from pipeline.drawing import PoseDrawing
from pipeline.pose_pipeline import Networks, together
from pipeline.sinks import JsonLinesSink, Mp4Sink, Sink
from pipeline.sources import Source, SourceError, open_source
from pipeline.stats import LATENCY, NETWORKS, RunCounts
from pipeline.stopping import Stop
from pipeline.streaming import Feed, Stream

WARM_UP_FRAMES = 20
PARTS = (NETWORKS[0], CROP, NETWORKS[1])  # of the stages "detect" and "pose"


@dataclass(frozen=True)
class ClipRun:
    """One run. stages: as StageStats.stages_ms has them, with the pose stage's crop beside its network."""

    counts: RunCounts
    stages: dict[str, dict[str, float]]
    share_outside_networks: float


def run_clip(
    networks: Networks,
    spec: str,
    folder: Path,
    detect_every: int | None,
    video: bool,
    frames: int | None,
    also: Sequence[Sink] = (),
) -> ClipRun:
    """Run a clip once, JSON lines and with `video` an mp4 into the folder. frames: how many at most. also: more sinks.

    Raises SourceError for a source that cannot be read, has no end, or no frames; SinkError as the sinks do.
    """
    source = open_with_end(spec)
    networks.stats.clear()
    counts = RunCounts()
    with ExitStack() as closing:
        sinks: list[Sink] = [JsonLinesSink(folder / "clip.jsonl")]
        closing.callback(sinks[-1].close)
        if video:
            sinks.append(Mp4Sink(folder / "clip.mp4", source.fps))
            closing.callback(sinks[-1].close)
        draw = PoseDrawing(networks.skeleton, networks.score_threshold)
        process = together([networks.pipeline(source, detect_every)])
        Stream([Feed(source, [*sinks, *also], counts=counts)], process, draw, networks.stats, frames).run(Stop())
    if not counts.frames:
        raise SourceError(f"{source.name}: no frame could be read")
    return ClipRun(counts, _with_crop(networks.stats.stages_ms()), networks.stats.share_outside_networks())


def open_with_end(spec: str) -> Source:
    """The source that a user names. Raises SourceError for a live one."""
    source = open_source(spec)
    if source.live:
        source.close()
        raise SourceError(f"{source.name}: a live source has no end and cannot be repeated; give a video file")
    return source


def measure_clip(
    networks: Networks, spec: str, runs: int, detect_every: int | None, video: bool, frames: int | None
) -> list[ClipRun]:
    """The runs of a clip, behind a short one that warms up. Raises as run_clip does."""
    with tempfile.TemporaryDirectory() as folder:
        run_clip(networks, spec, Path(folder), detect_every, video, min(frames or WARM_UP_FRAMES, WARM_UP_FRAMES))
        return [run_clip(networks, spec, Path(folder), detect_every, video, frames) for _ in range(runs)]


def _with_crop(stages: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """The stages with what the pose stage takes besides its network, in totals only."""
    if "pose" not in stages:
        return stages
    network = stages.get(NETWORKS[1], {"total": 0.0})["total"]
    return {**stages, CROP: {"count": stages["pose"]["count"], "total": stages["pose"]["total"] - network}}


def clip_figures(runs: Sequence[ClipRun]) -> dict[str, Any]:
    """The figures of all runs: frames/s, stages in ms a frame, p95 of single calls, latencies."""
    stages = [stage for stage in (*runs[0].stages, CROP) if stage != LATENCY]
    latencies = {key: [run.stages[LATENCY][key] for run in runs] for key in ("p50", "p95", "p99")}
    return {
        "frames": runs[0].counts.frames,
        "people_per_frame": runs[0].counts.people / runs[0].counts.frames,
        "frames_per_s": Spread.of([run.counts.frames / run.counts.seconds for run in runs]),
        "share_outside_networks": statistics.median(run.share_outside_networks for run in runs),
        "ms_a_frame": {
            stage: Spread.of([run.stages[stage]["total"] / run.counts.frames for run in runs])
            for stage in dict.fromkeys(stages)
        },
        "p95_of_a_call_ms": {
            stage: statistics.median(run.stages[stage]["p95"] for run in runs)
            for stage in dict.fromkeys(stages)
            if stage != CROP
        },
        "calls": {stage: runs[0].stages[stage]["count"] for stage in dict.fromkeys(stages)},
        "latency_ms": {key: statistics.median(values) for key, values in latencies.items()},
    }


def clip_table(figures: dict[str, Any]) -> str:
    """The figures as lines of text."""
    lines = [f"{'stage':<20}{'ms a frame':>24}{'p95 of a call':>15}{'calls':>8}"]
    for stage in _in_order(figures["ms_a_frame"]):
        label = f"  {stage}" if stage in PARTS else stage
        p95 = figures["p95_of_a_call_ms"].get(stage)
        lines.append(
            f"{label:<20}{figures['ms_a_frame'][stage]!s:>24}{'-' if p95 is None else f'{p95:.2f}':>15}"
            f"{figures['calls'][stage]:>8}"
        )
    latency = ", ".join(f"{key} {value:.1f}" for key, value in figures["latency_ms"].items())
    lines.append(f"from reading a frame to its result, ms, with the frames that wait between the stages: {latency}")
    lines.append(f"time outside the two networks: {figures['share_outside_networks']:.0%}")
    return "\n".join(lines)


def _in_order(stages: dict[str, Spread]) -> list[str]:
    order = ("read", "detect", NETWORKS[0], "pose", CROP, NETWORKS[1], "track", "draw", "write")
    return [stage for stage in order if stage in stages]
