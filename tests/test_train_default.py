"""The whole recipe as one command: its steps in order, each once, resumed where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from apps import train_default
from apps.train_default import STEPS, main
from train import __main__ as train_command

TINY = {"first": "train one {data} {workers}", "second": "calib two {out}/first", "third": "train three {models}"}
Calls = list[list[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The commands that were run; one named "two" fails until its folder holds `ready`."""
    made: Calls = []

    def command(words: list[str]) -> int:
        made.append(words)
        return 3 if words[0] == "two" and not Path(words[1]).parent.joinpath("ready").exists() else 0

    monkeypatch.setattr(train_default, "COMMANDS", {"train": command, "calib": command})
    return made


def test_steps_run_in_order_and_what_is_done_is_not_done_again(tmp_path: Path, calls: Calls) -> None:
    out = tmp_path / "with a blank"
    arguments = ["--data", "some data", "--out", str(out), "--workers", "1", "--models", "m"]
    assert main(arguments, TINY) == 3
    assert calls == [["one", "some data", "1"], ["two", f"{out}/first"]]
    (out / "ready").touch()
    assert main(arguments, TINY) == 0 and main(arguments, TINY) == 0
    assert calls[2:] == [["two", f"{out}/first"], ["three", "m"]]
    # Another setting of a step does it anew.
    assert main([*arguments[:-1], "elsewhere"], TINY) == 0
    assert calls[4:] == [["three", "elsewhere"]]


def test_a_folder_of_something_else_is_a_mistake(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    for content in ("[]", "not JSON"):
        (tmp_path / "done.json").write_text(content)
        assert main(["--data", "d", "--out", str(tmp_path)], TINY) == 1
        assert "is not the list of finished steps" in capsys.readouterr().err
    assert not calls


def test_without_pretrained_networks_nothing_is_begun(
    tmp_path: Path, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "movenet-lightning.json").touch()
    assert main(["--data", "d", "--out", str(tmp_path), "--pretrained", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert (
        "no movenet-thunder.json, movenet-multipose.json, movenet_thunder.onnx, nanodet.json in" in error
        and error.count("\n") == 1
    )
    assert not calls


def test_every_step_is_a_command_that_exists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", "d", "--out", str(tmp_path), "--list"]) == 0
    assert capsys.readouterr().out.count("python -m ") == len(STEPS)
    parser = train_command._parser()
    for step in STEPS.values():
        words = step.format(data="d", out="o", models="m", workers=1, device="cpu", pretrained="f").split()
        if words[0] == "train":
            parser.parse_args(words[1:])
