"""Ours beside what people use: conventional PyTorch, rtmlib, MediaPipe, Ultralytics, on one machine in one run.

    python -m benchmarks.peers --video vtest.avi --environments DIR --out RESULTS [--people 1 5 20] [--runs 5]
    python -m benchmarks.peers --video vtest.avi --environments DIR --accuracy DATA --out RESULTS

Each peer lives in an environment of its own below DIR, which is made where it is missing. All get the same decoded
frames, the same boxes, the same two threads on the same two cores. Each measurement is a process; the processes take
turns, the whole round is repeated, and the medians are told. Writes peers.md and peers.json into RESULTS, with
--accuracy also accuracy.md: AP on the held-out COCO people, DATA holding coco_train/. docs/benchmarks.md says what each
one does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from apps.command_line import POSE
from benchmarks.peers_accuracy import accuracy_table
from benchmarks.peers_environments import REQUIREMENTS, interpreter, make_environment, mediapipe_networks
from benchmarks.peers_inputs import NetworkFiles, make_networks, make_pictures
from benchmarks.peers_runners.protocol import FILE, PERSON, Job
from benchmarks.peers_table import Contender, Outcome, as_json, markdown

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 900
FILE_FRAMES = 300
ULTRALYTICS_NETWORK = "yolo11n-pose.yaml"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def contenders(
    networks: Mapping[str, NetworkFiles], people: Sequence[int], mediapipe: Sequence[str]
) -> list[Contender]:
    """Everyone, by table; int8 of ours is held to be the reference where it is what the apps run."""
    rows = []
    given = tuple(people)
    for name, files in networks.items():
        table, shipped = f"{name}, the pose stage with given boxes", files.int8 == POSE
        common: dict[str, Any] = {"table": table, "people": given, "compared": files.trained}
        rows += [
            Contender(label="ours, int8", environment="", runner="ours", variant="auto", network=str(files.int8),
                      reference=shipped, **common),
            Contender(label="ours, bfloat16", environment="", runner="ours", variant="bfloat16",
                      network=str(files.ours), reference=not shipped, **common),
            Contender(label="ours, float32", environment="", runner="ours", variant="float32",
                      network=str(files.ours), **common),
            Contender(label="PyTorch, conventional loop", environment="torch", runner="torch_loop", variant="",
                      network=str(files.checkpoint), **common),
            *(Contender(label=f"rtmlib, {backend}", environment="rtmlib", runner="rtmlib_pose", variant=backend,
                        network=str(files.plain), **common) for backend in ("onnxruntime", "openvino")),
        ]  # fmt: skip
    for table, case in (("one person's part of the picture, end to end", PERSON), ("the whole file, end to end", FILE)):
        whole: dict[str, Any] = {"table": table, "cases": (case,)}
        rows.append(Contender(label="ours, int8", environment="", runner="ours", variant="auto", network=str(POSE),
                              reference=True, **whole))  # fmt: skip
        if case == FILE:
            rows.append(Contender(label="ours, int8, read and written beside it as in apps/video.py", environment="",
                                  runner="ours_streamed", variant="auto", network=str(POSE), **whole))  # fmt: skip
        rows += [
            Contender(label=f"MediaPipe, {name}", environment="mediapipe", runner="mediapipe_pose", variant=name,
                      **whole) for name in mediapipe
        ]  # fmt: skip
        if case == FILE:
            rows.append(Contender(label="Ultralytics YOLO11n-pose, untrained", environment="ultralytics",
                                  runner="ultralytics_pose", variant=ULTRALYTICS_NETWORK, **whole))  # fmt: skip
    return rows


def run_once(contender: Contender, python: Path, job: Job, folder: Path) -> dict[str, Any]:
    """One process of a runner: the JSON on its last line. RuntimeError with its last words if it fails."""
    file = folder / "job.json"
    file.write_text(json.dumps(asdict(job)), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **dict.fromkeys(THREAD_VARIABLES, str(job.threads))}
    command = [str(python), "-m", f"benchmarks.peers_runners.{contender.runner}", str(file)]
    try:
        finished = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(str(error)) from error
    if finished.returncode != 0:
        words = finished.stderr.strip() or f"exit code {finished.returncode}"
        raise RuntimeError(words.splitlines()[-1])
    try:
        result: dict[str, Any] = json.loads(finished.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise RuntimeError(f"{contender.runner} printed no result") from error
    return result


def measure(all_of_them: Sequence[Contender], options: argparse.Namespace) -> list[Outcome]:
    """All runs of all contenders. Each round begins with another one; whoever fails is not asked again.

    The files are written after each run, so that an interrupted measurement is not lost.
    """
    outcomes = [Outcome(contender) for contender in all_of_them]
    for number in range(options.runs):
        start = number * len(outcomes) // options.runs
        for outcome in outcomes[start:] + outcomes[:start]:
            if outcome.failure:
                continue
            contender = outcome.contender
            print(f"round {number + 1}/{options.runs}: {contender.table}: {contender.label}", flush=True)
            peer = contender.environment
            python = interpreter(options.environments, peer) if peer else Path(sys.executable)
            try:
                outcome.add(run_once(contender, python, job_of(contender, options), options.out))
            except RuntimeError as error:
                outcome.failure = str(error)
                print(f"  failed: {error}", flush=True)
            _write(outcomes, options)
    return outcomes


def job_of(contender: Contender, options: argparse.Namespace) -> Job:
    """What the contender is asked for, with these options."""
    frames = options.frames if contender.people else FILE_FRAMES
    return Job(
        contender.network, contender.variant, str(options.out.resolve() / "inputs"), str(options.video.resolve()),
        list(contender.people), list(contender.cases), options.threads, options.warm_up, frames, options.seconds,
    )  # fmt: skip


def _write(outcomes: Sequence[Outcome], options: argparse.Namespace) -> None:
    about = {
        "processor": _processor(), "cores": os.cpu_count(), "threads": options.threads, "runs": options.runs,
        "video": options.video.name, "weights": options.weights.name if options.weights else "untrained HRNet-W32",
    }  # fmt: skip
    versions = sorted({f"{name} {value}" for outcome in outcomes for name, value in outcome.versions.items()})
    text = ", ".join(f"{key}: {value}" for key, value in about.items()) + f"\n\n{', '.join(versions)}\n\n"
    (options.out / "peers.md").write_text(text + markdown(outcomes), encoding="utf-8")
    result = {"about": about, "results": as_json(outcomes)}
    (options.out / "peers.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """The processor's name as Linux has it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True, help="the clip, with people in it")
    parser.add_argument("--environments", type=Path, required=True, metavar="DIR", help="where the peers live")
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), metavar="DIR", help="for results (runs/peers)")
    parser.add_argument("--people", type=int, nargs="+", default=[1, 5, 20], help="how many boxes are given (1 5 20)")
    parser.add_argument("--runs", type=int, default=5, help="rounds (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads and cores of each process (2)")
    parser.add_argument("--warm-up", type=int, default=3, help="frames of each case that are not timed (3)")
    parser.add_argument("--frames", type=int, default=60, help="most frames with given boxes in a run (60)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each case in a run, five frames at least (6)")
    parser.add_argument("--weights", type=Path, metavar="FILE.pth", help="checkpoint of HRNet-W32 (none: untrained)")
    parser.add_argument("--only", metavar="TEXT", help="only contenders with this text in table or label")
    parser.add_argument("--peers", nargs="+", default=list(REQUIREMENTS), choices=list(REQUIREMENTS))
    parser.add_argument("--accuracy", type=Path, metavar="DATA", help="also AP, beside MediaPipe's")
    parser.add_argument("--skip-speed", action="store_true", help="accuracy only")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 with a line on standard error."""
    options = parse(arguments)
    try:
        _run(options)
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    inputs = options.out / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    options.environments.mkdir(parents=True, exist_ok=True)
    options.environments = options.environments.resolve()
    for name in options.peers:
        make_environment(options.environments, name)
    mediapipe = mediapipe_networks(options.environments)
    if not options.skip_speed:
        make_pictures(str(options.video), options.people, inputs)
        everyone = contenders(make_networks(inputs.resolve(), options.weights), options.people, mediapipe)
        chosen = [
            one for one in everyone
            if one.environment in ("", *options.peers) and (options.only or "") in f"{one.table} {one.label}"
        ]  # fmt: skip
        measure(chosen, options)
        print((options.out / "peers.md").read_text(encoding="utf-8"))
    if options.accuracy is not None:
        python = interpreter(options.environments, "mediapipe")
        table = accuracy_table(options.accuracy, python, mediapipe)
        (options.out / "accuracy.md").write_text(table, encoding="utf-8")
        print(table)


if __name__ == "__main__":
    sys.exit(main())
