"""The parity ladder: equal rungs pass, a damaged network is caught, and the layer that it was damaged in is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from apps import parity
from engines.engine import Engine, ModelError
from engines.frame_graph import frame_form
from tests.tiny_data import make_folder
from train.checkpoints import model_entry
from train.export import pose_manifest, pose_model
from train.layers import file_layers, first_departure, torch_layers
from train.parity import BFLOAT16, FLOAT32, Result, Rung, Skipped, climb, file_rung, torch_rung
from train.torch_engine import PoseEngine
from train.zoo import NETWORKS, ZooModel, zoo_model

CROPS = np.random.default_rng(3).integers(0, 256, (4, 64, 48, 3), np.uint8)


class SmallNetwork(nn.Module):
    """Normalised crops [N, 3, 64, 48] -> heatmaps [N, K, 16, 12]: all that the zoo's networks are made of."""

    def __init__(self, keypoints: int = 17) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True))
        self.down = nn.Sequential(nn.Conv2d(8, 8, 3, 4, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True))
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True))
        self.final = nn.Conv2d(8, keypoints, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        heatmaps: torch.Tensor = self.final(self.up(self.down(self.stem(image))))
        return heatmaps


@pytest.fixture
def model() -> ZooModel:
    row = zoo_model("edge_coco_256x192")
    return ZooModel("small", row.data, row.network, row.skeleton, (48, 64), 2, 11, {})


@pytest.fixture
def network() -> SmallNetwork:
    torch.manual_seed(5)
    made = SmallNetwork()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
    return made.eval()


def damaged(model: onnx.ModelProto, node_part: str) -> onnx.ModelProto:
    """A copy in which one output channel of a convolution is turned round."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (node,) = [n for n in copy.graph.node if n.op_type.startswith("Conv") and node_part in n.name]
    (weight,) = [tensor for tensor in copy.graph.initializer if tensor.name == node.input[1]]
    values = numpy_helper.to_array(weight).copy()
    values[0] *= -1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return copy


def test_layers_of_pytorch_and_files_are_the_same(network: SmallNetwork, model: ZooModel, tmp_path: Path) -> None:
    exported = pose_model(network, model, precision="float32")
    reference = torch_layers(network, CROPS)
    assert list(reference) == ["stem.0", "down.0", "up.0", "final"]
    for runtime in ("onnxruntime", "openvino"):
        found = file_layers(exported, tmp_path, runtime, "float32", CROPS)
        assert list(found) == ["stem/stem.0", "down/down.0", "up/up.0", "final"]
        assert first_departure(reference, found, 1e-3).error < 1e-5


def test_a_file_that_takes_frames_answers_as_the_one_that_takes_crops(
    network: SmallNetwork, model: ZooModel, tmp_path: Path
) -> None:
    exported = pose_model(network, model, precision="float32")
    rungs = rungs_of(network, model, {"crops": exported, "frame": frame_form(exported)}, tmp_path)
    of_pytorch, of_crops, of_frame = (rung.sample(CROPS) for rung in rungs)
    np.testing.assert_allclose(of_frame.heatmaps, of_crops.heatmaps, atol=1e-6)
    np.testing.assert_allclose(of_frame.keypoints, of_crops.keypoints, atol=0.02)
    assert of_frame.keypoints.shape == of_pytorch.keypoints.shape
    assert list(rungs[2].layers(CROPS)) == ["stem/stem.0", "down/down.0", "up/up.0", "final"]


def test_another_number_of_layers_is_another_network() -> None:
    layer = np.ones((1, 1, 1, 1))
    with pytest.raises(ValueError, match="1 convolutions in one, 2 in the other"):
        first_departure({"a": layer}, {"a": layer, "b": layer}, 0.1)


def rungs_of(network: SmallNetwork, model: ZooModel, files: dict[str, onnx.ModelProto], folder: Path) -> list[Rung]:
    engine = PoseEngine(network, pose_manifest(model, 0.2, "float32"), model.kernel)
    return [
        torch_rung(engine, engine),
        *(file_rung(name, FLOAT32, m, folder, "onnxruntime", "float32", lambda: engine) for name, m in files.items()),
    ]


@pytest.mark.parametrize("layer", ["stem/stem.0", "up/up.0", "final"])
def test_a_damaged_layer_is_named(layer: str, network: SmallNetwork, model: ZooModel, tmp_path: Path) -> None:
    good = pose_model(network, model, precision="float32")
    files = {"good": good, "damaged": damaged(good, layer), "after": good}
    results = list(climb(rungs_of(network, model, files, tmp_path), CROPS, lambda engine: 0.5, people=10))
    assert [result.rung for result in results] == ["PyTorch float32", "good", "damaged"]
    good_result, bad = results[1:]
    assert isinstance(good_result, Result) and good_result.complaint is None and good_result.keypoint_p99 < 0.01
    assert isinstance(bad, Result) and bad.complaint is not None and "heatmaps" in bad.complaint
    assert bad.departure is not None and bad.departure.layer == layer


def test_a_lost_figure_is_a_bad_rung(network: SmallNetwork, model: ZooModel, tmp_path: Path) -> None:
    rungs = rungs_of(network, model, {"worse": pose_model(network, model, precision="float32")}, tmp_path)
    for people, bad in ((10_000, True), (10, False)):
        figures = iter((0.5, 0.48))
        *_, last = climb(rungs, CROPS, lambda engine, figures=figures: next(figures), people)  # type: ignore[misc]
        assert isinstance(last, Result) and bool(last.complaint) == bad


def test_a_runtime_that_is_not_there_is_skipped(network: SmallNetwork, model: ZooModel, tmp_path: Path) -> None:
    def absent() -> Engine:
        raise ModelError("no such runtime here")

    exported = pose_model(network, model, precision="float32")
    rungs = rungs_of(network, model, {"file": exported}, tmp_path)
    rungs.insert(1, file_rung("absent", BFLOAT16, exported, tmp_path, "onnxruntime", "float32", absent))
    results = list(climb(rungs, CROPS, lambda engine: 0.5, people=10))
    assert results[1] == Skipped("absent", "no such runtime here")
    assert isinstance(results[2], Result) and results[2].rung == "file"


@pytest.fixture
def checkpoint(network: SmallNetwork, model: ZooModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Our own checkpoint of the small network."""
    monkeypatch.setitem(NETWORKS, "edge", SmallNetwork)
    path = tmp_path / "best.pt"
    torch.save({"network": network.state_dict(), "figures": {"AP": 0.1}, "model": model_entry(model)}, path)
    return path


def test_the_command_climbs_and_writes_the_rungs(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], network: SmallNetwork, model: ZooModel
) -> None:
    data = make_folder(tmp_path / "data")
    given = ["--annotations", str(data / "person_keypoints.json"), "--images", str(data / "images")]
    metrics = tmp_path / "parity.json"
    assert parity.main(["--model", str(checkpoint), *given, "--flip-test", "--metrics", str(metrics)]) == 0
    assert "every rung that was run is within its limits" in capsys.readouterr().out
    rungs = [step["rung"] for step in json.loads(metrics.read_text())]
    assert rungs[:3] == ["PyTorch float32", "ONNX Runtime float32", "OpenVINO float32"]
    frame = tmp_path / "frame.onnx"
    onnx.save(frame_form(pose_model(network, model, precision="float32")), frame)
    assert parity.main(["--model", str(checkpoint), *given, "--flip-test", "--files", str(frame)]) == 0
    assert parity.main(["--model", str(frame), *given]) == 0
    told = capsys.readouterr().out
    assert "frame.onnx (float32)" in told and "OpenVINO bfloat16                 not run" in told
    file = tmp_path / "damaged.onnx"
    onnx.save(damaged(pose_model(network, model, precision="float32"), "down.0"), file)
    assert parity.main(["--model", str(checkpoint), *given, "--files", str(file)]) == 1
    assert "the first layer that departs: down/down.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nothing"], "nothing"),
        (["--model", "coco_res50_256x192"], "weights"),
        (["--model", "missing.onnx"], "no such network file"),
        (["--model", "best.pt", "--weights", "other.pt"], "is a checkpoint itself"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_folder(tmp_path / "data")
    given = ["--annotations", str(data / "person_keypoints.json"), "--images", str(data / "images")]
    assert parity.main([*arguments, *given]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
