"""Values of command-line options that several commands take."""

from __future__ import annotations

import argparse
import math
from pathlib import Path


def weighted_path(value: str) -> tuple[Path, float]:
    """PATH or PATH=WEIGHT as its two parts; the weight is 1 where none is given.

    Raises argparse.ArgumentTypeError for a weight that is none.
    """
    path, _, weight = value.partition("=")
    try:
        number = float(weight or 1)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected PATH or PATH=WEIGHT, a number above 0, got {value!r}")
    return Path(path), number
