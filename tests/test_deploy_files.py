"""What can be said of the Jetson's files without one: lint, what must stand in them, and the first run on a fake."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apps.build_engine import _parser
from tests.helpers import REPOSITORY

SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.sh"))
DOCKERFILE = (REPOSITORY / "docker" / "Dockerfile.jetson").read_text()
UNIT = REPOSITORY / "deploy" / "darkstream.service"
ORIN = "# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic, EABI: aarch64, DATE: Fri Sep 13 04:36:44 UTC\n"
THOR = "# R38 (release), REVISION: 2.0, GCID: 41844464, BOARD: generic, EABI: aarch64\n"


def test_the_scripts_pass_shellcheck() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (the dev extra has it)")
    names = [str(path.relative_to(REPOSITORY)) for path in SCRIPTS]
    done = subprocess.run([shellcheck, "-x", *names], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined, comments left out."""
    lines = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines.splitlines() if line.strip()]


def test_the_image_is_for_both_jetpacks_by_build_arguments() -> None:
    found = instructions()
    assert found[:2] == [("ARG", "BASE_IMAGE=nvcr.io/nvidia/l4t-jetpack:r36.4.0"), ("FROM", "${BASE_IMAGE}")]
    assert ("ARG", "TENSORRT=10.3.*") in found
    assert "--build-arg BASE_IMAGE=nvcr.io/nvidia/cuda:13.0.2-devel-ubuntu24.04" in DOCKERFILE


def test_the_image_runs_without_rights_and_tells_its_health() -> None:
    found = instructions()
    users = [value for name, value in found if name == "USER"]
    assert users == ["10001:10001"]
    assert any(name == "HEALTHCHECK" and "jetson_health.sh" in value for name, value in found)
    assert [value for name, value in found if name == "ENTRYPOINT"] == ['["bash", "scripts/jetson_run.sh"]']


def test_the_image_takes_opencv_and_tensorrt_from_the_system() -> None:
    pip = next(value for name, value in instructions() if name == "RUN" and "pip install" in value)
    assert "venv --system-site-packages" in pip
    assert "opencv" not in pip
    assert ".[jetson,serve]" in pip
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    assert "opencv" not in config["options.extras_require"]["jetson"]


def test_everything_that_the_image_copies_is_there_and_not_ignored() -> None:
    ignore = (REPOSITORY / "docker" / "Dockerfile.jetson.dockerignore").read_text().splitlines()
    for name, value in instructions():
        if name == "COPY":
            for source in value.split()[1:-1]:
                assert (REPOSITORY / source).exists(), source
                assert f"!{source}" in ignore, source


def unit() -> dict[str, str]:
    lines = UNIT.read_text().replace("\\\n", " ").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_service_restarts_without_end_and_has_no_rights() -> None:
    found = unit()
    assert (found["Restart"], found["RestartSec"], found["StartLimitIntervalSec"]) == ("always", "5", "0")
    assert found["User"] == "darkstream"
    assert (found["NoNewPrivileges"], found["ProtectSystem"], found["CapabilityBoundingSet"]) == ("true", "strict", "")
    assert found["EnvironmentFile"] == "/etc/darkstream/darkstream.env"
    # The camera's daemon is reached through /tmp, CUDA through /dev; nothing sends keep-alives.
    assert not {"WatchdogSec", "PrivateTmp", "PrivateDevices", "MemoryDenyWriteExecute"} & set(found)
    options = (REPOSITORY / "deploy" / "darkstream.env").read_text()
    assert "DARKSTREAM_OPTIONS=--source csi://0" in options


