"""Checkpoint files of every project we know, built from the zoo's networks: loaded exactly, or refused in a line."""

from __future__ import annotations

import os
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.skeletons import skeleton_from
from tests.helpers import golden_inputs, golden_path
from train.checkpoints import CheckpointError, load_checkpoint, model_entry, model_from_entry, read_checkpoint
from train.edge import EdgePose
from train.resnet import SimpleBaseline
from train.zoo import build_network, zoo_model

State = dict[str, Tensor]


def renamed(state: State, rule: Callable[[str], str]) -> State:
    return OrderedDict((rule(key), value) for key, value in state.items())


def without_rooms(state: State) -> State:
    """The names of the HRNet, DarkPose and SimpleBaseline repositories: one network, not a backbone and a head."""
    return renamed(state, lambda key: key.split(".", 1)[1])


def history_buffer() -> Any:
    """What MMEngine keeps of its log: an object of a class of its own, made of numpy arrays."""
    buffer = sys.modules["mmengine.logging.history_buffer"].HistoryBuffer()
    buffer.__dict__ = {"max_length": 10, "_log_history": np.arange(3.0), "_count_history": np.arange(3)}
    return buffer


@pytest.fixture(autouse=True)
def mmengine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of MMEngine's name while files are written; when one is read it has to do without."""
    name = "mmengine.logging.history_buffer"
    module = types.ModuleType(name)
    module.HistoryBuffer = type("HistoryBuffer", (), {"__module__": name})  # type: ignore[attr-defined]
    for part in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)


def mmpose_0(state: State) -> Any:
    meta = {"epoch": 210, "config": "model = dict()", "hook_msgs": {"best_score": np.float64(0.7)}}
    return {"meta": meta, "state_dict": OrderedDict(state), "optimizer": {"state": {}, "param_groups": [{"lr": 5e-4}]}}


def mmpose_1(state: State) -> Any:
    weights = renamed(state, lambda key: key.replace("keypoint_head.", "head."))
    weights["data_preprocessor.mean"] = torch.zeros(3, 1, 1)
    meta = {"dataset_meta": {"sigmas": np.full(17, 0.1, np.float32), "flip_indices": [0, 2, 1]}, "seed": np.int64(3)}
    hub = {"log_scalars": OrderedDict(loss=history_buffer()), "runtime_info": OrderedDict(epoch=210)}
    return {"meta": meta, "state_dict": weights, "message_hub": hub, "optimizer": {"state": {}}}


def repository_flat(state: State) -> Any:
    return without_rooms(state)


def repository_resume(state: State) -> Any:
    parallel = renamed(without_rooms(state), lambda key: f"module.{key}")
    return {"epoch": 140, "model": "pose_hrnet", "state_dict": parallel, "perf": np.float64(0.74), "optimizer": {}}


def own_best(state: State) -> Any:
    return {"network": state, "figures": {"AP": 0.5}, "epoch": 3}


def own_last(state: State) -> Any:
    average = renamed(state, lambda key: f"module.{key}") | {"n_averaged": torch.tensor(7)}
    return {"network": {key: value + 1 for key, value in state.items()}, "average": average, "epoch": 3}


FORMATS = {
    "hrnet_w32": {
        "MMPose 0.x": mmpose_0,
        "MMPose 1.x": mmpose_1,
        "HRNet / DarkPose": repository_flat,
        "darkstream": own_last,
    },
    "res50": {"MMPose 1.x": mmpose_1, "SimpleBaseline": repository_resume, "darkstream": own_best},
}


