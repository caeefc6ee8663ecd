"""The zoo against the reference: keys, shapes and figures of every model. Heatmaps are in test_checkpoints."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers import golden_path
from train.hrnet import HRNet
from train.resnet import SimpleBaseline
from train.zoo import build_network, cost, main, read_zoo, zoo_model


def zoo_name(reference: str) -> str:
    """Our name for a model of the reference, as in topdown_heatmap_hrnet_w32_coco_wholebody_256x192_dark."""
    found = re.search(r"(res\d+|hrnet_w\d+)_(?:coco_)?(coco|wholebody|mpii)_(\d+x\d+)_dark", reference)
    assert found
    return f"{found[2]}_{found[1]}_{found[3]}"


def test_all_models_have_the_reference_s_keys_and_shapes() -> None:
    models: list[dict[str, Any]] = json.loads(golden_path("zoo.json").read_text())["models"]
    assert len(models) == 14
    for reference in models:
        model = zoo_model(zoo_name(reference["name"]))
        with torch.device("meta"):
            network = build_network(model.name)
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        assert found == {key: shape for key, shape, _ in reference["state_dict"]}, model.name
        assert sum(weight.numel() for weight in network.parameters()) == reference["num_params"]
        assert list(model.input_size) == reference["input_size_wh"] and model.sigma == reference["sigma"]
        assert model.kernel == reference["modulate_kernel"]
        row = {key: float(value) for key, value in reference["readme_row"].items() if key != "Input Size"}
        assert row == model.reported


def test_unknown_depths_are_named() -> None:
    with pytest.raises(ValueError, match="50, 101, 152"):
        SimpleBaseline(18, 17)


def test_heatmaps_are_a_quarter_of_the_input() -> None:
    for network in (SimpleBaseline(50, 17), HRNet(32, 16)):
        network.eval()
        with torch.inference_mode():
            assert network(torch.zeros(1, 3, 64, 96)).shape[2:] == (16, 24)


def test_the_zoo_lists_what_is_valid(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"valid are coco_res50_256x192, .*edge_coco_256x192"):
        build_network("coco_res18")
    text = "sizes: {1x1: {sigma: 2, kernel: 11}}\ndata_sets: {coco: {columns: [AP]}}\nmodels: "
    zoo = tmp_path / "zoo.yaml"
    for row, message in (
        ("[{data: coco, network: res50, size: 1x1, colour: red}]", "unknown key colour; valid are data"),
        ("[{data: coco, network: res18, size: 1x1}]", "network to be one of res50"),
        ("[{data: coco, network: res50, size: 1x1, reported: [1.0, 2.0]}]", "a figure for each of AP"),
    ):
        zoo.write_text(text + row)
        with pytest.raises(ValueError, match=message):
            read_zoo(zoo)


def test_the_table_has_every_model(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 17
    assert cost(zoo_model("coco_res50_256x192"))[0] == pytest.approx(33.999697)
    assert cost(zoo_model("coco_res50_256x192"))[1] == pytest.approx(5.46, rel=0.02)
