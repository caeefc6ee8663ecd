"""Two processes with torchrun train like one with the doubled batch, resume, and end together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import REPOSITORY
from tests.test_train_loop import logged, same_state
from tests.tiny_tasks import RECIPE, drawn_data, tiny_model
from tests.two_processes import SAVE_EVERY, plain_recipe
from train.__main__ import main
from train.distributed import joined
from train.loop import fit
from train.tasks import PoseTask


def torchrun(job: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Both processes of a job, on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    drawn_data(folder / "data")
    return subprocess.run(
        [*command, "-m", "tests.two_processes", job, str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what one process makes of the doubled batch."""
    folder = tmp_path_factory.mktemp("alone")
    train_alone(folder)
    return folder / "run"


def train_alone(folder: Path) -> None:
    recipe = plain_recipe(2 * RECIPE.batch)
    task = PoseTask(tiny_model(plain=True), drawn_data(folder / "data", weight=2.0), recipe)
    fit(task, recipe.schedule, folder / "run", torch.device("cpu"), save_every=SAVE_EVERY)


def same_but_for_rounding(one: Path, other: Path) -> None:
    """Tight: the network has no batch normalisation, whose statistics are each process's own, as in the reference;
    what is left is the order in which gradients are summed.
    """
    expected, found = (torch.load(folder / "last.pt", weights_only=True) for folder in (one, other))
    assert expected["steps"] == found["steps"] == 9
    for name, weights in expected["network"].items():
        torch.testing.assert_close(found["network"][name], weights, rtol=1e-4, atol=1e-6)
    for (_, figure, value), (_, _, second) in zip(logged(one)[1:], logged(other)[1:], strict=True):
        assert float(value) == pytest.approx(float(second), rel=1e-4), figure


def test_two_processes_match_one_with_the_doubled_batch(tmp_path: Path, alone: Path) -> None:
    finished = torchrun("agree", tmp_path)
    assert finished.returncode == 0, finished.stderr
    same_but_for_rounding(alone, tmp_path / "whole")
    # Only the first process writes and prints.
    assert finished.stdout.count("epoch 3: loss") == 2
    # Cut in the middle of an epoch and resumed: the same to the bit.
    same_state(tmp_path / "whole", tmp_path / "cut")
    # A mistake that the first process finds is everyone's.
    refusals = [(tmp_path / f"refused_{rank}").read_text() for rank in range(2)]
    assert refusals[0] == refusals[1] and "epochs 3 there and 9 here" in refusals[0]


def test_a_killed_process_ends_all_and_another_number_of_them_goes_on(tmp_path: Path, alone: Path) -> None:
    finished = torchrun("die", tmp_path)
    assert finished.returncode != 0 and "SIGKILL" in finished.stderr
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["epoch"] == 1 and state["steps"] in (3, 5)
    train_alone(tmp_path)
    same_but_for_rounding(alone, tmp_path / "run")


def test_a_device_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert main(["pose", "--data", str(tmp_path), "--out", str(tmp_path / "run"), "--device", "cuda"]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "device cuda: expected a GPU" in message and "--device cpu" in message
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"each of the 4 processes here, PyTorch .* sees 2"), joined("cuda"):
        pass
    with pytest.raises(ValueError, match="device should be cpu or cuda, got 'tpu'"), joined("tpu"):
        pass