def old_file(content: Any, path: Path) -> Path:
    """As PyTorch wrote them before 1.6, under numpy 1."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))
    return path


def new_file(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("network", FORMATS)
def test_the_golden_heatmaps_from_a_file_of_each_project(network: str, tmp_path: Path) -> None:
    name = f"{network}_256x192"
    golden, regen = np.load(golden_path("network.npz")), golden_inputs()
    image = torch.from_numpy(regen.net_input(1, 256, 192))
    loaded = build_network(f"coco_{name}")
    filled = {key: torch.from_numpy(regen.fill(key, value.shape)) for key, value in loaded.state_dict().items()}
    for number, (project, layout) in enumerate(FORMATS[network].items()):
        for value in loaded.state_dict().values():
            value.zero_()
        write = old_file if number % 2 else new_file
        info = load_checkpoint(loaded, write(layout(filled), tmp_path / "file.pth"))
        assert info.project == project and not loaded.training, project
        with torch.inference_mode():
            heatmaps = loaded(image).numpy()[0]
        np.testing.assert_allclose(heatmaps[[0, 8, 16]], golden[f"{name}/heat"], rtol=1e-4, atol=2e-4)


class Small(nn.Module):
    """Few weights under the names of a SimpleBaseline of MMPose."""

    def __init__(self, keypoints: int = 17) -> None:
        super().__init__()
        self.backbone = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 1, bias=False), bn1=nn.BatchNorm2d(4)))
        self.keypoint_head = nn.ModuleDict(
            {"deconv_layers": nn.Conv2d(4, 4, 1), "final_layer": nn.Conv2d(4, keypoints, 1)}
        )


ALL = [mmpose_0, mmpose_1, repository_flat, repository_resume, own_best, own_last]


@pytest.mark.parametrize("write", [old_file, new_file])
@pytest.mark.parametrize("layout", ALL)
def test_every_weight_arrives(
    layout: Callable[[State], Any], write: Callable[[Any, Path], Path], tmp_path: Path
) -> None:
    saved, loaded = Small(), Small()
    saved.state_dict()["backbone.bn1.running_mean"].normal_()
    load_checkpoint(loaded, write(layout(saved.state_dict()), tmp_path / "file.pth.tar"))
    for key, value in saved.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], value, msg=key)


@pytest.mark.parametrize("layout", ALL)
def test_files_without_batch_counts_load(layout: Callable[[State], Any], tmp_path: Path) -> None:
    state = {key: value for key, value in Small().state_dict().items() if "num_batches" not in key}
    load_checkpoint(Small(), new_file(layout(state), tmp_path / "file.pth"))


@pytest.mark.parametrize("layout", ALL)
def test_every_key_must_fit(layout: Callable[[State], Any], tmp_path: Path) -> None:
    """The error has the keys' names in the file."""
    whole = Small().state_dict()
    cut = {key: value for key, value in whole.items() if not key.endswith("final_layer.bias")}
    surplus = {**whole, **{f"backbone.more{i}.weight": torch.zeros(1) for i in range(5)}}
    wide = Small(keypoints=16).state_dict()
    for state, message in (
        (cut, r"1 missing \((keypoint_head\.|head\.)?final_layer\.bias\)"),
        (surplus, r"5 surplus \((backbone\.)?more0\.weight, \S+, \S+, \.\.\.\)"),
        (wide, r"2 of another shape \(\S*final_layer\.weight is \[16, 4, 1, 1\] and should be \[17, 4, 1, 1\]"),
    ):
        file = new_file(layout(state), tmp_path / "file.pth")
        refused(message, load_checkpoint, Small(), file)


def test_a_file_of_another_network_says_whose_it_is(tmp_path: Path) -> None:
    file = new_file(repository_flat(Small().state_dict()), tmp_path / "file.pth")
    refused("checkpoint of SimpleBaseline, but not of this network", load_checkpoint, EdgePose(), file)


def refused(message: str, load: Callable[..., object], *given: object) -> None:
    """Loading ends in a CheckpointError of one line with this message."""
    with pytest.raises(CheckpointError, match=message) as caught:
        load(*given)
    assert "\n" not in str(caught.value)


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *values: Any) -> None:
        self.function, self.values = function, values

    def __reduce__(self) -> Any:
        return self.function, self.values


class Foreign:
    """A class that only the writer of the file has."""


