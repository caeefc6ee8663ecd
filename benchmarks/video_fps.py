"""Frames per second of `apps/video.py --no-video`, end to end, and where the time goes: the median of several runs.

    python benchmarks/video_fps.py VIDEO [--runs 5]

The frame rate counts from the first read to the last write, without the start of Python and the loading of networks;
the third line has the whole command. All other options go to apps/video.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

APP = Path(__file__).resolve().parent.parent / "apps" / "video.py"


def run_once(video: Path, options: list[str], folder: Path) -> dict[str, Any]:
    """The app's summary of one run, with the seconds of the whole command under "command_s"."""
    summary = folder / "summary.json"
    command = [sys.executable, str(APP), str(video), "--out", str(folder / "out"), "--no-video", "--overwrite"]
    start = time.perf_counter()
    finished = subprocess.run(
        [*command, "--summary", str(summary), *options], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if finished.returncode != 0:
        raise SystemExit(f"apps/video.py failed with exit code {finished.returncode}:\n{finished.stderr.strip()}")
    return {**json.loads(summary.read_text(encoding="utf-8")), "command_s": seconds}


def stage_table(summaries: list[dict[str, Any]]) -> str:
    """One line a stage: milliseconds a frame and at p95, each the median of the runs."""
    lines = [f"{'stage':<20}{'ms a frame':>12}{'p95 of a call':>15}"]
    for stage in summaries[0]["stages_ms"]:
        rows = [(run["stages_ms"][stage], run["frames"]) for run in summaries]
        a_frame = statistics.median(row["total"] / frames for row, frames in rows)
        p95 = statistics.median(row["p95"] for row, _ in rows)
        lines.append(f"{stage:<20}{a_frame:>12.2f}{p95:>15.2f}")
    return "\n".join(lines)


def main() -> None:
    """Prints the median frame rate, every run's, and the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="how many runs (5)")
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        summaries = [run_once(args.video, options, Path(folder)) for _ in range(args.runs)]
    rates = [run["frames_per_s"] for run in summaries]
    share = statistics.median(run["share_outside_networks"] for run in summaries)
    command_s = statistics.median(run["command_s"] for run in summaries)
    people = summaries[0]["people_per_frame"]
    print(f"{args.video.name}: {summaries[0]['frames']} frames, {people:.1f} people a frame")
    print(f"frames/s: median {statistics.median(rates):.1f} of {', '.join(f'{rate:.1f}' for rate in rates)}")
    print(f"whole command: {command_s:.1f} s; time outside the two networks: {share:.0%}")
    print(stage_table(summaries))


if __name__ == "__main__":
    main()
