"""int8 by explicit Q/DQ: what is quantised, what stays float, and that the file still gives the answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

pytest.importorskip("nncf", reason="nncf is not installed: pip install -e '.[calib]'")

from calib import sensitivity
from calib.crops import calibrated_and_measured, detector_frames, folder_pictures, pose_crops
from calib.methods import METHODS, kept_bins
from calib.quantize import Form, quantize
from calib.sensitivity import SwitchedNetwork
from engines.compose import MEAN, STD, manifest_of
from engines.engine import open_engine, read_manifest
from engines.onnx_facts import calibration_of
from pipeline.detector import PersonDetector
from pipeline.pose import PoseEstimator
from tests.helpers import REPOSITORY, FakeEngine, pose_manifest
from tests.tiny_data import squares_folder
from tests.tiny_networks import HEIGHT, WIDTH, detector_file, layered_pose_model
from train.datasets.coco_layout import held_out
from train.datasets.pictures import Person, Picture
from train.edge import EdgePose
from train.export import pose_model
from train.layers import with_outputs
from train.loop import normalise
from train.parity import HEATMAPS
from train.zoo import zoo_model

SIZE = (64, 64)


def noise(count: int, height: int, width: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (1, height, width, 3), np.uint8) for _ in range(count)]


def pose_file(path: Path) -> Path:
    torch.manual_seed(0)
    network = EdgePose()
    torch.nn.init.normal_(network.final.weight, std=0.3)
    onnx.save(pose_model(network, replace(zoo_model("edge_coco_256x192"), input_size=SIZE)), path)
    return path


def convolutions(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Names of the convolutions whose inputs are dequantised, if need be before they are joined, and of the others."""
    dequantised: set[str] = set()
    found: tuple[set[str], set[str]] = (set(), set())
    for node in model.graph.node:
        hands_on = node.op_type in ("Concat", "MaxPool") and dequantised.issuperset(node.input)
        if hands_on or node.op_type == "DequantizeLinear":
            dequantised.update(node.output)
        if node.op_type == "Conv":
            found[not dequantised.issuperset(node.input[:2])].add(node.name)
    return found


def test_all_convolutions_but_the_last_are_int8_and_the_maxima_nearly_the_same(tmp_path: Path) -> None:
    """Random weights use their whole range, which CPUs without VNNI cannot add up: here they use half of it."""
    path = pose_file(tmp_path / "pose.onnx")
    model = quantize(onnx.load(path), read_manifest(path), noise(16, *SIZE), form=Form(half_range=True))
    int8, float32 = convolutions(model)
    assert float32 == {"network//final/Conv", "decode//Conv", "decode//Conv_1"} and len(int8) > 40
    decode = [node for node in model.graph.node if node.name.startswith("decode/")]
    assert decode and not any("QuantizeLinear" in node.op_type for node in decode)
    onnx.save(model, tmp_path / "int8.onnx")
    manifest = read_manifest(tmp_path / "int8.onnx")
    assert manifest.precision == "int8" and "nncf" in manifest.versions
    crops = np.concatenate(noise(4, *SIZE))
    for runtime in ("openvino", "onnxruntime"):
        before = open_engine(path, runtime, "float32" if runtime == "openvino" else "auto")({"crops": crops})
        after = open_engine(tmp_path / "int8.onnx", runtime)({"crops": crops})
        error = np.abs(after["scores"] - before["scores"]).mean()
        assert error < 0.03 * np.abs(before["scores"]).mean()


@pytest.mark.parametrize(("half_range", "largest"), [(False, 127), (True, 64)])
def test_half_of_the_range_leaves_room_for_sums_of_two(half_range: bool, largest: int) -> None:
    """But for the first layer, whose weights NNCF always halves."""
    model = layered(form=Form(half_range=half_range))
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.INT8]
    assert max(int(np.abs(each.astype(int)).max()) for each in weights if each.ndim == 4) == largest


