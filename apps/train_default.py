"""The default networks from the data to the files in models/: every step of their recipe, one command.

    python apps/train_default.py --data DATA --out RUNS [--movenet FILE] [--models DIR] [--device cuda] [--list]

DATA holds coco_train/ and lspet/. FILE is MoveNet Thunder as scripts/movenet_onnx.py makes it: it labels people.
What is finished is not done again, and what was interrupted goes on where it was: the same command resumes. The steps
are commands that also run alone; --list prints them.
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
TRAINING = "--workers {workers} --device {device}"
SYNTHETIC, MORE_SYNTHETIC = "{out}/synthetic", "{out}/synthetic2"
FIRST_MORE = f"--more {SYNTHETIC}=0.3 --more {{out}}/pseudo=1"
MORE = f"--more {SYNTHETIC}=0.25 --more {MORE_SYNTHETIC}=0.35 --more {{out}}/pseudo2=1"
LABEL = "train pseudo-label --data {data}/lspet --pose "
# What MoveNet has to agree on with itself: less than our own network, as it is right more often.
BY_MOVENET = "--pose {movenet} --score 0.2 --spread 1 --keypoints 4"
TAUGHT = (
    f"--more {SYNTHETIC}=0.2 --more {MORE_SYNTHETIC}=0.2 --more {{out}}/movenet_lspet=1 --more {{out}}/movenet_coco=4"
)
CALIB = "calib --images {data}/coco_train/images {data}/lspet/images "
INT8 = f"{CALIB}--annotations {{data}}/coco_train/person_keypoints.json --detector {{models}}/person_detector.onnx "
# In this order; {data}, {out}, {movenet}, {models}, {workers} and {device} are the options'.
STEPS: Mapping[str, str] = {
    "people of a body model": f"train synthesize --data {{data}} --out {SYNTHETIC} --count 4800 --workers {{workers}}",
    "more of them": (
        f"train synthesize --data {{data}} --out {MORE_SYNTHETIC} --count 7000 --seed 1 --workers {{workers}}"
    ),
    "pose, first": "train pose --data {data} --out {out}/pose1 --epochs 11 " + TRAINING,
    "pose, on": "train pose --data {data} --init {out}/pose1/best.pt --out {out}/pose2 --epochs 10 " + TRAINING,
    "pose, its file": "train export --weights {out}/pose2/last.pt --out {out}/labeller",
    "labels by the network": LABEL + "{out}/labeller/edge_coco_256x192.onnx --out {out}/pseudo",
    "pose, on all": (
        f"train pose --data {{data}} {FIRST_MORE} --init {{out}}/pose2/last.pt --out {{out}}/pose3 --epochs 10 "
        + TRAINING
    ),
    "pose, its better file": "train export --weights {out}/pose3/last.pt --out {out}/labeller2",
    "labels by the better network": LABEL + "{out}/labeller2/edge_coco_256x192.onnx --out {out}/pseudo2",
    "pose, on more": (
        f"train pose --data {{data}} {MORE} --init {{out}}/pose3/last.pt --out {{out}}/pose4 --epochs 6 {TRAINING}"
    ),
    "labels by MoveNet": (
        f"train pseudo-label --data {{data}}/lspet {BY_MOVENET} --height 40 --out {{out}}/movenet_lspet"
    ),
    "labels by MoveNet, COCO's people": (
        f"train pseudo-label --data {{data}}/coco_train {BY_MOVENET} --height 32 --out {{out}}/movenet_coco"
    ),
    "pose, on these labels": (
        f"train pose --data {{data}} {TAUGHT} --init {{out}}/pose4/last.pt --out {{out}}/pose5 --epochs 11 {TRAINING}"
    ),
    "pose, small": (
        f"train pose --model edge_coco_128x96 --data {{data}} {TAUGHT} --init {{out}}/pose5/last.pt "
        f"--out {{out}}/small --epochs 4 {TRAINING}"
    ),
    "detector": "train detector --data {data} --out {out}/detector1 " + TRAINING,
    "detector, on all": (
        f"train detector --data {{data}} --more {SYNTHETIC}=0.3 --init {{out}}/detector1/best.pt "
        "--out {out}/detector2 --epochs 2 --learning-rate 8e-4 " + TRAINING
    ),
    "files": (
        "train export --weights {out}/pose5/last.pt --calibrate {data} --with-checkpoint "
        "--detector {out}/detector2/best.pt --detection-threshold 0.26 --out {models}"
    ),
    "small file": "train export --weights {out}/small/last.pt --calibrate {data} --out {models}",
    "int8 file": INT8 + "--model {models}/edge_coco_256x192.onnx --out {models}/edge_coco_256x192_int8.onnx",
    "detector's int8 file": (CALIB + "--model {models}/person_detector.onnx --out {models}/person_detector_int8.onnx"),
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
        if not options.movenet.exists() and any("{movenet}" in step for step in steps.values()):
            raise ValueError(f"no MoveNet at {options.movenet}: scripts/movenet_onnx.py makes the file; see --movenet")
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
        "--movenet", type=Path, default=Path("movenet_thunder.onnx"), help="MoveNet Thunder (movenet_thunder.onnx)"
    )
    parser.add_argument("--models", type=Path, default=MODELS, help="folder for the network files (models/)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--workers", type=int, default=2, help="data processes (2)")
    parser.add_argument("--list", action="store_true", help="print the steps and end")
    return parser


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
