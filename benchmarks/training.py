"""Samples a second that networks train at, from JPEG files to the optimiser's step, with the recipe of each.

    python benchmarks/training.py [NAME ...] [--batch 16] [--steps 10] [--workers 0] [--device cpu] [--float32]

The pictures are drawn, 640x480 px like COCO's; two steps before the timed ones warm up. Weights are random.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.types import Skeleton
from train.datasets.data_file import DataSet
from train.datasets.pictures import Person, Picture
from train.distributed import joined
from train.recipes import recipe_of
from train.sampling import Batch
from train.tasks import PoseTask
from train.training import Training
from train.zoo import zoo_model

MODELS = ("edge_coco_256x192", "coco_res50_256x192", "coco_hrnet_w32_256x192")
PICTURES, SIZE, WARM_UP = 64, (640, 480), 2


def drawn_people(folder: Path, skeleton: Skeleton, people: int) -> DataSet:
    """A data set of that many people, a few of them in each of the pictures, which are noise."""
    random = np.random.default_rng(0)
    pictures = []
    for number in range(PICTURES):
        small = random.integers(0, 256, (SIZE[1] // 8, SIZE[0] // 8, 3), np.uint8)
        file = folder / f"{number}.jpg"
        cv2.imwrite(str(file), cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC))
        rows = []
        for row in range(-(-people // PICTURES)):
            x, y = random.uniform((0, 0), (440, 180))
            joints = np.full((len(skeleton), 3), 2, np.float32)
            joints[:, :2] = random.uniform((x, y), (x + 200, y + 300), (len(skeleton), 2))
            box = np.array([x, y, x + 200, y + 300])
            rows.append(Person(row, box, joints, False, 60000.0, "labelled"))
        pictures.append(Picture(number, file, *SIZE, True, tuple(rows)))
    return DataSet("drawn", skeleton, [(pictures, 1.0)], pictures[:1], pictures[:1], folder / "none.json")


def batches(training: Training) -> Iterator[Batch]:
    """Batch after batch, epoch after epoch."""
    for epoch in count():
        yield from training.loader.batches(epoch)


def measure(name: str, folder: Path, options: argparse.Namespace) -> tuple[int, float, float]:
    """(samples a step, samples a second in the median step, and in the fastest) of a model."""
    model = zoo_model(name)
    recipe = recipe_of(model)
    recipe = replace(
        recipe,
        schedule=replace(recipe.schedule, mixed_precision=not options.float32),
        batch=options.batch or recipe.batch,
    )
    with joined(options.device) as (processes, device):
        data = drawn_people(folder, model.skeleton, max(PICTURES, 4 * recipe.batch))
        training = Training(PoseTask(model, data, recipe, options.workers), recipe.schedule, device, processes)
        training.network.train()
        given = batches(training)
        seconds = []
        for _ in range(WARM_UP + options.steps):
            start = time.perf_counter()
            training.step(next(given)).item()
            seconds.append(time.perf_counter() - start)
    timed = seconds[WARM_UP:]
    return recipe.batch, recipe.batch / statistics.median(timed), recipe.batch / min(timed)


def main() -> None:
    """Prints one row for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="NAME", help=" ".join(MODELS))
    parser.add_argument("--batch", type=int, help="samples a step (the recipe's)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps (10)")
    parser.add_argument("--workers", type=int, default=0, help="data processes (0: in turn with the network)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--float32", action="store_true", help="no mixed precision")
    options = parser.parse_args()
    print("model | device | precision | batch | samples/s, median step | fastest")
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            batch, median, fastest = measure(name, Path(folder), options)
        precision = "float32" if options.float32 else "bfloat16"
        print(f"{name} | {options.device} | {precision} | {batch} | {median:.1f} | {fastest:.1f}", flush=True)


if __name__ == "__main__":
    main()
