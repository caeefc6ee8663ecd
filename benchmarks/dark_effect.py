"""What DARK gains: one small network at 128x96, trained on rounded and on unbiased targets, each decoded both ways.

    python benchmarks/dark_effect.py --data DATA --out RUNS [--init best.pt] [--seeds 0 1 2] [--epochs 8]

DATA holds coco_train/ and lspet/. Sigma 1 and blur kernel 3 are those of DarkPose's own experiments at this size. The
runs resume. `--encodings` trains only some of them, to share the work among several calls; what is finished is
measured on the held-out people, from annotated boxes, with the flip test. The rows "exact" have the heatmaps that the
targets themselves are, those of a network that makes no mistake.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engines.batching import Arrays
from pipeline.affine import PIXELS_PER_SCALE, boxes_to_center_scale, crop_matrix, crop_to_frame, transform_points
from pipeline.pose import PoseEstimator
from pipeline.types import FloatArray
from train.average_precision import average_precision
from train.checkpoints import load_checkpoint
from train.dark import decode, decode_quarter_offset, encode
from train.datasets.coco_layout import split
from train.datasets.pictures import Person, Picture
from train.evaluate import Predictions, best_of, labelled, numbered, pck, predict
from train.export import KEYPOINT_THRESHOLD, pose_manifest
from train.loop import fit
from train.recipes import EDGE
from train.tasks import PoseTask, folder_data
from train.torch_engine import PoseEngine
from train.truth import truth_of
from train.zoo import zoo_model

MODEL = zoo_model("edge_coco_128x96")
ENCODINGS = ("biased", "unbiased")
Decode = Callable[[Tensor], tuple[Tensor, Tensor]]
DECODES: dict[str, Decode] = {
    "quarter offset": decode_quarter_offset,
    "DARK": lambda heatmaps: decode(heatmaps, MODEL.kernel),
}
STRICT = (0.05, 0.1)
HeldOut = dict[str, list[Picture]]


class DecodedBy:
    """A pose network's heatmaps (flip test included) under another decode, in the shape of an engine."""

    def __init__(self, engine: PoseEngine, decode_heatmaps: Decode) -> None:
        self.manifest, self._engine, self._decode = engine.manifest, engine, decode_heatmaps

    def __call__(self, inputs: Arrays) -> Arrays:
        """crops uint8 [N, h, w, 3] BGR -> keypoints [N, K, 2] crop px, scores [N, K]."""
        points, scores = self._decode(self._engine.heatmaps(inputs["crops"]))
        return {"keypoints": 4 * points.cpu().numpy(), "scores": scores.cpu().numpy()}


def train(data: Path, out: Path, encoding: str, seed: int, epochs: int, init: Path | None, device: str) -> None:
    """One run, or the rest of it."""
    schedule = replace(EDGE.schedule.lasting(epochs), seed=seed, validate_every=epochs)
    recipe = replace(EDGE, schedule=schedule)
    task = PoseTask(MODEL, folder_data(data), recipe, unbiased=encoding == "unbiased", init=init)
    fit(task, schedule, out, torch.device(device))


def measured(engine_of: Callable[[Decode], DecodedBy], held_out: HeldOut) -> dict[str, dict[str, float]]:
    """The figures of a network under each decode."""
    rows = {}
    for name, decode_heatmaps in DECODES.items():
        estimator = PoseEstimator(engine_of(decode_heatmaps))
        rows[name] = figures({data: predict(estimator, pictures) for data, pictures in held_out.items()}, held_out)
    return rows


def figures(found: dict[str, Predictions], held_out: HeldOut) -> dict[str, float]:
    """AP of the COCO people, PCK at strict thresholds (in torso lengths) and median error of both data sets' people."""
    results = best_of(found["coco_train"], MODEL.skeleton)
    precision = average_precision(truth_of(held_out["coco_train"]), results, MODEL.skeleton)
    row = {name: precision[name] for name in ("AP", "AP .75")}
    for data, predictions in found.items():
        people = [person for picture in held_out[data] for person in picture.people]
        for threshold in STRICT:
            row[f"{data} PCK@{threshold}"] = pck(people, predictions.keypoints, threshold)
        row[f"{data} error"] = median_error(people, predictions)
    return row


