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


def test_two_processes_match_one_with_the_doubled_batch(tmp_path: Path) -> None:
    """Tight: the network has no batch normalisation, whose statistics are each process's own, as in the reference;
    what is left is the order in which gradients are summed.
    """
    finished = torchrun("agree", tmp_path)
    assert finished.returncode == 0, finished.stderr
    recipe = plain_recipe(2 * RECIPE.batch)
    task = PoseTask(tiny_model(plain=True), drawn_data(tmp_path / "data", weight=2.0), recipe)
    fit(task, recipe.schedule, tmp_path / "alone", torch.device("cpu"), save_every=SAVE_EVERY)
    alone, together = (torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("alone", "whole"))
    assert alone["steps"] == together["steps"] == 9
    for name, weights in alone["network"].items():
        torch.testing.assert_close(together["network"][name], weights, rtol=1e-4, atol=1e-6)
    for (_, figure, value), (_, _, other) in zip(
        logged(tmp_path / "alone")[1:], logged(tmp_path / "whole")[1:], strict=True
    ):
        assert float(value) == pytest.approx(float(other), rel=1e-4), figure
    # Only the first process writes and prints; it validated three times.
    assert finished.stdout.count("epoch 3: loss") == 2
    # Cut in the middle of an epoch and resumed: the same to the bit.
    same_state(tmp_path / "whole", tmp_path / "cut")
    # A mistake that the first process finds is everyone's.
    refusals = [(tmp_path / f"refused_{rank}").read_text() for rank in range(2)]
    assert refusals[0] == refusals[1] and "epochs 3 there and 9 here" in refusals[0]


def test_a_process_that_fails_ends_all(tmp_path: Path) -> None:
    finished = torchrun("fail", tmp_path)
    assert finished.returncode != 0 and "a broken disk" in finished.stderr
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["epoch"] == 1


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
