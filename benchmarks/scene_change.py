"""How much the thumbnails of consecutive frames differ, in videos and in a folder of unrelated photographs.

    python -m benchmarks.scene_change VIDEO_OR_FOLDER...

For each: least, median, 99th percentile and most, in grey levels, and how many of the pairs count as a changed picture.
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import numpy as np

from pipeline.scene_change import CHANGED, thumbnail
from pipeline.sources import open_source


def main() -> None:
    """Print a line for each source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="VIDEO_OR_FOLDER")
    for spec in parser.parse_args().sources:
        thumbnails = [thumbnail(frame.image) for frame in open_source(spec).frames()]
        differences = np.array([np.abs(one - other).mean() for one, other in pairwise(thumbnails)])
        figures = " / ".join(f"{np.percentile(differences, share):.1f}" for share in (0, 50, 99, 100))
        print(f"{spec}: {figures}; changed {(differences >= CHANGED).sum()} of {len(differences)}")


if __name__ == "__main__":
    main()
