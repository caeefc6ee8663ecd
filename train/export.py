"""From a checkpoint to the self-contained ONNX file that every engine is made of."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from engines.compose import add_flip_test, compose_detector, compose_pose, manifest_of
from engines.manifest import Manifest
from engines.precision import store_float16
from pipeline.skeletons import definition_of, skeleton_from
from train.dark import DarkDecode
from train.detector import BoxesAndScores, PersonDetectorNetwork
from train.inverted_residual import same_padding
from train.score_calibration import CalibratedDecode, Calibration
from train.zoo import ZooModel

OPSET = 17
MODELS = Path(__file__).resolve().parent.parent / "models"  # the files that ship
EDGE_NAME, LARGE_EDGE_NAME = "edge_coco_256x192", "coco_edge_large_256x192"
DETECTOR_NAME = "person_detector"
DETECTOR_SIDE = 448
LARGEST_POSE_BATCH = 32
KEYPOINT_THRESHOLD = 0.2
STRIDE = 4  # of all pose networks: input px a heatmap px


def pose_manifest(model: ZooModel, score_threshold: float, precision: str, flip_test: bool = False) -> Manifest:
    """The manifest of a pose network; score_threshold is the least score of a keypoint to be drawn."""
    return Manifest(
        model.name,
        "pose",
        "crops",
        model.input_size,
        definition_of(model.skeleton),
        precision,
        LARGEST_POSE_BATCH,
        score_threshold,
        _versions(),
        "",
        flip_test,
    )


def detector_manifest(side: int, score_threshold: float, precision: str) -> Manifest:
    """The manifest of the person detector; side is the longest side of its input in px."""
    versions = _versions()
    size = (side, side)
    return Manifest(
        DETECTOR_NAME, "person_detector", "crops", size, None, precision, 1, score_threshold, versions, ""
    )  # fmt: skip


def export_pose_network(network: nn.Module, input_size: tuple[int, int]) -> onnx.ModelProto:
    """image float32 [N, 3, h, w], normalised RGB -> heatmaps [N, K, h/4, w/4]; N is free."""
    width, height = input_size
    image = torch.zeros(2, 3, height, width)
    axes = {"image": {0: "N"}, "heatmaps": {0: "N"}}
    return _to_onnx(network, image, ["image"], ["heatmaps"], axes)


def export_decode(
    keypoints: int, heatmap_size: tuple[int, int], kernel: int, calibration: Calibration | None = None
) -> onnx.ModelProto:
    """heatmaps float32 [N, K, H, W] -> points [N, K, 2] heatmap px, scores [N, K]; N is free.

    Scores are the heights of the peaks, or with a calibration the chances that it makes of them.
    """
    width, height = heatmap_size
    heatmaps = torch.rand(2, keypoints, height, width)
    axes = {name: {0: "N"} for name in ("heatmaps", "points", "scores")}
    decode: nn.Module = DarkDecode(kernel)
    if calibration is not None:
        decode = CalibratedDecode(decode, calibration)
    return _to_onnx(decode, heatmaps, ["heatmaps"], ["points", "scores"], axes)


def export_detector_network(network: PersonDetectorNetwork, side: int) -> onnx.ModelProto:
    """image float32 [1, 3, h, w], normalised RGB -> boxes [1, A, 4] px, scores [1, A]; h and w multiples of 32."""
    image = torch.zeros(1, 3, side, side)
    axes = {"image": {2: "h", 3: "w"}, "boxes": {1: "A"}, "scores": {1: "A"}}
    return _to_onnx(BoxesAndScores(network), image, ["image"], ["boxes", "scores"], axes)


def pose_model(
    network: nn.Module,
    model: ZooModel,
    threshold: float = KEYPOINT_THRESHOLD,
    precision: str = "float16",
    flip_test: bool = False,
    calibration: Calibration | None = None,
) -> onnx.ModelProto:
    """crops uint8 [N, h, w, 3] BGR -> keypoints [N, K, 2] crop px, scores [N, K]; weights stored in `precision`.

    calibration: what makes chances of the scores; None: they are the heights of the heatmaps' peaks.
    """
    width, height = model.input_size
    exported = export_pose_network(network, model.input_size)
    if precision == "float16":
        exported = store_float16(exported)
    decode = export_decode(len(model.skeleton), (width // STRIDE, height // STRIDE), model.kernel, calibration)
    manifest = pose_manifest(model, threshold, precision)
    composed = compose_pose(exported, decode, manifest)
    return with_flip_test(composed) if flip_test else composed


def with_flip_test(model: onnx.ModelProto) -> onnx.ModelProto:
    """A composed pose file with the flip test inside. Raises ValueError for one that has it or is no pose network."""
    manifest = manifest_of(model)
    order = skeleton_from(manifest.skeleton).flip_order if manifest.skeleton is not None else []
    return add_flip_test(model, manifest, order)


def detector_model(network: PersonDetectorNetwork, side: int, threshold: float) -> onnx.ModelProto:
    """crops uint8 [1, h, w, 3] BGR -> boxes [M, 4] px of the input, scores [M]; weights stored as float16."""
    exported = store_float16(export_detector_network(network, side))
    return compose_detector(exported, detector_manifest(side, threshold, "float16"))


def _to_onnx(
    module: nn.Module, example: Tensor, inputs: list[str], outputs: list[str], axes: dict[str, Any]
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # The TorchScript exporter announces its successor and every traced shape.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            buffer,  # type: ignore[arg-type]
            input_names=inputs,
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    return fold_padding(onnx.load_from_string(buffer.getvalue()))


def fold_padding(model: onnx.ModelProto) -> onnx.ModelProto:
    """The zeros that `SameConv2d` pads with become the convolution's own padding, as all runtimes like it best."""
    pads = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Pad"}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[0] in pads:
            own = {attribute.name: attribute.ints for attribute in node.attribute}
            before, after = same_padding(own["kernel_shape"][0], own["strides"][0])
            own["pads"][:] = [before, before, after, after]
            node.input[0] = pads[node.input[0]]
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    return model


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "onnx": onnx.__version__, "opset": str(OPSET)}
