"""What all peers are given: the same decoded frames, the same boxes, one person's part of the picture, the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from apps.command_line import MODELS, POSE, default_detector
from apps.stage_times import given_boxes
from calib.quantize import quantize
from engines.compose import manifest_of
from pipeline.affine import crop_people
from pipeline.pose_pipeline import Networks
from pipeline.sources import open_source
from pipeline.stats import StageStats
from pipeline.types import FloatArray, Frame, Image, Poses
from train.checkpoints import model_entry
from train.export import export_pose_network, pose_model
from train.loop import normalise
from train.models import load_pose_model
from train.zoo import zoo_model

FRAMES = 20  # are decoded for the pose stage: they stay in memory
LONGEST = 400  # frames in which a person is sought for the pictures of one
HRNET, EDGE = "coco_hrnet_w32_256x192", "edge_coco_256x192"
SURROUNDINGS = 1.8  # of a person: side of the square that one person is shown in
SETTLING = 32  # crops from which the untrained network takes its statistics


@dataclass(frozen=True)
class NetworkFiles:
    """One network in every form: ours, ours in int8, PyTorch's weights, and as plain ONNX for BGR pictures.

    trained: whether its keypoints mean anything.
    """

    ours: Path
    int8: Path
    checkpoint: Path
    plain: Path
    trained: bool = True


def make_pictures(video: str, people: Sequence[int], out: Path) -> None:
    """frames.npy, boxes_N.npy and person.npy of a clip, as peers_runners.protocol.Job has them."""
    source = open_source(video)
    networks = Networks(default_detector(), POSE, StageStats())
    pipeline = networks.pipeline(source)
    frames = [frame for frame, _ in zip(source.frames(), range(LONGEST), strict=False)]
    source.close()
    shown = frames[:: max(1, len(frames) // FRAMES)][:FRAMES]
    np.save(out / "frames.npy", np.stack([frame.image for frame in shown]))
    found = [networks.detector(frame.image).boxes for frame in shown]
    for count in people:
        boxes = [given_boxes(some, count, frame.image.shape) for some, frame in zip(found, shown, strict=True)]
        np.save(out / f"boxes_{count}.npy", np.stack(boxes))
    np.save(out / "person.npy", one_person(frames, [pipeline(frame) for frame in frames]))


def one_person(frames: Sequence[Frame], poses: Sequence[Poses]) -> Image:
    """The surroundings, uint8 [F, s, s, 3], of a person who is alone in them for the most frames in a row.

    poses: those of each frame, with ids. The side s is 1.8 times the person's largest height. Raises ValueError where
    nobody is found.
    """
    best: list[Image] = []
    for track in sorted({int(track) for found in poses for track in found.track_ids}):
        rows = [np.flatnonzero(found.track_ids == track) for found in poses]
        heights = [float(found.boxes[row[0], 3] - found.boxes[row[0], 1])
                   for found, row in zip(poses, rows, strict=True) if len(row)]  # fmt: skip
        side = min(*frames[0].image.shape[:2], round(SURROUNDINGS * max(heights)))
        alone: list[Image] = []
        for frame, found, row in zip(frames, poses, rows, strict=True):
            corner = _corner(frame.image, found.boxes[row[0]], side) if len(row) else None
            if corner is None or _others(found, corner, side) > 0:
                alone = []
                continue
            left, top = corner
            alone = [*alone, frame.image[top : top + side, left : left + side]]
            best = max(best, alone, key=len)
    if not best:
        raise ValueError("nobody is alone in any part of the clip: give one with people apart from each other")
    return np.stack(best)


def _corner(image: Image, box: FloatArray, side: int) -> tuple[int, int]:
    """Left and top of the square of that side round the box's middle, moved into the picture."""
    height, width = image.shape[:2]
    left, top = (round(float(box[axis] + box[axis + 2] - side) / 2) for axis in (0, 1))
    return int(np.clip(left, 0, width - side)), int(np.clip(top, 0, height - side))


def _others(found: Poses, corner: tuple[int, int], side: int) -> int:
    """How many people besides the first reach into the square."""
    inside = (found.boxes[:, :2] < np.array(corner) + side) & (found.boxes[:, 2:] > np.array(corner))
    return int(inside.all(1).sum()) - 1


def make_networks(inputs: Path, weights: Path | None) -> dict[str, NetworkFiles]:
    """HRNet-W32 with these weights (none: untrained), and the edge network as shipped, in every form.

    What an earlier call has made of the same weights stays.
    """
    hrnet, edge = _files(inputs / f"{HRNET}.pt", inputs), _files(MODELS / f"{EDGE}.pt", inputs)
    shipped = replace(edge, ours=MODELS / f"{EDGE}.onnx", int8=MODELS / f"{EDGE}_int8.onnx")
    made_of = "untrained" if weights is None else f"{weights.resolve()} {weights.stat().st_mtime}"
    done = inputs / "networks.txt"
    if not done.is_file() or done.read_text(encoding="utf-8") != made_of:
        crops = _crops(inputs)
        network = untrained(crops) if weights is None else load_pose_model(HRNET, weights).network
        torch.save({"network": network.state_dict(), "model": model_entry(zoo_model(HRNET))}, hrnet.checkpoint)
        _write_ours(hrnet, crops)
        _write_plain(hrnet)
        _write_plain(shipped)
        done.write_text(made_of, encoding="utf-8")
    return {"HRNet-W32 256x192": replace(hrnet, trained=weights is not None), "our edge network 256x192": shipped}


def untrained(crops: Image) -> nn.Module:
    """HRNet-W32 with random weights, whose batch normalisations know the crops: values as large as a trained one's."""
    torch.manual_seed(0)
    network = zoo_model(HRNET).build()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # The mean of all that is seen.
    with torch.no_grad():
        for part in torch.from_numpy(crops[:SETTLING]).split(8):
            network.train()(normalise(part))
    return network.eval()


def _files(checkpoint: Path, out: Path) -> NetworkFiles:
    stem = out / checkpoint.stem
    return NetworkFiles(Path(f"{stem}.onnx"), Path(f"{stem}_int8.onnx"), checkpoint, Path(f"{stem}_plain.onnx"))


def _write_ours(files: NetworkFiles, calibration: Image) -> None:
    """The composed file and its int8 copy."""
    loaded = load_pose_model(None, files.checkpoint)
    model = pose_model(loaded.network, loaded.model)
    onnx.save(model, files.ours)
    onnx.save(quantize(model, manifest_of(model), [crop[None] for crop in calibration]), files.int8)


def _write_plain(files: NetworkFiles) -> None:
    """The network alone, from normalised BGR to heatmaps."""
    loaded = load_pose_model(None, files.checkpoint)
    _take_bgr(loaded.network)
    onnx.save(export_pose_network(loaded.network, loaded.model.input_size), files.plain)


def _take_bgr(network: nn.Module) -> None:
    """Turn the first convolution round: what the network said of RGB it now says of BGR."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        first.weight.copy_(first.weight.flip(1))


def _crops(inputs: Path) -> Image:
    """Up to 100 crops of the people in the frames, uint8 [N, 256, 192, 3] BGR."""
    frames = np.load(inputs / "frames.npy")
    boxes = np.load(max(inputs.glob("boxes_*.npy"), key=lambda path: int(path.stem.split("_")[1])))
    crops = [crop_people(image, some, (192, 256))[0] for image, some in zip(frames, boxes, strict=True)]
    return np.concatenate(crops)[:100]
