"""The model zoo: `python -m train.zoo` prints its table, `build_network(name)` makes one of its networks."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.skeletons import skeleton_named
from pipeline.types import Skeleton
from train.edge import EdgePose
from train.hrnet import HRNet
from train.resnet import SimpleBaseline

ZOO_FILE = Path(__file__).with_name("zoo.yaml")
NETWORKS: Mapping[str, Callable[[int], nn.Module]] = {
    "res50": lambda keypoints: SimpleBaseline(50, keypoints),
    "res101": lambda keypoints: SimpleBaseline(101, keypoints),
    "res152": lambda keypoints: SimpleBaseline(152, keypoints),
    "hrnet_w32": lambda keypoints: HRNet(32, keypoints),
    "hrnet_w48": lambda keypoints: HRNet(48, keypoints),
    "edge": EdgePose,
    "edge_large": lambda keypoints: EdgePose(keypoints, widths=(192, 128, 64), trunk=1.75),
}
ROW_KEYS = {"name", "data", "network", "size", "reported"}


@dataclass(frozen=True)
class ZooModel:
    """A row of the zoo, or its like for a data set of a user's own.

    network: one of NETWORKS. input_size: (width, height) px. sigma: of the target Gaussians, heatmap px.
    kernel: of the decode's blur. reported: the figures of the results tables, by column; empty for our own.
    """

    name: str
    data: str
    network: str
    skeleton: Skeleton
    input_size: tuple[int, int]
    sigma: float
    kernel: int
    reported: Mapping[str, float]

    def build(self) -> nn.Module:
        """The network, untrained: normalised RGB crops [N, 3, h, w] -> heatmaps [N, K, h/4, w/4]."""
        return NETWORKS[self.network](len(self.skeleton))

    def for_data(self, data: str, skeleton: Skeleton) -> ZooModel:
        """The same network, size and encoding for a data set of that name with another skeleton."""
        size = f"{self.input_size[1]}x{self.input_size[0]}"
        return replace(self, name=f"{data}_{self.network}_{size}", data=data, skeleton=skeleton, reported={})


def read_zoo(path: Path = ZOO_FILE) -> dict[str, ZooModel]:
    """All rows of a zoo file by name. Raises ValueError that names what is unknown and lists what is valid."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    _only({"sizes", "data_sets", "models"}, content, str(path))
    models = [_model(row, content) for row in content["models"]]
    return {model.name: model for model in models}


def _model(row: dict[str, Any], content: dict[str, Any]) -> ZooModel:
    _only(ROW_KEYS, row, f"row {row}")
    for key, valid in (("data", content["data_sets"]), ("size", content["sizes"]), ("network", NETWORKS)):
        if row.get(key) not in valid:
            raise ValueError(f"row {row}: expected {key} to be one of {', '.join(valid)}, got {row.get(key)!r}")
    data, size = content["data_sets"][row["data"]], content["sizes"][row["size"]]
    height, width = (int(side) for side in row["size"].split("x"))
    reported = row.get("reported", [])
    if reported and len(reported) != len(data["columns"]):
        raise ValueError(f"row {row}: expected a figure for each of {', '.join(data['columns'])}")
    return ZooModel(
        row.get("name", f"{row['data']}_{row['network']}_{row['size']}"),
        row["data"],
        row["network"],
        skeleton_named(row["data"]),
        (width, height),
        size["sigma"],
        size["kernel"],
        dict(zip(data["columns"], reported, strict=False)),
    )


def _only(valid: set[str], given: Mapping[str, Any], where: str) -> None:
    if unknown := sorted(given.keys() - valid):
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; valid are {', '.join(sorted(valid))}")


@cache
def zoo() -> dict[str, ZooModel]:
    """All rows of our own file by name, read once."""
    return read_zoo()


def zoo_model(name: str) -> ZooModel:
    """The row of that name. Raises ValueError that lists the valid names."""
    if name not in zoo():
        raise ValueError(f"no model {name!r} in the zoo; valid are {', '.join(zoo())}")
    return zoo()[name]


def build_network(name: str) -> nn.Module:
    """The network of that name, untrained: normalised RGB crops [N, 3, h, w] -> heatmaps [N, K, h/4, w/4]."""
    return zoo_model(name).build()


def cost(model: ZooModel) -> tuple[float, float]:
    """(million parameters, GFLOPs of one crop, counted as multiply-adds like the results tables of the field)."""
    with torch.device("meta"):
        network = model.build().eval()
        image = torch.zeros(1, 3, model.input_size[1], model.input_size[0])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    parameters = sum(weight.numel() for weight in network.parameters())
    return parameters / 1e6, counter.get_total_flops() / 2e9


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table: input, parameters, GFLOPs, reported figures."""
    argparse.ArgumentParser(description=main.__doc__).parse_args(arguments)
    print(f"{'name':<32}{'input':>9}{'params':>10}{'GFLOPs':>8}  reported")
    for model in zoo().values():
        millions, gflops = cost(model)
        size = f"{model.input_size[1]}x{model.input_size[0]}"
        figures = ", ".join(f"{column} {value:.3f}" for column, value in model.reported.items()) or "-"
        print(f"{model.name:<32}{size:>9}{millions:>9.2f}M{gflops:>8.2f}  {figures}")


if __name__ == "__main__":
    main()
