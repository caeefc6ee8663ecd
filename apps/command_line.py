"""What the apps' command lines have in common: the networks' options, and mistakes told in one line."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engines.engine import ModelError, prefers_int8
from pipeline.batch.run import BatchError
from pipeline.mistakes import in_order
from pipeline.settings import SettingsError
from pipeline.sink_errors import SinkError
from pipeline.sources import SourceError
from pipeline.stopping import Stop

MODELS = Path(__file__).resolve().parent.parent / "models"
DETECTOR, DETECTOR_INT8 = MODELS / "person_detector.onnx", MODELS / "person_detector_int8.onnx"
POSE = MODELS / "edge_coco_256x192_int8.onnx"
MISTAKES = (BatchError, ModelError, SettingsError, SinkError, SourceError)


def default_detector() -> Path:
    """The file of the person detector that is faster on this machine."""
    return DETECTOR_INT8 if prefers_int8() else DETECTOR


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all apps share. It returns only what was given: defaults are the settings'."""
    parser = argparse.ArgumentParser(description=description, argument_default=argparse.SUPPRESS)
    parser.add_argument("--detect-every", type=int, metavar="N", help="run the detector on every N-th frame (5)")
    parser.add_argument("--no-smoothing", action="store_true", help="leave the keypoints of videos as they are found")
    parser.add_argument(
        "--detector", type=Path, metavar="PATH", help="person detector (the one in models/ that is fast here)"
    )
    parser.add_argument("--pose", type=Path, metavar="PATH", help=f"pose network (models/{POSE.name})")
    draw_help = "what is drawn: score=0.5,width=3,boxes=on,ids=off,faces=off, or some of these"
    parser.add_argument("--draw", metavar="STYLE", help=draw_help)
    parser.add_argument("--summary", type=Path, metavar="JSON", help="also write the summary for machines")
    parser.add_argument("--config", type=Path, metavar="YAML", help="file of 'option: value' lines; options here win")
    return parser


def run_app(run: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None) -> int:
    """The exit code of `run`; a user's mistake becomes one line on stderr and exit code 1.

    So does each of those that came up while the files were finished after another.
    """
    try:
        return run(argv)
    except MISTAKES as mistake:
        for each in in_order(mistake, MISTAKES):
            tell_mistake(each)
        return 1


def tell_mistake(mistake: Exception) -> None:
    """One line on stderr."""
    tell(f"error: {' '.join(str(mistake).split())}")


def tell_interruption(stop: Stop, what_is_left: str = "the results are whole files, of the frames until then") -> None:
    """One line on stderr if a signal ended the run early."""
    if stop.signal:
        tell(f"stopped by {signal.Signals(stop.signal).name}: {what_is_left}")


def tell(text: str) -> None:
    """Words for a person go to stderr, if there are any: stdout may be carrying JSON lines."""
    if text.strip():
        print(text.rstrip(), file=sys.stderr)
