from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline.settings import SettingsError, at_least, read_settings


@dataclass(frozen=True)
class Options:
    source: str = "0"
    headless: bool = False
    frames: int | None = None
    detect_every: int = 5
    save: Path | None = None
    inputs: list[str] = field(default_factory=list)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_and_the_command_line_count() -> None:
    assert read_settings(Options, {"frames": 3}, None) == Options(frames=3)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    text = "source: 1\nheadless: true\nframes: 10\ndetect-every: 2\nsave: out.mp4\ninputs: [a, b]\n"
    settings = read_settings(Options, {"frames": 3}, written(tmp_path, text))
    assert settings == Options("1", True, 3, 2, Path("out.mp4"), ["a", "b"])


@pytest.mark.parametrize(("text", "expected"), [("", Options()), ("frames: null", Options())])
def test_nothing_and_null_leave_the_default(tmp_path: Path, text: str, expected: Options) -> None:
    assert read_settings(Options, {}, written(tmp_path, text)) == expected


def test_an_unknown_option_lists_the_valid_ones(tmp_path: Path) -> None:
    valid = "source, headless, frames, detect_every, save, inputs"
    with pytest.raises(SettingsError, match=f"unknown option sorce; valid are {valid}"):
        read_settings(Options, {}, written(tmp_path, "sorce: 1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("headless: 1", "headless should be true or false, got 1"),
        ("frames: ten", "frames should be a whole number, got 'ten'"),
        ("frames: true", "frames should be a whole number, got True"),
        ("frames: 1.5", "frames should be a whole number, got 1.5"),
        ("source: null", "source should be text, got None"),
        ("save: 3", "save should be a path, got 3"),
        ("- a\n- b", "expected lines of 'option: value', got a list"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_wrong_value_says_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(Options, {}, written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.yaml: cannot be read \(No such file"):
        read_settings(Options, {}, Path("nowhere.yaml"))


def test_at_least() -> None:
    at_least("frames", None, 1)
    at_least("frames", 1, 1)
    with pytest.raises(SettingsError, match="frames should be at least 1, got 0"):
        at_least("frames", 0, 1)
