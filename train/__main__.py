"""Trains networks (`pose`, `detector`), makes data for that (`synthesize`, `pseudo-label`, `relabel`), files of the
networks (`export`), and measures them (`evaluate`).
"""

from __future__ import annotations

import argparse
import os
import sys

from train import evaluate_command, export_command, pseudo_label_command, relabel_command, training_command
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    training_command.add_pose_options(commands.add_parser("pose", help="train a pose network"))
    training_command.add_detector_options(commands.add_parser("detector", help="train the person detector"))
    for name, words, module in (
        ("export", "make ONNX files of checkpoints", export_command),
        ("evaluate", "measure exported files on the held-out pictures", evaluate_command),
        ("pseudo-label", "keypoints for boxed people, by a trained network", pseudo_label_command),
        ("relabel", "mend noisy labels, by trained networks", relabel_command),
        ("synthesize", "make training pictures of synthetic people", synthesize_command),
    ):
        command = commands.add_parser(name, help=words)
        module.add_options(command)
        command.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
