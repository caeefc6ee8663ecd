"""`python -m train pose|detector` trains our networks, `export` makes their files, `evaluate` measures the files."""

from __future__ import annotations

import argparse
import os
import sys

from train import evaluate_command, export_command, pseudo_label_command, training_command
from train.synthetic import command as synthesize_command


def main(arguments: list[str] | None = None) -> int:
    """Run one of the subcommands; 0 on success, 1 with one line on standard error for a user's mistake."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (OSError, ValueError) as error:
        # Of several processes, only one may have met it.
        number = os.environ.get("RANK")
        print(f"train{f' (process {number})' if number else ''}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train: interrupted; the same command goes on with a training", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="pose|detector|export|evaluate")
    training_command.add_pose_options(commands.add_parser("pose", help="train a pose network"))
    training_command.add_detector_options(commands.add_parser("detector", help="train the person detector"))
    export = commands.add_parser("export", help="make ONNX files of checkpoints")
    export_command.add_options(export)
    export.set_defaults(run=export_command.run)
    evaluate = commands.add_parser("evaluate", help="measure exported files on the held-out pictures")
    evaluate_command.add_options(evaluate)
    evaluate.set_defaults(run=evaluate_command.run)
    pseudo_label = commands.add_parser("pseudo-label", help="keypoints for boxed people, by a trained network")
    pseudo_label_command.add_options(pseudo_label)
    pseudo_label.set_defaults(run=pseudo_label_command.run)
    synthesize = commands.add_parser("synthesize", help="make training pictures of synthetic people")
    synthesize_command.add_options(synthesize)
    synthesize.set_defaults(run=synthesize_command.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
