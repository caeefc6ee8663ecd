"""The training loop learns, logs, and resumes to the same result; what networks start from."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.skeletons import COCO, SKELETONS
from tests.tiny_tasks import TinyNetwork, drawn_data, quick, tiny_model
from train.checkpoints import load_checkpoint, read_checkpoint
from train.loop import fit
from train.sampling import Batch, Loader
from train.schedule import Schedule
from train.tasks import PoseTask, joints_mse

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks of a moment lose more by waiting for each other's threads than they win."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class CutTask(PoseTask):
    """A task that is interrupted once: at the start of that step, or of that validation."""

    step: int | None = None
    validation_left: int | None = None

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        if self.step is not None:
            self.step -= 1
            if self.step < 0:
                raise KeyboardInterrupt
        return super().loss(network, batch)

    def validate(self, network: nn.Module) -> dict[str, float]:
        if self.validation_left is not None:
            self.validation_left -= 1
            if self.validation_left < 0:
                raise KeyboardInterrupt
        return super().validate(network)


def run(folder: Path, make: Callable[..., PoseTask] = PoseTask, save_every: int = 1000, **changes: Any) -> Path:
    """A training on drawn people in `folder`'s parent; its folder."""
    recipe = quick(**changes)
    task = make(tiny_model(), drawn_data(folder.parent / "data"), recipe)
    fit(task, recipe.schedule, folder, CPU, save_every=save_every)
    return folder


def same_state(one: Path, other: Path) -> None:
    """All of last.pt and best.pt is equal to the bit, but how long it took."""
    for name in ("last.pt", "best.pt"):
        first, second = (leaves(torch.load(folder / name, weights_only=True)) for folder in (one, other))
        assert first.keys() == second.keys() and len(first) > 10
        assert all(torch.equal(torch.as_tensor(first[key]), torch.as_tensor(second[key])) for key in first)


def leaves(state: Any, place: str = "") -> dict[str, Any]:
    """The numbers and tensors of a checkpoint by their place, without how long it took."""
    if isinstance(state, dict):
        rows = [leaves(value, f"{place}/{key}") for key, value in state.items() if key not in ("seconds", "samples/s")]
    elif isinstance(state, (list, tuple)):
        rows = [leaves(value, f"{place}/{number}") for number, value in enumerate(state)]
    else:
        return {} if state is None or isinstance(state, str) else {place: state}
    return {key: value for row in rows for key, value in row.items()}


def logged(folder: Path) -> list[list[str]]:
    """The rows of log.csv, without those of how long it took."""
    rows = list(csv.reader((folder / "log.csv").open()))
    return [row for row in rows if row[1] not in ("seconds", "samples/s")]


def test_training_learns_and_logs(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", epochs=12, validate_every=5)
    rows = logged(folder)
    losses = [float(value) for _, figure, value in rows[1:] if figure == "loss"]
    assert rows[0] == ["epoch", "figure", "value"] and len(losses) == 12 and losses[-1] < 0.8 * losses[0]
    assert [epoch for epoch, figure, _ in rows[1:] if figure == "AP"] == ["5", "10", "12"]


def test_the_best_checkpoint_is_of_the_best_epoch_and_says_what_it_is(tmp_path: Path) -> None:
    kept = []

    class Scored(PoseTask):
        def validate(self, network: nn.Module) -> dict[str, float]:
            kept.append({name: weight.clone() for name, weight in network.state_dict().items()})
            return {"AP": (0.1, 0.3, 0.2)[len(kept) - 1]}

    folder = run(tmp_path / "run", Scored)
    network = TinyNetwork(17)
    info = load_checkpoint(network, folder / "best.pt")
    assert info.figures["AP"] == 0.3
    assert info.model is not None and info.model.input_size == (48, 64) and info.model.skeleton.name == "coco"
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, kept[1][name], rtol=0, atol=0)
    assert read_checkpoint(folder / "last.pt").info.figures["AP"] == 0.2


