"""A composed graph does what its parts do, from pixels to keypoints, in every runtime and precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest

from engines.compose import compose_detector, compose_pose, weights_sha256
from engines.engine import open_engine
from engines.manifest import Manifest
from engines.precision import store_float16
from tests.helpers import detector_manifest, pose_manifest, short_steps
from tests.tiny_networks import argmax_decode, detector_network, pose_network
from train.export import export_decode

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def composed() -> onnx.ModelProto:
    return compose_pose(pose_network(), argmax_decode(), pose_manifest())


def run(model: onnx.ModelProto, inputs: dict[str, npt.NDArray[np.generic]]) -> list[npt.NDArray[np.float32]]:
    outputs: list[npt.NDArray[np.float32]] = ort.InferenceSession(model.SerializeToString()).run(None, inputs)
    return outputs


def crops(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 48, 3), dtype=np.uint8)


def test_pixels_to_keypoints_are_the_steps_one_by_one() -> None:
    bgr = crops(3)
    image = ((bgr[..., ::-1] / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    (heatmaps,) = run(pose_network(), {"image": image})
    points, scores = run(argmax_decode(), {"heatmaps": heatmaps})
    keypoints, composed_scores = run(composed(), {"crops": bgr})
    np.testing.assert_array_equal(keypoints, points * 4)
    np.testing.assert_allclose(composed_scores, scores, atol=1e-5)


def test_the_graph_is_checked_named_and_dynamic() -> None:
    model = composed()
    onnx.checker.check_model(model, full_check=True)
    (crops_input,) = model.graph.input
    assert crops_input.name == "crops" and crops_input.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [value.name for value in model.graph.output] == ["keypoints", "scores"]
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param, f"{value.name} has a fixed batch"
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names)) and {"network/weight", "decode/weight"} <= set(names)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]


def test_the_network_stays_as_given() -> None:
    network = pose_network()
    before = network.SerializeToString()
    model = compose_pose(network, argmax_decode(), pose_manifest())
    assert network.SerializeToString() == before
    inside = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for tensor in network.graph.initializer:
        np.testing.assert_array_equal(inside[f"network/{tensor.name}"], onnx.numpy_helper.to_array(tensor))


def test_the_manifest_carries_the_hash_of_the_weights() -> None:
    (entry,) = composed().metadata_props
    assert Manifest.from_json(entry.value).network_sha256 == weights_sha256(pose_network())
    assert weights_sha256(pose_network()) != weights_sha256(detector_network())


def test_graphs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a graph \['image'\] -> \['heatmaps'\], got \['image'\] -> \['box"):
        compose_pose(detector_network(), argmax_decode(), pose_manifest())
    with pytest.raises(ValueError, match=r"expected a graph \['image'\] -> \['boxes', 'scores'\]"):
        compose_detector(pose_network(), detector_manifest())
    with pytest.raises(ValueError, match="fixed batch of 1"):
        compose_pose(pose_network(batch=1), argmax_decode(), pose_manifest())
    with pytest.raises(ValueError, match="do not fit crops of 192x64"):
        compose_pose(pose_network(), argmax_decode(), pose_manifest(192, 64))
    with pytest.raises(ValueError, match="opsets differ"):
        compose_pose(pose_network(), argmax_decode(opset=16), pose_manifest())


def test_the_decode_is_float32_where_the_network_is_bfloat16(tmp_path: Path) -> None:
    """Heatmaps and decode keep float32: the keypoints are those of the network's unrounded heatmaps."""
    import openvino as ov

    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU has no bfloat16")
    decode = export_decode(17, (12, 16), 11)
    model = compose_pose(pose_network(), decode, pose_manifest())
    onnx.save(model, tmp_path / "pose.onnx")
    outer = onnx.utils.Extractor(model)
    onnx.save(outer.extract_model(["crops"], ["whole_heatmaps"]), tmp_path / "heatmaps.onnx")
    core, settings = ov.Core(), {"INFERENCE_PRECISION_HINT": "bf16"}
    (heatmaps,) = core.compile_model(tmp_path / "heatmaps.onnx", "CPU", settings)({"crops": crops(8)}).values()
    (exact,) = run(outer.extract_model(["crops"], ["whole_heatmaps"]), {"crops": crops(8)})
    assert np.abs(heatmaps - exact).max() > 1e-5, "the network did not run in bfloat16: nothing is shown"
    assert (heatmaps.view(np.uint32) & 0xFFFF).any(), "the heatmaps were rounded to bfloat16"
    points, scores = run(decode, {"heatmaps": heatmaps})
    found = open_engine(tmp_path / "pose.onnx", "openvino", "bfloat16")({"crops": crops(8)})
    np.testing.assert_array_equal(found["scores"], scores)
    steady = short_steps(points, heatmaps)
    assert steady.sum() > 50
    np.testing.assert_allclose(found["keypoints"][steady], points[steady] * 4, atol=4e-4)


def test_float16_storage_halves_the_file_and_rounds_the_weights_only(tmp_path: Path) -> None:
    network = pose_network()
    stored = store_float16(network)
    onnx.checker.check_model(stored, full_check=True)
    kept = {tensor.name: tensor.data_type for tensor in stored.graph.initializer}
    assert kept == {"weight.float16": onnx.TensorProto.FLOAT16, "bias": onnx.TensorProto.FLOAT}
    assert stored.ByteSize() < 0.55 * network.ByteSize()
    rounded = onnx.ModelProto()
    rounded.CopyFrom(network)
    for tensor in rounded.graph.initializer:
        if tensor.name == "weight":
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, "weight"))
    expected = run(compose_pose(rounded, argmax_decode(), pose_manifest()), {"crops": crops(2)})
    file = tmp_path / "half.onnx"
    onnx.save(compose_pose(stored, argmax_decode(), pose_manifest()), file)
    for runtime in ("openvino", "onnxruntime"):
        found = open_engine(file, runtime, "float32")({"crops": crops(2)})
        np.testing.assert_array_equal(found["keypoints"], expected[0])
        np.testing.assert_allclose(found["scores"], expected[1], atol=1e-5)


def test_a_weight_beyond_float16_is_refused() -> None:
    network = pose_network()
    huge = onnx.numpy_helper.from_array(np.full((17, 3, 7, 7), 1e6, np.float32), "weight")
    network.graph.initializer[0].CopyFrom(huge)
    with pytest.raises(ValueError, match=r"weight reaches 1e\+06, more than float16"):
        store_float16(network)
