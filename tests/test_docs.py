"""The commands and the Python lines of the documentation: those of the README run, all others are understood."""

from __future__ import annotations

import argparse
import configparser
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest

from apps import video, webcam
from pipeline.sources import DEMO_CLIP
from tests.fakes import read_lines, video_facts, write_video
from tests.helpers import REPOSITORY

README = REPOSITORY / "README.md"
PAGES = [README, REPOSITORY / "models" / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
TEXT_HELP = re.compile(r"(?<![\w-])--[a-z][\w-]+")


class Understood(Exception):
    """A command line was parsed without a complaint."""


def blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in FENCE.findall(page.read_text()) if name == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command line of a page's bash blocks."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removesuffix("..."), comments=True)
            if words:
                yield words


def python_commands(page: Path) -> list[list[str]]:
    """Those that run this project: the program and its arguments."""
    found = []
    for words in commands(page):
        if "&&" in words:
            words = words[: words.index("&&")]
        if words[0] == "torchrun":
            words = ["python", *words[3:]]
        if words[0] in ("python", ".venv/bin/python"):
            found.append(words[1:])
    return found


ALL = [pytest.param(words, id=" ".join(words)[:60]) for page in PAGES for words in python_commands(page)]


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("words", ALL)
def test_a_command_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_known_args

    def parsed(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> NoReturn:
        _, unknown = parse(self, args, namespace)
        raise Understood if not unknown else AssertionError(f"unknown options {unknown}")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parsed)
    monkeypatch.setattr(sys, "path", [str(REPOSITORY), *sys.path])
    module = words[1] if words[0] == "-m" else None
    monkeypatch.setattr(sys, "argv", words[1:] if module else words)
    with pytest.raises(Understood):
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(str(REPOSITORY / words[0]), run_name="__main__")


def test_extras_and_scripts_that_are_named_exist() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    for page in PAGES:
        text = page.read_text()
        for extras in re.findall(r"pip install [^`\n]*\"?\.\[([\w,]+)\]", text):
            assert set(extras.split(",")) <= set(setup["options.extras_require"]), page
        for script in re.findall(r"bash ((?:scripts|docker)/\S+\.sh)", text):
            assert (REPOSITORY / script).is_file(), (page, script)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(("app", "options"), [(webcam, webcam.WebcamSettings), (video, video.VideoSettings)])
def test_every_option_of_the_apps_is_in_the_readme(app: Any, options: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app.main(["--help"])
    there = set(TEXT_HELP.findall(capsys.readouterr().out)) - {"--help"}
    assert there
    assert there <= set(TEXT_HELP.findall(README.read_text()))


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: the README's files under its names, and the repository's networks."""
    capture = cv2.VideoCapture(str(DEMO_CLIP))
    images = [np.asarray(capture.read()[1], np.uint8) for _ in range(8)]
    write_video(tmp_path / "match.mp4", images)
    (tmp_path / "holiday_photos").mkdir()
    for name in ("street.jpg", "holiday_photos/beach.jpg", "holiday_photos/tower.jpg"):
        cv2.imwrite(str(tmp_path / name), images[-1])
    (tmp_path / "models").symlink_to(REPOSITORY / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_lines_run_and_give_the_shapes_that_they_say(own_folder: Path) -> None:
    found: dict[str, Any] = {}
    for block in blocks(README, "python"):
        exec(compile(block, str(README), "exec"), found)
    count = len(found["people"].boxes)
    assert count >= 3
    assert (found["people"].boxes.shape, found["people"].scores.shape) == ((count, 4), (count,))
    assert (found["keypoints"].shape, found["scores"].shape) == ((count, 17, 2), (count, 17))
    assert found["frame"].index == 7
    poses = found["poses"]
    assert len(poses) >= 3
    assert poses.keypoints.shape == (len(poses), 17, 2)
    assert (poses.boxes.shape, poses.track_ids.shape) == ((len(poses), 4), (len(poses),))


def test_the_live_and_batch_commands_run(own_folder: Path) -> None:
    """A stream's address stands for one that a test has: a file."""
    apps = {"apps/webcam.py": webcam.main, "apps/video.py": video.main}
    lines = [words for words in python_commands(README) if words[0] in apps and len(words) > 1]
    assert {words[0] for words in lines} == set(apps)
    for program, *words in lines:
        words = ["match.mp4" if word.startswith("rtsp://") else word for word in words]
        assert apps[program](words) == 0, (program, words)
    assert (len(read_lines(Path("out.jsonl"))), video_facts(Path("out.mp4"))[2]) == (8, 8)
    assert (len(read_lines(Path("results/match.jsonl"))), video_facts(Path("results/match.mp4"))[2]) == (8, 8)
    assert len(read_lines(Path("results/holiday_photos.jsonl"))) == 2
