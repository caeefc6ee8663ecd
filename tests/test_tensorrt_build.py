"""TensorRT for RTX builds our networks without a GPU, in the types asked for: so says its own layer listing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from engines.compose import manifest_of
from engines.engine_files import Made, Order, make_file
from engines.frame_graph import frame_form
from engines.layer_listing import Layer, listed_layers
from engines.onnx_facts import input_shapes
from engines.precision import for_tensorrt, in_precision
from tests.helpers import REPOSITORY

pytest.importorskip("tensorrt_rtx_bindings", reason='TensorRT for RTX is not installed: pip install -e ".[rtx]"')
CAPABILITIES = ("8.6", "8.9")
MODELS = REPOSITORY / "models"
HRNET = "coco_hrnet_w32_256x192"
# Network, precision -> its convolutions by the type they compute in. Depthwise and last ones are not quantised.
CONVOLUTIONS = {
    ("edge", "float32"): {"Float": 53},
    ("edge", "float16"): {"Half": 53},
    ("edge", "int8"): {"Int8": 36, "Half": 17},
    ("detector", "float32"): {"Float": 75},
    ("detector", "float16"): {"Half": 75},
    ("detector", "int8"): {"Int8": 45, "Half": 30},
    ("hrnet", "float32"): {"Float": 293},
    ("hrnet", "float16"): {"Half": 293},
    ("hrnet", "int8"): {"Int8": 292, "Half": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For what is built; the cache is in it too."""
    made = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DARKSTREAM_CACHE", str(made / "cache"))
        yield made


@pytest.fixture(scope="module")
def float_models() -> dict[str, onnx.ModelProto]:
    import torch

    from train.export import pose_model
    from train.zoo import build_network, zoo_model

    torch.manual_seed(0)
    hrnet = pose_model(build_network(HRNET), zoo_model(HRNET), precision="float32")
    files = {"edge": MODELS / "edge_coco_256x192.onnx", "detector": MODELS / "person_detector.onnx"}
    return {**{name: onnx.load(file) for name, file in files.items()}, "hrnet": hrnet}


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    from calib.crops import noise
    from calib.quantize import quantize

    return quantize(model, manifest_of(model), noise(manifest_of(model)))


@pytest.fixture(scope="module")
def engines(folder: Path, float_models: dict[str, onnx.ModelProto]) -> dict[tuple[str, str], Made]:
    """All networks in all precisions, each for both capabilities."""
    made = {}
    for name, precision in CONVOLUTIONS:
        model = float_models[name]
        if precision == "int8":
            model = onnx.load(MODELS / "edge_coco_256x192_int8.onnx") if name == "edge" else quantized(model)
        model = frame_form(model)
        model, manifest = in_precision(model, manifest_of(model), precision)
        if precision == "int8":
            model = for_tensorrt(model)
        order = Order("tensorrt_rtx", (1, 4, 32), capabilities=CAPABILITIES)
        file = folder / f"{name}_{precision}.engine"
        content = model.SerializeToString()
        made[name, precision] = make_file(content, input_shapes(model), manifest, order, file, detailed=True)
    return made


@pytest.mark.parametrize(("name", "precision"), CONVOLUTIONS)
def test_convolutions_compute_in_what_was_asked_for(
    engines: dict[tuple[str, str], Made], name: str, precision: str
) -> None:
    layers = engines[name, precision].layers
    found = Counter(layer.precision for layer in layers if layer.is_convolution)
    assert found == CONVOLUTIONS[name, precision]


@pytest.mark.parametrize(("name", "precision"), CONVOLUTIONS)
def test_what_is_behind_the_network_is_float32(engines: dict[tuple[str, str], Made], name: str, precision: str) -> None:
    layers = engines[name, precision].layers
    last = max(place for place, layer in enumerate(layers) if layer.is_convolution)
    first, *tail = (layer for layer in layers[last + 1 :] if layer.outputs)
    assert len(tail) >= 2
    # The first takes what the convolution wrote.
    assert first.inputs <= {"Float", "Half"} and not first.outputs & {"Half", "Int8"}
    for layer in tail:
        assert (layer.inputs | layer.outputs) <= {"Float", "Int32", "Int64", "Bool"}, layer
    if name != "detector":
        assert any("decode" in layer.name for layer in tail), "the tail is the decode"


def test_an_engine_of_halves_is_half_the_size(engines: dict[tuple[str, str], Made], folder: Path) -> None:
    whole, half = ((folder / f"hrnet_{precision}.engine").stat().st_size for precision in ("float32", "float16"))
    assert 0.45 < half / whole < 0.6


def test_the_sidecar_says_what_the_engine_is(engines: dict[tuple[str, str], Made], folder: Path) -> None:
    sidecar = engines["edge", "float16"].sidecar
    assert (sidecar.runtime, sidecar.capabilities, sidecar.gpu, sidecar.tf32) == (
        "tensorrt_rtx",
        CAPABILITIES,
        "",
        False,
    )
    assert sidecar.profiles["frame"] == ((64, 64, 3), (720, 1280, 3), (1920, 1920, 3))
    assert sidecar.profiles["crop_to_frame"] == ((1, 2, 3), (4, 2, 3), (32, 2, 3))
    written = manifest_of(onnx.load(MODELS / "edge_coco_256x192.onnx"))
    assert sidecar.manifest == replace(written, precision="float16", largest_batch=32, input="frame")
    assert engines["detector", "float32"].sidecar.profiles.keys() == {"frame"}


@pytest.mark.parametrize(("name", "precision"), CONVOLUTIONS)
def test_the_frame_is_read_as_bytes_and_cropped_in_float32(
    engines: dict[tuple[str, str], Made], name: str, precision: str
) -> None:
    layers = engines[name, precision].layers
    first = next(place for place, layer in enumerate(layers) if layer.is_convolution)
    before = layers[:first]
    assert sum("UInt8" in layer.inputs for layer in before) == 1 and not any("UInt8" in x.outputs for x in before)
    assert all(layer.inputs <= {"UInt8", "Float", "Int32", "Int64", "Bool"} for layer in before[:-1])
    (grid,) = (layer for layer in before if "Grid" in layer.name)
    assert "UInt8" in grid.inputs, "the crop reads the frame itself, no copy of it"


LISTING = (
    "Layers:\n"
    "Name: __myl_0, LayerType: kgen, Inputs: [ { Name: crops, Dimensions: [1], Format/Datatype: UInt8 }], "
    "Outputs: [ { Name: b, Format/Datatype: Half }], TacticName: t\n"
    "Name: conv, LayerType: correlation, Inputs: [ { Name: b, Format/Datatype: Int8 }, Constants: [Datatype: Float], "
    "Outputs: [ { Name: c, Format/Datatype: Float }]\n"
)


def test_a_listing_is_read() -> None:
    layers = listed_layers(["nothing of interest", LISTING])
    assert layers == [
        Layer("__myl_0", "kgen", frozenset({"UInt8"}), frozenset({"Half"})),
        Layer("conv", "correlation", frozenset({"Int8"}), frozenset({"Float"})),
    ]
    assert [layer.is_convolution for layer in layers] == [False, True]
    assert layers[1].precision == "Int8"
