"""What a keypoint's score is worth: how often keypoints of a score are right, on the held-out COCO people.

    python benchmarks/reliability.py --data DATA [--pose FILE] [--flip-test] [--plot PNG]

DATA holds coco_train/. A keypoint is right when its similarity to the label (COCO's OKS of that keypoint alone) is
above one half. Annotated boxes; bins of as many keypoints each. `--plot` needs matplotlib (pip install -e ".[plot]").
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pipeline.pose import PoseEstimator
from train.datasets.coco_layout import split
from train.models import open_pose_model
from train.score_calibration import Scored, scored_keypoints

BINS = 8
VISIBLE, HIDDEN = 2, 1


def table(keypoints: Scored) -> list[tuple[float, float, float, float]]:
    """(mean score, share of keypoints that are right, share of the labelled that are, share without a label) of each
    bin, by rising score.
    """
    rows = []
    for part in np.array_split(np.argsort(keypoints.score), BINS):
        has_label, right = keypoints.visibility[part] > 0, keypoints.right[part]
        of_labelled = float(right[has_label].mean()) if has_label.any() else float("nan")
        rows.append(
            (float(keypoints.score[part].mean()), float(right.mean()), of_labelled, float(1 - has_label.mean()))
        )
    return rows


def plot(rows: list[tuple[float, float, float, float]], title: str, file: Path) -> None:
    """Share of right keypoints over score, with the line of a score that is a probability."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    scores, right, of_labelled, absent = zip(*rows, strict=True)
    axes.plot([0, 1], [0, 1], color="0.7", linestyle="--", label="a probability")
    axes.plot(scores, right, marker="o", label="right, of all")
    axes.plot(scores, of_labelled, marker="o", alpha=0.4, label="right, of those with a label")
    axes.plot(scores, absent, marker="s", color="0.5", label="without a label (outside, or not to be seen)")
    axes.set(xlabel="keypoint score", ylabel="share", xlim=(0, 1), ylim=(0, 1), title=title)
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)


def main() -> None:
    """Print the table and what the threshold of the file leaves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pose", default="models/edge_coco_256x192_int8.onnx")
    parser.add_argument("--flip-test", action="store_true")
    parser.add_argument("--plot", type=Path, metavar="PNG")
    options = parser.parse_args()
    engine = open_pose_model(options.pose, flip_test=options.flip_test)
    keypoints = scored_keypoints(PoseEstimator(engine), split(options.data / "coco_train", validation=True))
    print(f"{'score':>8}{'right':>8}{'of labelled':>13}{'no label':>10}")
    rows = table(keypoints)
    for score, right, of_labelled, absent in rows:
        print(f"{score:>8.2f}{right:>8.2f}{of_labelled:>13.2f}{absent:>10.2f}")
    for name, visibility in (("visible", VISIBLE), ("hidden", HIDDEN)):
        some = keypoints.visibility == visibility
        print(f"{name}: {some.sum()} keypoints, mean score {keypoints.score[some].mean():.2f}, "
              f"right {keypoints.right[some].mean():.2f}")  # fmt: skip
    threshold = engine.manifest.score_threshold
    has_label = keypoints.visibility > 0
    kept = has_label & (keypoints.score >= threshold)
    share, right = kept.sum() / has_label.sum(), keypoints.right[kept].mean()
    print(f"from the file's threshold {threshold:g} on: {share:.0%} of those with a label, {right:.0%} of them right")
    if options.plot:
        plot(rows, engine.manifest.name, options.plot)


if __name__ == "__main__":
    main()
