"""`python -m train pose|detector`: train one of our networks; `python -m train export`: make the files in models/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from train.loop import Schedule, fit
from train.tasks import DetectorTask, PoseTask


def main(arguments: list[str] | None = None) -> int:
    """Run one of the subcommands; 0 on success, 1 with one line on standard error for a user's mistake."""
    options = _parser().parse_args(arguments)
    torch.manual_seed(0)
    try:
        return int(options.run(options))
    except (OSError, ValueError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="pose|detector|export")
    for name, task, epochs, batch, rate in (("pose", PoseTask, 20, 32, 1e-3), ("detector", DetectorTask, 20, 16, 1e-3)):
        command = commands.add_parser(name, help=f"train the {name} network")
        command.add_argument("--data", type=Path, required=True, help="folder with coco_train/ and lspet/")
        command.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log")
        command.add_argument("--epochs", type=int, default=epochs)
        command.add_argument("--batch", type=int, default=batch)
        command.add_argument("--learning-rate", type=float, default=rate)
        command.add_argument("--workers", type=int, default=2, help="data processes")
        command.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
        command.set_defaults(run=_train, task=task)
    return parser


def _train(options: argparse.Namespace) -> int:
    task = options.task(options.data, options.batch, options.workers)
    best = fit(task, Schedule(options.epochs, options.learning_rate), options.out, torch.device(options.device))
    print(f"best checkpoint: {best}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