def test_systemd_understands_the_service(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/darkstream/.venv/bin/python", shutil.which("true") or "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


def test_health_is_whether_process_1_writes(tmp_path: Path) -> None:
    io, state = tmp_path / "io", tmp_path / "state"

    def healthy(written: int) -> bool:
        io.write_text(f"rchar: 5\nwchar: {written}\nsyscr: 7\n")
        environment = {**os.environ, "PROC": str(io), "STATE": str(state)}
        command = ["bash", str(REPOSITORY / "scripts" / "jetson_health.sh")]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    assert [healthy(written) for written in (10, 20, 20, 30)] == [True, True, False, True]


class Jetson:
    """A checkout on a make-believe Jetson, where TensorRT, OpenCV, nvcc and the builder are a few lines each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("scripts", "pipeline"):
            (folder / name).mkdir()
        for script in SCRIPTS:
            shutil.copy(script, folder / "scripts")
        for name in ("__init__.py", "gstreamer.py"):
            shutil.copy(REPOSITORY / "pipeline" / name, folder / "pipeline")
        self.write("setup.cfg", "")
        self.write("models/person_detector.onnx", "detector")
        self.write("models/edge_coco_256x192.onnx", "pose")
        self.write("engines/build.py", "")
        self.write("release", ORIN)
        self.write("system/tensorrt.py", "__version__ = '10.3.0'")
        self.opencv("YES (1.20.3)")
        builder = "import pathlib, sys; pathlib.Path(sys.argv[-1]).write_text('engine'); open('built', 'a').write("
        self.write("apps/build_engine.py", builder + "' '.join(sys.argv[1:]) + '\\n')")
        self.tool("cuda/bin/nvcc", "echo 'Cuda compilation tools, release 12.6, V12.6.68'")
        python = f'PYTHONPATH="{folder}/system" exec "{sys.executable}" "$@"'
        self.tool("python3", python)
        pip = f'case "$*" in "-m pip install"*) echo "$*" >>"{folder}/pip"; exit;; "-m pip"*) exit;; esac'
        self.tool(".venv/bin/python", f"{pip}; {python}")
        self.write(".venv/pyvenv.cfg", "include-system-site-packages = true\n")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def tool(self, name: str, text: str) -> None:
        self.write(name, f"#!/bin/sh\n{text}\n").chmod(0o755)

    def opencv(self, gstreamer: str) -> None:
        self.write("system/cv2.py", f"def getBuildInformation(): return '    GStreamer:   {gstreamer}\\n'")

    def run(self, **environment: str) -> tuple[int, str]:
        given = {
            "PYTHON": str(self.folder / "python3"),
            "CUDA_HOME": str(self.folder / "cuda"),
            "NV_TEGRA_RELEASE": str(self.folder / "release"),
            **environment,
        }
        done = subprocess.run(
            ["bash", "scripts/jetson_first_run.sh"],
            cwd=self.folder, env={**os.environ, **given}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    def builds(self) -> list[str]:
        path = self.folder / "built"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def jetson(tmp_path: Path) -> Jetson:
    return Jetson(tmp_path)


def test_the_first_run_builds_and_the_second_does_nothing(jetson: Jetson) -> None:
    code, said = jetson.run()
    assert code == 0, said
    assert "Jetson Linux: 36.4.0, TensorRT: 10.3.0" in said
    engines = "--detector networks/jetson/person_detector.engine --pose networks/jetson/edge_coco_256x192.engine"
    assert f"python apps/webcam.py {engines} --source csi://0" in said
    pip = (jetson.folder / "pip").read_text()
    assert re.search(r"-e \.\[jetson,serve\] numpy>=1\.26,<2 cuda-bindings>=12\.6,==12\.\*$", pip.strip())
    assert "opencv" not in pip
    assert len(jetson.builds()) == 2
    code, said = jetson.run()
    assert code == 0
    assert "The engines in networks/jetson are up to date." in said
    assert len(jetson.builds()) == 2
    assert (jetson.folder / "pip").read_text() == pip


def test_the_builds_are_commands_that_the_builder_takes(jetson: Jetson) -> None:
    jetson.run()
    for line in jetson.builds():
        options = _parser().parse_args(shlex.split(line))
        assert (options.runtime, options.input, options.precision) == ("tensorrt", "frame", "fp16")
        assert (REPOSITORY / options.model).exists()
        assert options.out.name == f"{Path(options.model).stem}.engine"


@pytest.mark.parametrize("change", ["tensorrt", "release", "network", "engine"])
def test_what_an_engine_depends_on_has_it_built_anew(change: str, jetson: Jetson) -> None:
    jetson.run()
    if change == "engine":
        (jetson.folder / "networks/jetson/person_detector.engine").unlink()
    name, text = {
        "tensorrt": ("system/tensorrt.py", "__version__ = '10.13.3'"),
        "release": ("release", THOR),
        "network": ("models/edge_coco_256x192.onnx", "other"),
        "engine": ("note", ""),
    }[change]
    jetson.write(name, text)
    assert jetson.run()[0] == 0
    assert len(jetson.builds()) == 4


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "release",
            "# R35 (release), REVISION: 4.1, GCID: 1\n",
            "Jetson Linux 36 (JetPack 6), 38 or 39 (JetPack 7) is",
        ),
        ("system/tensorrt.py", "raise ImportError", "cannot import tensorrt: apt-get install nvidia-jetpack"),
        ("system/tensorrt.py", "__version__ = '8.6.2'", "TensorRT 10.3 or later is needed, and JetPack's is 8.6.2"),
        ("system/cv2.py", "raise ImportError", "has no OpenCV: apt-get install python3-opencv"),
        ("apps/build_engine.py", "raise SystemExit(1)", "the engine could not be built"),
    ],
)
def test_what_is_missing_is_one_clear_line(name: str, text: str, message: str, jetson: Jetson) -> None:
    jetson.write(name, text)
    code, said = jetson.run()
    assert code == 1
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not (jetson.folder / "networks/jetson/key").exists()


def test_an_opencv_without_gstreamer_is_an_error(jetson: Jetson) -> None:
    jetson.opencv("NO")
    code, said = jetson.run()
    assert code == 1
    assert "cv2.py has no GStreamer: pip uninstall opencv-python, and apt-get install python3-opencv" in said


def test_an_opencv_in_the_venv_is_an_error(jetson: Jetson) -> None:
    (jetson.folder / ".venv/lib").mkdir()
    shutil.move(jetson.folder / "system", jetson.folder / ".venv/lib/system")
    (jetson.folder / "system").symlink_to(jetson.folder / ".venv/lib/system")
    for tool in ("python3", ".venv/bin/python"):
        path = jetson.folder / tool
        path.write_text(path.read_text().replace(f"{jetson.folder}/system", f"{jetson.folder}/.venv/lib/system"))
    code, said = jetson.run()
    assert code == 1
    assert "hides the system's OpenCV: .venv/bin/pip uninstall opencv-python" in said


def test_without_a_jetson_nothing_is_done(jetson: Jetson) -> None:
    (jetson.folder / "release").unlink()
    code, said = jetson.run()
    assert code == 1
    assert "this is not a Jetson with JetPack 6 or 7" in said
    assert not (jetson.folder / "pip").exists()


def test_in_a_container_only_the_engines_are_built(jetson: Jetson) -> None:
    (jetson.folder / "release").unlink()
    code, said = jetson.run(DARKSTREAM_CONTAINER="1")
    assert code == 0, said
    assert "Jetson Linux: container, TensorRT: 10.3.0" in said
    assert len(jetson.builds()) == 2
    assert not (jetson.folder / "pip").exists()
