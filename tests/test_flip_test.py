"""The flip test inside the graph: the reference's heatmaps and keypoints, in every precision a file can have."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx.utils import Extractor

from engines.compose import MEAN, STD, add_flip_test, compose_pose
from engines.engine import open_engine, read_manifest
from pipeline.affine import crop_people
from pipeline.detector import PersonDetector
from pipeline.skeletons import COCO, skeleton_from
from pipeline.types import Image
from tests.helpers import REPOSITORY, golden_inputs, golden_path, pose_manifest, short_steps
from tests.tiny_networks import detector_file, pose_file, pose_network
from train.dark import decode
from train.edge import EdgePose
from train.export import export_decode, pose_model, with_flip_test
from train.export import pose_manifest as pose_manifest_of
from train.torch_engine import PoseEngine, flip_merge
from train.zoo import build_network, zoo_model

Array = npt.NDArray[Any]


def between(model: onnx.ModelProto, start: str, *ends: str) -> onnx.ModelProto:
    """The part of a composed file from one tensor to others."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    known = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.value_info)}
    shapes = dict.fromkeys(ends) | {start: ["N", "h", "w", 3]}
    opened.graph.value_info.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
        if name not in known
    )
    return Extractor(opened).extract_model([start], list(ends))


def positive_round_the_peak(heatmaps: Array) -> Array:
    """Which of the maps [1, K, H, W] are positive, once blurred, in all that the decode's step reads.

    Elsewhere the step hangs on the maximum of the whole blurred map, which some engines find in bfloat16.
    """
    found = []
    for heatmap in heatmaps.reshape(-1, *heatmaps.shape[2:]):
        y, x = np.unravel_index(heatmap.argmax(), heatmap.shape)
        blurred = cv2.GaussianBlur(np.pad(heatmap, 5), (11, 11), 0)[5:-5, 5:-5]
        found.append(blurred[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].min() > 0)
    return np.array(found).reshape(heatmaps.shape[:2])


