"""Networks in float16 and int8 answer as they do in float32, nearly; and only the network changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from engines.compose import manifest_of
from engines.engine import open_engine
from engines.precision import expand_float32, for_tensorrt, in_precision, store_float16, to_float16
from engines.quantized import signed_int8, unsigned_uint8, without_emulated_int8
from pipeline.affine import crop_people
from pipeline.detector import PersonDetector
from pipeline.sources import open_source
from tests.helpers import REPOSITORY
from tests.tiny_networks import pose_file, pose_network

MODELS = REPOSITORY / "models"
EDGE, INT8, DETECTOR = (
    MODELS / f"{name}.onnx" for name in ("edge_coco_256x192", "edge_coco_256x192_int8", "person_detector")
)
PEOPLE = 36  # of fewer, the median errors of two int8 files differ by chance
Crops = npt.NDArray[np.uint8]
Found = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def crops() -> Crops:
    """People of the demonstration clip, uint8 [N, 256, 192, 3]: the same ones on every CPU."""
    detector = PersonDetector(open_engine(DETECTOR, "onnxruntime"))
    found: list[Crops] = []
    for frame in open_source("demo").frames():
        if frame.index % 5 == 0:
            found.extend(crop_people(frame.image, detector(frame.image).boxes, (192, 256))[0])
        if len(found) >= PEOPLE:
            break
    return np.stack(found[:PEOPLE])


def run(model: onnx.ModelProto, crops: Crops, optimised: bool = True) -> Found:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    keypoints, scores = session.run(["keypoints", "scores"], {"crops": crops})
    return keypoints, scores


def median_error(found: Found, expected: Found) -> float:
    """Crop px, of the keypoints that can be seen."""
    seen = expected[1] > 0.3
    assert seen.sum() > 50
    return float(np.median(np.linalg.norm(found[0] - expected[0], axis=2)[seen]))


@pytest.fixture(scope="module")
def reference(crops: Crops) -> Found:
    return run(onnx.load(EDGE), crops)


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element types of all tensors between nodes."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True)
    return {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}


def test_float16_keypoints_are_those_of_float32(crops: Crops, reference: Found) -> None:
    for optimised in (True, False):
        found = run(to_float16(onnx.load(EDGE)), crops, optimised)
        assert median_error(found, reference) < 0.03
        np.testing.assert_allclose(found[1], reference[1], atol=0.01)


@pytest.mark.parametrize(("file", "count"), [(EDGE, 60), (DETECTOR, 34)], ids=["edge", "detector"])
def test_float16_is_the_network_alone(file: Path, count: int) -> None:
    model = to_float16(onnx.load(file))
    types = tensor_types(model)
    half = {name for name, kind in types.items() if kind == TensorProto.FLOAT16}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and "decode/" not in node.name]
    assert len(convolutions) == count and all(half.issuperset(node.output) for node in convolutions)
    outside = [name for name in half if name.startswith(("normalise/", "decode/", "to_crop/", "best/", "keep/"))]
    assert outside == [] and types["image"] == TensorProto.FLOAT
    outputs = {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    assert set(outputs.values()) == {TensorProto.FLOAT}
    # A detector's boxes are computed from what the last convolutions say, in px: float16 has steps of 0.25 there.
    if file == DETECTOR:
        assert types["network/boxes"] == types["network/scores"] == TensorProto.FLOAT


def test_upsampling_is_float16_too() -> None:
    model = to_float16(onnx.load(EDGE))
    types = tensor_types(model)
    resized = [node.output[0] for node in model.graph.node if node.op_type == "Resize"]
    assert [types[name] for name in resized] == [TensorProto.FLOAT16] * 3


def test_openvino_runs_the_same_file(tmp_path: Path, crops: Crops, reference: Found) -> None:
    file = tmp_path / "half.onnx"
    model, manifest = in_precision(onnx.load(EDGE), manifest_of(onnx.load(EDGE)), "float16")
    assert manifest.precision == "float16" and manifest_of(model) == manifest
    onnx.save(model, file)
    found = open_engine(file, "openvino", "float32")({"crops": crops})
    assert median_error((found["keypoints"], found["scores"]), reference) < 0.03


def test_stored_weights_are_expanded(crops: Crops, reference: Found) -> None:
    model = expand_float32(onnx.load(EDGE))
    assert not [tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16]
    assert median_error(run(model, crops), reference) == 0
    again = expand_float32(store_float16(pose_network()))
    weight, whole = (
        {tensor.name: numpy_helper.to_array(tensor) for tensor in m.graph.initializer} for m in (again, pose_network())
    )
    np.testing.assert_array_equal(weight["weight"], whole["weight"].astype(np.float16).astype(np.float32))


def test_int8_for_tensorrt_is_as_good_as_int8(crops: Crops, reference: Found) -> None:
    as_it_is, signed, tensorrt = (
        median_error(run(model, crops, optimised=False), reference)
        for model in (onnx.load(INT8), signed_int8(onnx.load(INT8)), for_tensorrt(onnx.load(INT8)))
    )
    assert tensorrt < 1.1 * as_it_is + 0.05 and signed < 1.5 * as_it_is


def test_uint8_read_as_int8_would_be_wrong(crops: Crops, reference: Found) -> None:
    """What TensorRT makes of the file as it is: the same scale, half the range."""
    model = onnx.load(INT8)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.UINT8:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int8), tensor.name))
    assert median_error(run(model, crops, optimised=False), reference) > 10


def test_no_uint8_and_no_scale_for_each_channel_is_left() -> None:
    model = without_emulated_int8(signed_int8(onnx.load(INT8)))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    steps = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(steps) > 100
    for node in steps:
        assert tensors[node.input[2]].data_type == TensorProto.INT8
        assert node.input[0] in tensors or np.prod(tensors[node.input[1]].dims, dtype=int) == 1
    read = {name for node in model.graph.node for name in node.input}
    assert read.issuperset(tensors), "nothing is left over"


def quantised(zero_point: int) -> onnx.ModelProto:
    """A value through uint8 and back."""
    zero = np.array(zero_point, np.uint8)
    constants: dict[str, npt.NDArray[Any]] = {"scale": np.array(0.1, np.float32), "zero": zero}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "dequantise"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (3,)) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "steps", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_range_stays_and_the_step_doubles() -> None:
    x = np.array([0.0, 12.7, 25.5], np.float32)
    session = ort.InferenceSession(signed_int8(quantised(0)).SerializeToString())
    np.testing.assert_allclose(session.run(["y"], {"x": x})[0], x, atol=0.11)
    with pytest.raises(ValueError, match="quantise has zero points other than 0 and 128, which TensorRT cannot run"):
        signed_int8(quantised(5))


def test_uint8_round_its_middle_is_int8() -> None:
    """As OpenVINO gets it, and as TensorRT does: the same values."""
    x = np.array([-12.8, -0.13, 12.7], np.float32)
    signed = signed_int8(quantised(128))
    assert {t.data_type for t in signed.graph.initializer} == {TensorProto.FLOAT, TensorProto.INT8}
    found = [
        ort.InferenceSession(model.SerializeToString()).run(["y"], {"x": x})[0]
        for model in (quantised(128), signed, unsigned_uint8(signed))
    ]
    np.testing.assert_array_equal(found[0], np.array([-12.8, -0.1, 12.7], np.float32))
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])
    assert unsigned_uint8(signed) == unsigned_uint8(unsigned_uint8(signed))


def test_transposed_convolutions_are_floats() -> None:
    """TensorRT for RTX has none in int8: it would dequantise the weights in every run."""
    random = np.random.default_rng(3)
    constants: dict[str, npt.NDArray[Any]] = {
        "step": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
        "weight": random.integers(-127, 128, (4, 5, 2, 2), dtype=np.int8),
        "steps": random.uniform(0.001, 0.1, 5).astype(np.float32),
        "zeros": np.zeros(5, np.int8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weight", "steps", "zeros"], ["w"], axis=1),
        helper.make_node("ConvTranspose", ["d", "w"], ["y"], strides=[2, 2]),
    ]
    sides = {"x": (1, 4, 3, 3), "y": (1, 5, 6, 6)}
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in sides.items()]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "up", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    plain = without_emulated_int8(model)
    assert [node.op_type for node in plain.graph.node] == ["ConvTranspose"]
    x = np.round(random.normal(0, 1, (1, 4, 3, 3)) / 0.02).clip(-127, 127).astype(np.float32) * np.float32(0.02)
    one, other = (ort.InferenceSession(m.SerializeToString()).run(["y"], {"x": x})[0] for m in (model, plain))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    edge, int8 = onnx.load(EDGE), onnx.load(INT8)
    with pytest.raises(ValueError, match=r"for int8, got edge_coco_256x192, which is not quantised: quantise it first"):
        in_precision(edge, manifest_of(edge), "int8")
    for precision in ("float16", "float32"):
        with pytest.raises(ValueError, match=r"which is quantised to int8 already: give the float file"):
            in_precision(int8, manifest_of(int8), precision)
    with pytest.raises(ValueError, match="got a quantised one"):
        to_float16(int8)
    with pytest.raises(ValueError, match=r"expected convolutions named network/"):
        to_float16(pose_network())
    tiny = onnx.load(pose_file(tmp_path))
    (weight,) = (tensor for tensor in tiny.graph.initializer if tensor.name == "network/weight")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(1e5), weight.name))
    with pytest.raises(ValueError, match=r"network/weight reaches 1000\d\d.*, more than float16 can hold"):
        to_float16(tiny)
