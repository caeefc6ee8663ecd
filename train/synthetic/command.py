"""`python -m train synthesize`: pictures of synthetic people with exactly known keypoints, in COCO layout."""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from pipeline.skeletons import COCO
from pipeline.types import Image
from train.datasets.files import read_json, write_json
from train.datasets.pictures import Picture
from train.synthetic.backgrounds import Backgrounds, person_free
from train.synthetic.bodies import BodyModel
from train.synthetic.people import Crowd
from train.synthetic.render import Renderer
from train.synthetic.scenes import Scenes

ANNOTATIONS = "person_keypoints.json"
LABELS = "labels"  # one file a picture, kept so that an interrupted run can go on
_scenes: Scenes | None = None  # of a worker process


def add_options(command: argparse.ArgumentParser) -> None:
    """The options of the subcommand."""
    command.add_argument("--data", type=Path, required=True, help="folder with coco_train/, for the backgrounds")
    command.add_argument("--out", type=Path, required=True, help="folder for images/ and person_keypoints.json")
    command.add_argument("--count", type=int, default=6000, help="pictures (6000)")
    command.add_argument("--seed", type=int, default=0, help="of the random numbers (0)")
    command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (one a core)")


def run(options: argparse.Namespace) -> int:
    """Make the pictures that are not there yet, then the annotations of all; say how many there are."""
    if options.count < 1 or options.seed < 0 or options.workers < 1:
        raise ValueError(
            f"expected --count and --workers of 1 or more and --seed of 0 or more, got {options.count}, "
            f"{options.workers} and {options.seed}"
        )
    backgrounds = person_free(options.data / "coco_train")
    for folder in ("images", LABELS):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(options.count) if not _is_there(options.out, number, options.seed)]
    made = _make(missing, backgrounds, options)
    for _ in tqdm(made, "synthesize", total=len(missing), unit="picture", disable=None):
        pass
    people = _gather(options.out, options.count)
    print(f"{options.count} pictures of {people} people: {options.out / ANNOTATIONS}")
    return 0


def scenes_of(backgrounds: Sequence[Picture]) -> Scenes:
    """What makes the pictures. Raises ValueError or OSError where a library that it needs is missing."""
    return Scenes(Crowd(BodyModel()), Renderer(), Backgrounds(backgrounds))


def _make(missing: Sequence[int], backgrounds: Sequence[Picture], options: argparse.Namespace) -> Iterator[None]:
    """Make pictures, by processes where there are several; yields after each."""
    jobs = [(options.out, number, options.seed) for number in missing]
    if not jobs:
        return
    if options.workers == 1 or len(jobs) < 10:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        scenes = scenes_of(backgrounds)
        try:
            for job in jobs:
                _write(scenes, *job)
                yield
        finally:
            torch.set_num_threads(threads)
        return
    scenes_of(backgrounds)  # a missing library is said once, and anny's cache is written by one process
    context = multiprocessing.get_context("spawn")
    with context.Pool(options.workers, _start_worker, (backgrounds,)) as pool:
        yield from pool.imap_unordered(_work, jobs, chunksize=4)


def _start_worker(backgrounds: Sequence[Picture]) -> None:
    global _scenes
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _scenes = scenes_of(backgrounds)


def _work(job: tuple[Path, int, int]) -> None:
    assert _scenes is not None
    _write(_scenes, *job)


def _name(number: int) -> str:
    return f"{number:06d}.jpg"


def _label(folder: Path, number: int) -> Path:
    return folder / LABELS / f"{number:06d}.json"


def _is_there(folder: Path, number: int, seed: int) -> bool:
    """Whether a picture was made before. Raises ValueError if it was with another seed."""
    path = _label(folder, number)
    if not path.is_file() or not (folder / "images" / _name(number)).is_file():
        return False
    found = read_json(path, "the labels of a synthetic picture").get("seed")
    if found != seed:
        raise ValueError(f"{folder} holds pictures of seed {found}, not {seed}: give another --out, or --seed {found}")
    return True


def _write(scenes: Scenes, folder: Path, number: int, seed: int) -> None:
    """Make a picture and its labels; the labels come last, so what has them is whole."""
    rng = np.random.default_rng([seed, number])
    picture, people = scenes.picture(rng)
    _write_jpeg(folder / "images" / _name(number), picture, int(rng.integers(55, 96)))
    height, width = picture.shape[:2]
    write_json(_label(folder, number), {"seed": seed, "width": width, "height": height, "people": people})


def _write_jpeg(path: Path, picture: Image, quality: int) -> None:
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(encoded.tobytes())
    os.replace(temporary, path)


def _gather(folder: Path, count: int) -> int:
    """Write the annotations of all pictures in COCO layout; how many people they have."""
    images, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    for number in range(count):
        label = read_json(_label(folder, number), "the labels of a synthetic picture")
        size = {"width": label["width"], "height": label["height"]}
        images.append({"id": number + 1, "file_name": _name(number), **size, "all_people_boxed": True})
        for row in label["people"]:
            rows.append({"id": len(rows) + 1, "image_id": number + 1, "category_id": 1, **row})
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO.keypoint_names)}]
    info = {"description": "synthetic people, COCO-17 layout"}
    write_json(folder / ANNOTATIONS, {"info": info, "images": images, "annotations": rows, "categories": categories})
    return len(rows)