def median_error(people: Sequence[Person], predictions: Predictions) -> float:
    """The median distance of the estimates from the labels, in heatmap px."""
    labels = np.stack([person.joints for person in people if person.joints is not None])
    heatmap_px = predictions.boxes[:, 2] * PIXELS_PER_SCALE / (MODEL.input_size[0] / 4)
    errors = np.linalg.norm(predictions.keypoints[..., :2] - labels[..., :2], axis=2) / heatmap_px[:, None]
    return float(np.median(errors[labels[..., 2] > 0]))


def exact(encoding: str, decode_heatmaps: Decode, held_out: HeldOut) -> dict[str, float]:
    """The figures of a network whose heatmaps are the targets: what encode and decode lose between them."""
    found = {}
    for data, pictures in held_out.items():
        people = [(picture, person) for picture in pictures for person in picture.people]
        keypoints = np.stack([_through_the_heatmaps(person, encoding, decode_heatmaps) for _, person in people])
        corners = np.stack([person.box for _, person in people])
        boxes = np.ones((len(people), 6))
        boxes[:, :2], boxes[:, 2:4] = boxes_to_center_scale(corners, MODEL.input_size)
        image_ids = np.array([picture.image_id for picture, _ in people])
        found[data] = Predictions(keypoints, boxes, image_ids, np.arange(len(people)))
    return figures(found, held_out)


def _through_the_heatmaps(person: Person, encoding: str, decode_heatmaps: Decode) -> FloatArray:
    """Someone's keypoints [K, 3] in the frame after encode and decode."""
    assert person.joints is not None
    width, height = MODEL.input_size
    centers, scales = boxes_to_center_scale(person.box[None], MODEL.input_size)
    matrix = crop_matrix(centers[0], scales[0], MODEL.input_size)
    joints = person.joints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    visible = np.minimum(person.joints[:, 2], 1)
    heatmaps, _ = encode(
        joints, visible, (width, height), (width // 4, height // 4), MODEL.sigma, encoding == "unbiased"
    )
    points, scores = decode_heatmaps(torch.from_numpy(heatmaps[None]))
    frame = transform_points(4 * points.numpy(), crop_to_frame(centers, scales, MODEL.input_size))
    return np.concatenate((frame[0], scores[0].numpy()[:, None]), 1)


def print_table(rows: dict[tuple[str, str], list[dict[str, float]]]) -> None:
    """One line a combination: the mean over the seeds and, of several, their standard deviation; shares times 100."""
    names = list(next(iter(rows.values()))[0])
    print(f"{'targets, decode':<32}" + "".join(f"{name.replace('coco_train', 'COCO'):>18}" for name in names))
    for (encoding, decoding), runs in rows.items():
        cells = [_cell([run[name] * (1 if name.endswith("error") else 100) for run in runs]) for name in names]
        print(f"{f'{encoding}, {decoding}':<32}" + "".join(f"{cell:>18}" for cell in cells))


def _cell(values: Sequence[float]) -> str:
    spread = f" +- {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def main() -> None:
    """Train what is missing, and print and write the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="checkpoint that both start from (the one that ships)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--encodings", nargs="+", choices=ENCODINGS, default=list(ENCODINGS))
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    for seed in options.seeds:
        for encoding in options.encodings:
            out = options.out / f"{encoding}{seed}"
            train(options.data, out, encoding, seed, options.epochs, options.init, options.device)
    held_out = {name: labelled(numbered(split(options.data / name, True))) for name in ("coco_train", "lspet")}
    rows: dict[tuple[str, str], list[dict[str, float]]] = {}
    for encoding in ENCODINGS:
        for seed in options.seeds:
            if (options.out / f"{encoding}{seed}" / "best.pt").exists():
                network = MODEL.build()
                load_checkpoint(network, options.out / f"{encoding}{seed}" / "best.pt")
                manifest = pose_manifest(MODEL, KEYPOINT_THRESHOLD, "float32", flip_test=True)
                engine = PoseEngine(network.to(options.device), manifest, MODEL.kernel)
                for name, row in measured(lambda d, engine=engine: DecodedBy(engine, d), held_out).items():  # type: ignore[misc]
                    rows.setdefault((encoding, name), []).append(row)
    for encoding in ENCODINGS:
        for name, decode_heatmaps in DECODES.items():
            rows[f"exact {encoding}", name] = [exact(encoding, decode_heatmaps, held_out)]
    print_table(rows)
    report = [{"targets": key[0], "decode": key[1], "runs": runs} for key, runs in rows.items()]
    (options.out / "dark_effect.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