def test_tensorboard_shows_curves_and_pictures(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(run(tmp_path / "run") / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("AP")] == [3, 6, 9]
    assert {"loss", "learning rate", "loss of the epoch", "AR"} <= set(events.Tags()["scalars"])
    (*_, picture) = events.Images("predictions")
    assert (picture.width, picture.height) == (4 * 48, 2 * 64)


@pytest.mark.parametrize(("step", "validation"), [(5, None), (7, None), (0, None), (None, 1)])
def test_an_interrupted_training_resumes_to_the_same_result(
    tmp_path: Path, step: int | None, validation: int | None
) -> None:
    """In the middle of an epoch (two steps of whose three were saved, or none), before anything, while validating."""
    whole = run(tmp_path / "whole", save_every=2)

    def cut(*values: Any) -> PoseTask:
        task = CutTask(*values)
        task.step, task.validation_left = step, validation
        return task

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", cut, save_every=2)
    (tmp_path / "cut" / "last.tmp").write_bytes(b"half a checkpoint")
    resumed = run(tmp_path / "cut", save_every=2)
    same_state(whole, resumed)
    assert logged(resumed) == logged(whole)


def test_a_finished_training_stays_as_it_is(tmp_path: Path) -> None:
    folder = run(tmp_path / "run")
    before = logged(folder)
    run(folder)
    assert logged(folder) == before


def test_a_run_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match=r"epochs 1 there and 2 here, learning rate 0\.01 there and 0.5 here"):
        run(folder, epochs=2, learning_rate=0.5)
    with pytest.raises(ValueError, match="batch of all processes 4 there and 6 here"):
        run(folder, epochs=1, batch=6)
    mpii = SKELETONS["mpii"]
    task = PoseTask(tiny_model(mpii), drawn_data(tmp_path / "mpii", mpii), quick(epochs=1))
    with pytest.raises(ValueError, match="model name coco_res50_64x48 there and mpii_res50_64x48 here"):
        fit(task, quick(epochs=1).schedule, folder, CPU)
    (folder / "last.pt").unlink()
    with pytest.raises(ValueError, match=r"has a best\.pt and no last\.pt"):
        run(folder, epochs=1)
    (folder / "last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match="is not of a run that can be resumed"):
        run(folder, epochs=1)


def test_two_trainings_do_not_share_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('taken'); input()"
    other = subprocess.Popen(
        [sys.executable, "-uc", code, str(tmp_path / "run" / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None and other.stdout.readline() == b"taken\n"
    with pytest.raises(ValueError, match="another training is writing into"):
        run(tmp_path / "run")
    other.communicate(b"\n")
    run(tmp_path / "run")


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the loss is (nan|inf) after step \d+: give a lower learning rate"):
        run(tmp_path / "run", learning_rate=1e30, warmup_steps=0)


@pytest.mark.parametrize(
    ("instructions", "mixed", "seen"),
    [({"avx512_bf16": True}, True, True), ({"avx512_bf16": True}, False, False), ({"avx512_vnni": True}, True, False)],
)
def test_a_processor_without_bfloat16_learns_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], mixed: bool, seen: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    found: list[bool] = []

    class Watching(PoseTask):
        def loss(self, network: nn.Module, batch: Batch) -> Tensor:
            found.append(torch.is_autocast_enabled("cpu"))
            return super().loss(network, batch)

    run(tmp_path / "run", Watching, mixed_precision=mixed, epochs=1)
    assert found and all(each is seen for each in found)


def test_the_plain_recipe_is_adam(tmp_path: Path) -> None:
    """Without decay, average and cut gradients, a step is Adam's: the loop against PyTorch's own, written out."""
    plain: dict[str, Any] = {"weight_decay": 0.0, "ema_decay": None, "largest_gradient": None, "epochs": 2}
    recipe = quick(**plain, milestones=(1,), warmup_steps=2, warmup_start=0.5, mixed_precision=False, loss_scale=1.0)
    task = PoseTask(tiny_model(plain=True), drawn_data(tmp_path / "data"), recipe)
    fit(task, recipe.schedule, tmp_path / "run", CPU)
    other = PoseTask(tiny_model(plain=True), drawn_data(tmp_path / "data"), recipe)
    network = other.network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    loader = Loader(other.samples, seed=0)
    for step, rate in enumerate((0.005, 0.0075, 0.01, 0.001, 0.001, 0.001)):
        if step % 3 == 0:
            batches = loader.batches(step // 3)
        adam.param_groups[0]["lr"] = rate
        adam.zero_grad()
        other.loss(network, next(batches)).backward()
        adam.step()
    for (name, expected), found in zip(network.state_dict().items(), task.network.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_the_loss_is_the_references(tmp_path: Path) -> None:
    """By its definition, in loops: for each joint the mean over batch and pixels of the weighted error."""
    random = np.random.default_rng(0)
    predicted, target = random.normal(size=(2, 2, 3, 5, 4))
    weights = np.array([[1, 0, 1], [1, 1, 0]], float)
    joints = []
    for joint in range(3):
        errors = [weights[n, joint] * (predicted[n, joint] - target[n, joint]) ** 2 for n in range(2)]
        joints.append(np.mean(errors))
    loss = joints_mse(*(torch.from_numpy(array) for array in (predicted, target, weights)))
    assert float(loss) == pytest.approx(np.mean(joints))
    task = PoseTask(tiny_model(), drawn_data(tmp_path), quick(loss_scale=1000.0))
    crops = torch.zeros(2, 64, 48, 3, dtype=torch.uint8)
    zeros, ones = torch.zeros(2, 17, 16, 12), torch.ones(2, 17)
    network = TinyNetwork(17).eval()
    with torch.no_grad():
        found = task.loss(network, (crops, zeros, ones))
        plain = PoseTask(tiny_model(), drawn_data(tmp_path), quick(loss_scale=1.0)).loss(network, (crops, zeros, ones))
    assert float(found) == pytest.approx(1000 * float(plain), rel=1e-5)


def test_data_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has the 16 keypoints of skeleton 'mpii', the data coco the 17 of 'coco'"):
        PoseTask(tiny_model(SKELETONS["mpii"]), drawn_data(tmp_path), quick())
    with pytest.raises(ValueError, match="an epoch has 12 samples, a batch 13"):
        run(tmp_path / "run", batch=13)
    with pytest.raises(ValueError, match="expected a batch of 1 or more"):
        run(tmp_path / "run", batch=0)
    data = drawn_data(tmp_path)
    data.validation.clear()
    with pytest.raises(ValueError, match="nobody in the 0 validation pictures of coco has keypoints"):
        PoseTask(tiny_model(COCO), data, quick())
    with pytest.raises(ValueError, match="epochs should be above 0, got 0"):
        Schedule(0, 0.1)
