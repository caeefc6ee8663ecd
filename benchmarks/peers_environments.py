"""An environment of its own for each peer, so that none of them is a dependency of the project."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

REQUIREMENTS: Mapping[str, Sequence[str]] = {
    "torch": ["torch==2.13.0", "numpy", "opencv-python-headless<6", "onnx", "pyyaml"],
    "rtmlib": ["rtmlib==0.0.16", "onnxruntime==1.32.0", "openvino==2026.4.1"],
    "mediapipe": ["mediapipe==0.10.21"],
    "ultralytics": ["torch==2.14.1", "torchvision==0.29.1", "ultralytics==8.4.190"],
}
PYTHON = "python3.11"  # MediaPipe 0.10.21 has no wheels for newer ones than 3.12
# The wheel of MediaPipe holds the middle one of its three networks, the npm package all.
MEDIAPIPE_NETWORKS = "@mediapipe/pose@0.5.1675469404"


def interpreter(environments: Path, name: str) -> Path:
    """The Python of a peer's environment."""
    return environments / name / "bin" / "python"


def make_environment(environments: Path, name: str) -> None:
    """Make what is not there yet. Raises RuntimeError with pip's last words."""
    done = environments / name / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS[name]) + "\n"
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    print(f"making the environment of {name} ...", flush=True)
    _call([PYTHON, "-m", "venv", str(environments / name)], name)
    _call([str(interpreter(environments, name)), "-m", "pip", "install", "-q", *REQUIREMENTS[name]], name)
    if name == "mediapipe":
        _add_networks(environments / name)
    done.write_text(wanted, encoding="utf-8")


def mediapipe_networks(environments: Path) -> list[str]:
    """Which of MediaPipe's pose networks its environment has: lite, full, heavy."""
    found = (environments / "mediapipe").glob("lib/python*/site-packages/mediapipe/modules/pose_landmark/*.tflite")
    names = {path.stem.removeprefix("pose_landmark_") for path in found}
    return [name for name in ("lite", "full", "heavy") if name in names]


def _add_networks(environment: Path) -> None:
    """Put the light and the heavy network where MediaPipe looks for them, if npm can be had; else it is a row less."""
    npm = shutil.which("npm")
    if npm is None:
        print("no npm: MediaPipe is measured with the network of its wheel only")
        return
    (folder,) = environment.glob("lib/python*/site-packages/mediapipe/modules/pose_landmark")
    with tempfile.TemporaryDirectory() as download:
        _call([npm, "pack", "--silent", "--pack-destination", download, MEDIAPIPE_NETWORKS], "mediapipe")
        (archive,) = Path(download).glob("*.tgz")
        with tarfile.open(archive) as files:
            for name in ("lite", "heavy"):
                content = files.extractfile(f"package/pose_landmark_{name}.tflite")
                assert content is not None
                (folder / f"pose_landmark_{name}.tflite").write_bytes(content.read())


def _call(command: list[str], name: str) -> None:
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RuntimeError(f"the environment of {name} cannot be made: {command[0]} is not installed") from error
    if finished.returncode != 0:
        last = (finished.stderr.strip() or finished.stdout.strip() or "no output").splitlines()[-1]
        raise RuntimeError(f"the environment of {name} cannot be made: {' '.join(command[:6])} ...: {last}")
