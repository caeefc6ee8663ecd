"""Several processes against one, over a folder of equal videos: frames a second of the whole command, and their ratio.

    python benchmarks/batch_jobs.py VIDEO [--jobs 2] [--copies 8] [--runs 3]

Both run in turn, so that both meet the same machine; each figure is the median of its runs. The whole command counts,
with the start of Python and of the networks in each process. All other options go to apps/video.py.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

APP = Path(__file__).resolve().parent.parent / "apps" / "video.py"


def frames_per_s(folder: Path, jobs: int, options: list[str], scratch: Path) -> float:
    """Of one run over the folder."""
    summary = scratch / "summary.json"
    command = [sys.executable, str(APP), str(folder), "--out", str(scratch / "out"), "--no-video", "--overwrite"]
    start = time.perf_counter()
    subprocess.run(
        [*command, "--jobs", str(jobs), "--summary", str(summary), *options], check=True, stderr=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - start
    return float(json.loads(summary.read_text(encoding="utf-8"))["frames"]) / seconds


def main() -> None:
    """Prints the frame rates of one process and of several, and how much faster the latter are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="how many processes (2)")
    parser.add_argument("--copies", type=int, default=8, help="how many videos (8)")
    parser.add_argument("--runs", type=int, default=3, help="how many runs of each (3)")
    args, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        (scratch / "in").mkdir()
        for copy in range(args.copies):
            shutil.copy(args.video, scratch / "in" / f"{copy}{args.video.suffix}")
        rates: dict[int, list[float]] = {1: [], args.jobs: []}
        for _ in range(args.runs):
            for jobs, found in rates.items():
                found.append(frames_per_s(scratch / "in", jobs, options, scratch))
    medians = {jobs: statistics.median(found) for jobs, found in rates.items()}
    for jobs, rate in medians.items():
        print(f"{jobs} processes: {rate:.1f} frames/s (of {', '.join(f'{one:.1f}' for one in rates[jobs])})")
    print(f"{args.jobs} processes are {medians[args.jobs] / medians[1]:.2f} times as fast as one with all cores")


if __name__ == "__main__":
    main()