def openvino_run(model: onnx.ModelProto, image: Array, folder: Path) -> list[Array]:
    import openvino as ov

    onnx.save(model, folder / "part.onnx")
    compiled = ov.Core().compile_model(folder / "part.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([image])
    return [found[value.name] for value in model.graph.output]


def onnxruntime_run(model: onnx.ModelProto, image: Array, folder: Path) -> list[Array]:
    name = model.graph.input[0].name
    found: list[Array] = ort.InferenceSession(model.SerializeToString()).run(None, {name: image})
    return found


@pytest.mark.parametrize("name", ["res50_256x192", "hrnet_w32_256x192"])
def test_the_graph_gives_the_reference_s_flip_test(name: str, tmp_path: Path) -> None:
    golden, regen = np.load(golden_path("network.npz")), golden_inputs()
    network = build_network(f"coco_{name}")
    network.load_state_dict(
        {key: torch.from_numpy(regen.fill(key, value.shape)) for key, value in network.state_dict().items()}
    )
    model = pose_model(network, zoo_model(f"coco_{name}"), precision="float32", flip_test=True)
    # The reference's input is no picture of bytes: it enters behind the cast, as what the normalisation makes it of.
    part = between(model, "normalise/bgr", "flip/heatmaps", "keypoints", "scores")
    rgb = regen.net_input(1, 256, 192).transpose(0, 2, 3, 1) * STD + MEAN
    image = np.ascontiguousarray(255 * rgb[..., ::-1], np.float32)
    (cx, cy, sx, sy, *_), expected = golden[f"{name}/flip_boxes"][0], golden[f"{name}/flip_preds"][0]
    for run in (onnxruntime_run, openvino_run):
        heatmaps, keypoints, scores = run(part, image, tmp_path)
        np.testing.assert_allclose(heatmaps[0, [0, 8, 16]], golden[f"{name}/flip_heat"], rtol=1e-4, atol=2e-4)
        np.testing.assert_allclose(heatmaps[0].sum((1, 2)), golden[f"{name}/flip_sum"], rtol=1e-4, atol=0.1)
        in_picture = keypoints[0] / (192, 256) * (200 * sx, 200 * sy) + (cx - 100 * sx, cy - 100 * sy)
        sane = short_steps(keypoints / 4, heatmaps, longest=5)[0]
        assert sane.sum() > 12
        np.testing.assert_allclose(in_picture[sane], expected[sane, :2], atol=1e-3)
        np.testing.assert_allclose(scores[0], expected[:, 2], rtol=1e-4, atol=2e-4)


MODELS = REPOSITORY / "models"


def crops(count: int, height: int = 64, width: int = 48) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("file", ["edge_coco_256x192.onnx", "edge_coco_256x192_int8.onnx"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_inside_equals_outside_for_the_shipped_files(file: str, runtime: str, tmp_path: Path) -> None:
    """float16-stored and int8 networks: the merge of what the file gives for crops and their mirror images."""
    model = onnx.load(MODELS / file)
    run = {"onnxruntime": onnxruntime_run, "openvino": openvino_run}[runtime]
    pictures = clip_people()
    part = between(model, "crops", "whole_heatmaps")
    upright, mirrored = (torch.from_numpy(run(part, side, tmp_path)[0]) for side in both_sides(pictures))
    merged = flip_merge(upright, mirrored, COCO.flip_order)
    points, scores = decode(merged, 11)
    onnx.save(with_flip_test(model), tmp_path / "flip.onnx")
    found = open_engine(tmp_path / "flip.onnx", runtime, "float32")({"crops": pictures})
    # The files make chances of the peaks' heights, both the same.
    tail = between(onnx.load(MODELS / "edge_coco_256x192.onnx"), "whole_heatmaps", "scores")
    chances = onnxruntime_run(tail, merged.numpy(), tmp_path)[0]
    np.testing.assert_allclose(found["scores"], chances, atol=1e-4)
    sane = short_steps(points.numpy(), merged.numpy(), longest=1.0) & (scores.numpy() > 0.1)
    assert sane.sum() > 40
    np.testing.assert_allclose(found["keypoints"][sane], points.numpy()[sane] * 4, atol=0.01)


def clip_people() -> npt.NDArray[np.uint8]:
    """Crops of people [N, 256, 192, 3] BGR from the demonstration clip."""
    video = cv2.VideoCapture(str(REPOSITORY / "assets" / "demo.mp4"))
    frame: Image = video.read()[1].astype(np.uint8)
    video.release()
    people = PersonDetector(open_engine(MODELS / "person_detector.onnx"))(frame)
    return crop_people(frame, people.boxes, (192, 256))[0]


def both_sides(pictures: npt.NDArray[np.uint8]) -> tuple[Array, Array]:
    return pictures, np.ascontiguousarray(pictures[:, :, ::-1])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_any_number_of_crops(runtime: str, tmp_path: Path) -> None:
    model = with_flip_test(onnx.load(pose_file(tmp_path, largest_batch=5)))
    onnx.save(model, tmp_path / "flip.onnx")
    engine = open_engine(tmp_path / "flip.onnx", runtime, "float32")
    assert engine.manifest.flip_test and engine.manifest.largest_batch == 2
    together = engine({"crops": crops(5)})
    for row in range(5):
        alone = engine({"crops": crops(5)[row : row + 1]})
        np.testing.assert_array_equal(together["keypoints"][row], alone["keypoints"][0])
    assert engine({"crops": crops(0)})["keypoints"].shape == (0, 17, 2)


def test_the_merge_stays_float32_where_the_network_is_bfloat16(tmp_path: Path) -> None:
    import openvino as ov

    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    model = compose_pose(pose_network(), export_decode(17, (12, 16), 11), pose_manifest())
    onnx.save(between(model, "crops", "whole_heatmaps"), tmp_path / "heatmaps.onnx")
    both = np.concatenate(both_sides(crops(8)))
    settings = {"INFERENCE_PRECISION_HINT": "bf16"}
    (heatmaps,) = ov.Core().compile_model(tmp_path / "heatmaps.onnx", "CPU", settings)({"crops": both}).values()
    upright, mirrored = torch.from_numpy(heatmaps).chunk(2)
    merged = flip_merge(upright, mirrored, COCO.flip_order)
    points, scores = decode(merged, 11)
    onnx.save(with_flip_test(model), tmp_path / "flip.onnx")
    found = open_engine(tmp_path / "flip.onnx", "openvino", "bfloat16")({"crops": crops(8)})
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-6)
    steady = short_steps(points.numpy(), merged.numpy()) & positive_round_the_peak(merged.numpy())
    assert steady.sum() > 50
    np.testing.assert_allclose(found["keypoints"][steady], points.numpy()[steady] * 4, atol=4e-4)


def test_pytorch_and_the_exported_file_agree(tmp_path: Path) -> None:
    """Of a skeleton of a user's own, with the flip test."""
    pen = skeleton_from({
        "name": "pen", "keypoint_names": ["tip", "left_clip", "right_clip"], "oks_sigmas": [0.1] * 3,
        "flip_pairs": [["left_clip", "right_clip"]],
    })  # fmt: skip
    row = replace(zoo_model("edge_coco_256x192"), input_size=(64, 96)).for_data("pens", pen)
    torch.manual_seed(0)
    network = row.build()
    assert isinstance(network, EdgePose)
    torch.nn.init.normal_(network.final.weight, std=0.3)
    onnx.save(pose_model(network, row, precision="float32", flip_test=True), tmp_path / "pens.onnx")
    file = open_engine(tmp_path / "pens.onnx", "onnxruntime")
    engine = PoseEngine(network, pose_manifest_of(row, 0.2, "float32", flip_test=True), row.kernel)
    assert file.manifest.name == "pens_edge_96x64" and file.manifest.skeleton == engine.manifest.skeleton
    found, expected = (one({"crops": crops(7, 96, 64)}) for one in (file, engine))
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-4, atol=1e-5)
    sane = short_steps(expected["keypoints"] / 4, engine.heatmaps(crops(7, 96, 64)).numpy(), longest=1.0)
    assert sane.sum() > 7
    np.testing.assert_allclose(found["keypoints"][sane], expected["keypoints"][sane], atol=0.01)
    with pytest.raises(ValueError, match=r"'crops' is uint8 \[any, 96, 64, 3\], got uint8 \[1, 64, 48, 3\]"):
        engine({"crops": crops(1)})


def test_files_that_cannot_take_the_flip_test(tmp_path: Path) -> None:
    model = onnx.load(pose_file(tmp_path))
    with pytest.raises(ValueError, match="'tiny_pose' has the flip test already"):
        with_flip_test(with_flip_test(model))
    with pytest.raises(ValueError, match="'tiny_detector' is no pose network"):
        with_flip_test(onnx.load(detector_file(tmp_path)))
    with pytest.raises(ValueError, match="wants the 17 keypoints in another order, got \\[1, 0\\]"):
        add_flip_test(model, read_manifest(tmp_path / "pose.onnx"), [1, 0])