def test_normalisation_is_that_of_the_composed_graph() -> None:
    (crop,) = noise(1, 32, 32)
    rgb = crop[..., ::-1].astype(np.float32) / 255
    expected = ((rgb - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(normalise(torch.from_numpy(crop)).numpy(), expected, atol=1e-5)


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((100, 200, 3), 200, np.uint8))
    box, crowd = np.array([10, 10, 50, 90], np.float32), np.array([0, 0, 200, 100], np.float32)
    people = (Person(1, box, None, False, 1.0, "labelled"), Person(2, crowd, None, True, 1.0, "labelled"))
    return Picture(1, path, 200, 100, True, people)


def test_crops_of_annotated_boxes_leave_out_what_is_to_be_ignored(picture: Picture) -> None:
    crops, used = pose_crops([picture, picture], None, (48, 64), 10)
    assert crops.shape == (2, 64, 48, 3) and crops.max() == 200 and len(used) == 2
    frames = list(detector_frames([picture] * 5, 96, 3))
    assert [frame.shape for frame in frames] == [(1, 64, 96, 3)] * 3


def test_crops_of_found_people_are_those_of_the_pipeline_to_the_bit(tmp_path: Path) -> None:
    folder = squares_folder(tmp_path)
    detector = PersonDetector(open_engine(detector_file(tmp_path)))
    engine = FakeEngine(pose_manifest(), lambda inputs: still_poses(len(inputs["crops"])))
    pipeline = PoseEstimator(engine)
    pictures = folder_pictures(folder)
    crops, used = pose_crops(pictures, detector, (48, 64), 500)
    for picture in used:
        image = picture.read()
        pipeline(image, detector(image).boxes)
    seen = np.concatenate([call["crops"] for call in engine.calls])
    assert len(used) == len(pictures) and len(crops) >= 4
    np.testing.assert_array_equal(crops, seen)
    fewer, looked_at = pose_crops(pictures, detector, (48, 64), 1)
    np.testing.assert_array_equal(fewer, seen[:1])
    assert len(looked_at) == 1


def test_held_out_pictures_are_measured_on_and_never_calibrated_on(tmp_path: Path) -> None:
    name = sorted(held_out("coco_train"))[0]
    paths = [tmp_path / "coco_train" / "images" / name, tmp_path / "coco_train" / "images" / "other.jpg"]
    pictures = [Picture(number, path, 0, 0, False, ()) for number, path in enumerate(paths)]
    calibrated, measured = calibrated_and_measured(pictures)
    assert [picture.path for picture in calibrated] == paths[1:] and [p.path for p in measured] == paths[:1]
    others = [replace(picture, path=tmp_path / picture.path.name) for picture in pictures]
    assert calibrated_and_measured(others) == (others, others)


def still_poses(count: int) -> dict[str, np.ndarray]:
    return {"keypoints": np.zeros((count, 17, 2), np.float32), "scores": np.ones((count, 17), np.float32)}


def layered_inputs(count: int = 6) -> list[np.ndarray]:
    return noise(count, HEIGHT, WIDTH)


def layered(outlier: float = 1.0, **options: Any) -> onnx.ModelProto:
    model = layered_pose_model(outlier)
    return quantize(model, manifest_of(model), layered_inputs(), **options)


def activation_scales(model: onnx.ModelProto) -> list[float]:
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    return [float(numpy_helper.to_array(tensors[node.input[1]]).max()) for node in steps]


def test_methods_choose_other_ranges_and_the_same_ones_each_time() -> None:
    made = {method: activation_scales(layered(method=method)) for method in METHODS}
    assert len({tuple(scales) for scales in made.values()}) == len(METHODS)
    assert all(0 < a <= b * 1.001 for a, b in zip(made["entropy"], made["minmax"], strict=True))
    for method in ("mse", "entropy"):
        again, once = (layered(method=method).SerializeToString(deterministic=True) for _ in range(2))
        assert again == once
    with pytest.raises(ValueError, match="minmax, percentile"):
        layered(method="best")


def test_entropy_gives_up_a_thin_tail_and_nothing_else() -> None:
    body = np.concatenate([np.exp(-np.linspace(0, 6, 512)) * 1e6, np.zeros(1536)])
    tail = body.copy()
    tail[-1] = 1
    assert kept_bins(tail, 128) < 1024
    assert kept_bins(np.full(2048, 100.0), 128) == 2048


def test_the_file_says_what_it_was_calibrated_with() -> None:
    hashes = [
        calibration_of(layered(**options)) for options in ({}, {}, {"method": "mean"}, {"form": Form(signed=True)})
    ]
    assert hashes[0] is not None and hashes[0] == hashes[1] and len(set(hashes)) == 3
    model = layered_pose_model()
    assert calibration_of(quantize(model, manifest_of(model), layered_inputs(3))) not in hashes


def test_signed_files_have_no_uint8() -> None:
    for signed in (False, True):
        model = layered(form=Form(signed=signed))
        tensors = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        kinds = {tensors[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}
        assert (TensorProto.UINT8 in kinds) != signed


def test_the_layer_that_int8_hurts_most_is_named_and_kept_layers_stay_float(tmp_path: Path) -> None:
    model, quantized = layered_pose_model(1000.0), layered(1000.0, method="minmax")
    network = SwitchedNetwork(model, quantized)
    crops = [np.concatenate(layered_inputs(4))]
    costs = network.costs(crops)
    assert costs[0].layer == "network/second" and costs[0].answer > 5 * costs[1].answer
    assert sorted(network.layers) == ["network/first", "network/second", "network/third"]
    kept = layered(1000.0, method="minmax", keep_float=["network/second"])
    assert convolutions(kept) == ({"network/first", "network/third"}, {"network/second", "network/last"})
    with pytest.raises(ValueError, match="no layer network/none"):
        layered(keep_float=["network/none"])


def test_only_convolutions_are_kept_in_float(monkeypatch: pytest.MonkeyPatch) -> None:
    files = (REPOSITORY / "models" / f"person_detector{kind}.onnx" for kind in ("", "_int8"))
    network = SwitchedNetwork(*map(onnx.load, files))
    others = set(network.layers) - set(network.convolutions)
    assert others == {f"network//network/Add{number}" for number in ("", "_1", "_2", "_3")}
    monkeypatch.setattr(sensitivity, "difference", lambda reference, other: (0.0, 0.0))
    monkeypatch.setattr(SwitchedNetwork, "__call__", lambda self, batches, int8: [])
    costs = network.costs([])
    assert {cost.layer for cost in costs} == set(network.layers) - others and len(costs) > 25


def test_all_switches_on_are_the_int8_file_and_all_off_the_float_one(tmp_path: Path) -> None:
    model, quantized = layered_pose_model(), layered()
    network, crops = SwitchedNetwork(model, quantized), np.concatenate(layered_inputs(4))
    for flag, expected in ((True, quantized), (False, model)):
        onnx.save(with_outputs(expected, [HEATMAPS]), tmp_path / "expected.onnx")
        found = open_engine(tmp_path / "expected.onnx", "onnxruntime")({"crops": crops})
        ((heatmaps, _),) = network([crops], np.full(len(network.layers), flag))
        np.testing.assert_allclose(heatmaps, found[HEATMAPS], atol=2e-2 if flag else 1e-5)


def test_layers_are_kept_while_each_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SwitchedNetwork(layered_pose_model(1000.0), layered(1000.0, method="minmax"))
    crops = [np.concatenate(layered_inputs(4))]
    costs = network.costs(crops)
    assert network.fewest(crops, costs) == [], "a tenth of three layers is none"
    monkeypatch.setattr(sensitivity, "MOST_KEPT", 1.0)
    assert network.fewest(crops, costs)[0] == "network/second"
