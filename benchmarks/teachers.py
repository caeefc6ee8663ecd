"""What a teacher of several networks is worth: each of them on the held-out people, and the mean of their heatmaps.

    python -m benchmarks.teachers --data DATA --teacher models/coco_edge_large_256x192.pt=2 \
        --teacher package/models/movenet-thunder.json --teacher package/models/movenet-multipose.json

DATA holds coco_train/. Files and weights are what `python -m train pose --teacher` takes. AP of the held-out COCO
people from annotated boxes, with the flip test; 95 % intervals of a bootstrap over the pictures, and of each difference
to the first one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipeline.pose import PoseEstimator
from train.average_precision import Results, average_precision
from train.datasets.coco_layout import split
from train.datasets.pictures import Picture
from train.distillation import read_teacher
from train.evaluate import estimates_of
from train.export import EDGE_NAME, KEYPOINT_THRESHOLD, pose_manifest
from train.intervals import average_precision_difference, average_precision_interval
from train.options import weighted_path
from train.torch_engine import PoseEngine
from train.truth import Truth
from train.zoo import ZooModel, zoo_model


def judged(files: list[tuple[Path, float]], student: ZooModel, pictures: list[Picture]) -> tuple[Truth, Results]:
    """Who is in the pictures, and what a teacher of these files finds of them."""
    manifest = pose_manifest(student, KEYPOINT_THRESHOLD, "float32", flip_test=True)
    engine = PoseEngine(read_teacher(files, student).network, manifest, student.kernel)
    return estimates_of(PoseEstimator(engine), pictures)


def main() -> None:
    """Prints one row for each network and one for their mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=weighted_path, action="append", required=True, metavar="FILE[=WEIGHT]")
    options = parser.parse_args()
    student, pictures = zoo_model(EDGE_NAME), list(split(options.data / "coco_train", validation=True))
    first: Results | None = None
    print("teacher | AP | 95 % | difference to the first, 95 %")
    for files in [*([each] for each in options.teacher), options.teacher]:
        truth, found = judged(files, student, pictures)
        first = first or found
        precision = average_precision(truth, found, student.skeleton)["AP"]
        low, high = average_precision_interval(truth, found, student.skeleton)
        below, above = average_precision_difference(truth, found, first, student.skeleton)
        name = " and ".join(path.stem for path, _ in files)
        print(f"{name} | {precision:.3f} | {low:.2f} to {high:.2f} | {below:+.3f} to {above:+.3f}", flush=True)


if __name__ == "__main__":
    main()
