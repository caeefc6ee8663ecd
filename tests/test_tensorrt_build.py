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
from engines.layer_listing import Layer, fused_convolutions, listed_layers, network_convolutions
from engines.manifest import ModelError
from engines.onnx_facts import input_shapes
from engines.precision import for_tensorrt, in_precision
from tests.helpers import REPOSITORY

pytest.importorskip("tensorrt_rtx_bindings", reason='TensorRT for RTX is not installed: pip install -e ".[rtx]"')
CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
HRNET, EDGE = "coco_hrnet_w32_256x192", "edge_coco_256x192"
# Network, precision -> its convolutions by the type they compute in. Depthwise and last ones are not quantised.
CONVOLUTIONS = {
    ("edge", "float32"): {"Float": 60},
    ("edge", "float16"): {"Half": 60},
    ("edge", "int8"): {"Int8": 42, "Half": 18},
    ("detector", "float32"): {"Float": 34},
    ("detector", "float16"): {"Half": 34},
    ("detector", "int8"): {"Int8": 31, "Half": 3},
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
    edge, hrnet = (pose_model(build_network(name), zoo_model(name), precision="float32") for name in (EDGE, HRNET))
    return {"edge": edge, "hrnet": hrnet, "detector": onnx.load(REPOSITORY / "models" / "person_detector.onnx")}


def quantized(model: onnx.ModelProto) -> onnx.ModelProto:
    from calib.crops import noise
    from calib.quantize import quantize

    return quantize(model, manifest_of(model), noise(manifest_of(model)))


def made_engine(model: onnx.ModelProto, precision: str, capabilities: tuple[str, ...], file: Path) -> Made:
    """The engine of a model that takes crops, made to take frames."""
    model = frame_form(quantized(model) if precision == "int8" else model)
    model, manifest = in_precision(model, manifest_of(model), precision)
    if precision == "int8":
        model = for_tensorrt(model)
    order = Order("tensorrt_rtx", (1, 4, 32), capabilities=capabilities)
    return make_file(model.SerializeToString(), input_shapes(model), manifest, order, file, detailed=True)


@pytest.fixture(scope="module")
def engines(folder: Path, float_models: dict[str, onnx.ModelProto]) -> dict[tuple[str, str], Made]:
    """All networks in all precisions, each for all capabilities but Turing's."""
    return {
        (name, precision): made_engine(
            float_models[name], precision, CAPABILITIES, folder / f"{name}_{precision}.engine"
        )
        for name, precision in CONVOLUTIONS
    }


@pytest.mark.parametrize(("name", "precision"), CONVOLUTIONS)
def test_convolutions_compute_in_what_was_asked_for(
    engines: dict[tuple[str, str], Made], name: str, precision: str
) -> None:
    convolutions = network_convolutions(engines[name, precision].layers)
    assert Counter(layer.precision for layer in convolutions) == CONVOLUTIONS[name, precision]


@pytest.mark.parametrize(("name", "precision"), CONVOLUTIONS)
def test_what_is_behind_the_network_is_float32(engines: dict[tuple[str, str], Made], name: str, precision: str) -> None:
    tail = float32_tail(engines[name, precision])
    if name != "detector":
        assert any("decode" in layer.name for layer in tail), "the tail is the decode"


def float32_tail(made: Made) -> list[Layer]:
    """What is behind the network's last convolution, all of it float32, but for what the first layer reads."""
    last = network_convolutions(made.layers)[-1]
    first, *tail = (layer for layer in made.layers[made.layers.index(last) + 1 :] if layer.outputs)
    assert len(tail) >= 2
    assert first.inputs <= {"Float", "Half"} and not first.outputs & {"Half", "Int8"}
    for layer in tail:
        assert (layer.inputs | layer.outputs) <= {"Float", "Int32", "Int64", "Bool"}, layer
    return tail


@pytest.mark.parametrize(("precision", "kind"), [("float32", "Float"), ("float16", "Half")])
def test_pose_networks_build_for_turing(
    precision: str, kind: str, float_models: dict[str, onnx.ModelProto], folder: Path
) -> None:
    made = made_engine(float_models["edge"], precision, ("7.5",), folder / "turing.engine")
    assert Counter(layer.precision for layer in network_convolutions(made.layers)) == {kind: 60}
    assert any("decode" in layer.name for layer in float32_tail(made))


def test_int8_is_refused_where_it_would_be_float32(float_models: dict[str, onnx.ModelProto], folder: Path) -> None:
    with pytest.raises(ModelError, match=r"no int8 .* for compute capability 7.5.* and int8 for 8.6 8.9 alone"):
        made_engine(float_models["edge"], "int8", ("8.9", "7.5", "8.6"), folder / "turing.engine")


def test_activations_are_fused_into_float_convolutions(engines: dict[tuple[str, str], Made]) -> None:
    # The last convolution is followed by the decode.
    assert len(fused_convolutions(engines["edge", "float16"].layers)) == 59
    assert not fused_convolutions(engines["edge", "int8"].layers), "the rounding has kernels of its own"


def test_an_engine_of_halves_is_half_the_size(engines: dict[tuple[str, str], Made], folder: Path) -> None:
    whole, half = ((folder / f"hrnet_{precision}.engine").stat().st_size for precision in ("float32", "float16"))
    assert 0.45 < half / whole < 0.6


def test_the_sidecar_says_what_the_engine_is(
    engines: dict[tuple[str, str], Made], float_models: dict[str, onnx.ModelProto]
) -> None:
    sidecar = engines["edge", "float16"].sidecar
    assert (sidecar.runtime, sidecar.capabilities, sidecar.gpu, sidecar.tf32) == (
        "tensorrt_rtx",
        CAPABILITIES,
        "",
        False,
    )
    assert sidecar.profiles["frame"] == ((64, 64, 3), (720, 1280, 3), (1920, 1920, 3))
    assert sidecar.profiles["crop_to_frame"] == ((1, 2, 3), (4, 2, 3), (32, 2, 3))
    written = manifest_of(float_models["edge"])
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
        Layer("__myl_0", "kgen", *map(frozenset, ({"UInt8"}, {"Half"}, {"crops"}, {"b"}))),
        Layer("conv", "correlation", *map(frozenset, ({"Int8"}, {"Float"}, {"b"}, {"c"}))),
    ]
    assert [layer.is_convolution for layer in layers] == [False, True]
    assert layers[1].precision == "Int8"