@pytest.mark.parametrize("write", [old_file, new_file])
def test_a_hostile_file_runs_nothing(write: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    trace = tmp_path / "it_ran"
    code = f"open({str(trace)!r}, 'w')"
    for attack in (
        Call(os.system, f"touch {trace}"),
        Call(eval, code),
        Call(open, str(trace), "w"),
        Call(getattr, Call(__import__, "os"), "system"),
        Foreign(),
    ):
        file = write(mmpose_1(Small().state_dict()) | {"extra": attack}, tmp_path / "file.pth")
        refused("which is not loaded, as it might run code", read_checkpoint, file)
    assert not trace.exists()


def test_what_stands_for_a_dropped_object_is_no_weight(tmp_path: Path) -> None:
    state = {**Small().state_dict(), "backbone.conv1.weight": np.zeros((4, 3, 1, 1))}
    file = new_file({"state_dict": state}, tmp_path / "file.pth")
    refused("expected weights by name", read_checkpoint, file)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    whole = new_file(mmpose_0(Small().state_dict()), tmp_path / "whole.pth").read_bytes()
    contents = {"text.pth": b"a shopping list\nmilk\n", "empty.pth": b"", "cut.pth": whole[: len(whole) // 2]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        refused(rf"{name} is not a PyTorch checkpoint", read_checkpoint, tmp_path / name)
    with zipfile.ZipFile(tmp_path / "archive.pth", "w") as archive:
        archive.writestr("letter.txt", "hello")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.ReLU()).save(tmp_path / "script.pth")
    for name in ("archive.pth", "script.pth"):
        refused(rf"{name} is not a PyTorch checkpoint", read_checkpoint, tmp_path / name)
    refused("is a folder, expected a checkpoint", read_checkpoint, tmp_path)
    refused("none.pth does not exist", read_checkpoint, tmp_path / "none.pth")
    for value, message in (
        ([1, 2], "holds a list"),
        (torch.zeros(2), "holds a Tensor"),
        ({"state_dict": {}}, "expected weights by name"),
        ({"epoch": 3}, "expected weights by name"),
        (
            {"fc.weight": torch.zeros(1)},
            r"unknown kind \(fc\.weight\); known are checkpoints of MMPose 0\.x, .*darkstr",
        ),
        ({"network": {}, "model": {"name": "x"}}, "with an unknown model"),
    ):
        refused(message, read_checkpoint, new_file(value, tmp_path / "odd.pth"))


def test_our_checkpoints_name_their_model(tmp_path: Path) -> None:
    pen = skeleton_from({"name": "pen", "keypoint_names": ["tip", "end"], "flip_pairs": [], "oks_sigmas": [0.1, 0.1]})
    for model in (zoo_model("mpii_hrnet_w48_256x256"), zoo_model("edge_coco_256x192").for_data("pens", pen)):
        content = {**own_best(EdgePose(len(model.skeleton)).state_dict()), "model": model_entry(model)}
        info = read_checkpoint(new_file(content, tmp_path / "best.pt")).info
        assert info.figures == {"AP": 0.5} and info.model is not None
        assert model_entry(info.model) == model_entry(model) and info.model.reported == model.reported
    assert (
        info.model is not None
        and info.model.name == "pens_edge_256x192"
        and info.model.skeleton.keypoint_names == ("tip", "end")
    )
    entry = model_entry(model)
    with pytest.raises(ValueError, match=r"expected a network of res50, .*got 'vgg'"):
        model_from_entry({**entry, "network": "vgg"})
    with pytest.raises(ValueError, match="expected a model of"):
        model_from_entry({"name": "pens"})


def test_the_wrong_depth_is_refused(tmp_path: Path) -> None:
    file = new_file(mmpose_0(SimpleBaseline(50, 17).state_dict()), tmp_path / "res50.pth")
    refused(r"of its keys \d+ missing \(backbone\.layer3", load_checkpoint, SimpleBaseline(101, 17), file)
