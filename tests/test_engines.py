"""Both runtimes give the same, for any number of inputs, and say in a line what is wrong with a file."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from engines import engine as engine_module
from engines.engine import ModelError, open_engine, read_manifest
from engines.manifest import METADATA_KEY
from tests.helpers import REPOSITORY, pose_manifest
from tests.tiny_networks import detector_file, pose_file, pose_network

RUNTIMES = ("openvino", "onnxruntime")


def crops(count: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 48, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_runtimes_agree(tmp_path: Path, count: int) -> None:
    file = pose_file(tmp_path)
    one, other = (open_engine(file, runtime, "float32")({"crops": crops(count)}) for runtime in RUNTIMES)
    assert list(one) == list(other) == ["keypoints", "scores"]
    assert one["keypoints"].shape == (count, 17, 2) and one["scores"].shape == (count, 17)
    np.testing.assert_array_equal(one["keypoints"], other["keypoints"])
    np.testing.assert_allclose(one["scores"], other["scores"], atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_batch_beyond_the_largest_is_split(tmp_path: Path, runtime: str) -> None:
    whole = open_engine(pose_file(tmp_path), runtime, "float32")({"crops": crops(7)})
    split = open_engine(pose_file(tmp_path, largest_batch=3), runtime, "float32")({"crops": crops(7)})
    for name in whole:
        np.testing.assert_allclose(split[name], whole[name], atol=1e-6)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_nothing_in_gives_nothing_out(tmp_path: Path, runtime: str) -> None:
    found = open_engine(pose_file(tmp_path), runtime)({"crops": crops(0)})
    assert found["keypoints"].shape == (0, 17, 2) and found["keypoints"].dtype == np.float32
    assert found["scores"].shape == (0, 17) and found["scores"].dtype == np.float32


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_later_call_leaves_earlier_outputs_alone(tmp_path: Path, runtime: str) -> None:
    engine = open_engine(pose_file(tmp_path), runtime)
    first = engine({"crops": crops(2)})
    kept = {name: array.copy() for name, array in first.items()}
    engine({"crops": 255 - crops(2)})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_detector_takes_any_size_and_fills_up(tmp_path: Path, runtime: str) -> None:
    engine = open_engine(detector_file(tmp_path, top_k=5), runtime, "float32")
    picture = np.zeros((1, 64, 96, 3), np.uint8)
    picture[0, 32:, 64:] = 255
    found = engine({"crops": picture})
    assert found["boxes"].shape == (5, 4) and found["scores"].shape == (5,)
    np.testing.assert_allclose(found["boxes"][0], [64, 32, 96, 64], atol=1e-4)
    assert (np.diff(found["scores"]) <= 0).all()
    small = engine({"crops": picture[:, :32, :32]})
    np.testing.assert_allclose(small["boxes"][0], [0, 0, 32, 32], atol=1e-4)
    assert not small["scores"][1:].any(), "one cell only: the rest are zeros"


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"crops": crops(1).astype(np.float32)}, r"'crops' is uint8 \[any, 64, 48, 3\], got float32 \[1, 64, 48, 3\]"),
        ({"crops": crops(1)[:, :32]}, r"got uint8 \[1, 32, 48, 3\]"),
        ({"crops": crops(1)[0]}, r"got uint8 \[64, 48, 3\]"),
        ({"image": crops(1)}, r"takes the inputs \['crops'\], got \['image'\]"),
        ({}, r"takes the inputs \['crops'\], got \[\]"),
    ],
)
def test_wrong_inputs_are_named(tmp_path: Path, runtime: str, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_engine(pose_file(tmp_path), runtime)(inputs)


def test_read_manifest_reads_what_was_written(tmp_path: Path) -> None:
    manifests = [read_manifest(pose_file(tmp_path), runtime) for runtime in ("auto", *RUNTIMES)]
    assert manifests[0] == manifests[1] == manifests[2]
    assert replace(manifests[0], network_sha256="0" * 64) == pose_manifest()
    assert manifests[0] == open_engine(tmp_path / "pose.onnx").manifest


def one_line_error(file: Path, **arguments: Any) -> str:
    """The message of the ModelError that opening the file ends with."""
    with pytest.raises(ModelError) as caught:
        open_engine(file, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_that_is_no_network_is_named(tmp_path: Path, runtime: str, capfd: pytest.CaptureFixture[str]) -> None:
    whole = pose_file(tmp_path).read_bytes()
    contents = {
        "empty.onnx": (b"", "is empty"),
        "text.onnx": (b"a shopping list\nmilk\n", "is not an ONNX network"),
        "cut.onnx": (whole[: len(whole) // 2], "is not an ONNX network"),
        "end_cut.onnx": (whole[:-20], "is not an ONNX network"),
        "noise.onnx": (np.random.default_rng(0).bytes(4000), "is not an ONNX network"),
    }
    for name, (content, expected) in contents.items():
        file = tmp_path / name
        file.write_bytes(content)
        message = one_line_error(file, runtime=runtime)
        assert message.startswith(str(file)) and expected in message
        with pytest.raises(ModelError):
            read_manifest(file, runtime)
    assert "no such network file" in one_line_error(tmp_path / "absent.onnx", runtime=runtime)
    assert "cannot be read" in one_line_error(tmp_path, runtime=runtime)
    printed = capfd.readouterr()
    assert printed.out == printed.err == "", "a runtime's own words would stand beside the one line"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_without_a_manifest_is_named(tmp_path: Path, runtime: str) -> None:
    foreign = tmp_path / "foreign.onnx"
    onnx.save(pose_network(), foreign)
    assert "is not a darkstream network" in one_line_error(foreign, runtime=runtime)
    model = onnx.load(pose_file(tmp_path))
    (entry,) = (entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = entry.value.replace('"manifest_version": 1', '"manifest_version": 7')
    onnx.save(model, foreign)
    assert "version 7 is unknown" in one_line_error(foreign, runtime=runtime)


def test_wrong_choices_are_named(tmp_path: Path) -> None:
    file = pose_file(tmp_path)
    assert "runtime should be one of auto, openvino" in one_line_error(file, runtime="tensorflow")
    assert "precision should be one of auto, float32" in one_line_error(file, precision="float8")
    assert "no bfloat16" in one_line_error(file, runtime="onnxruntime", precision="bfloat16")
    assert "threads should be" in one_line_error(file, threads=0)


def test_threads_can_be_limited(tmp_path: Path) -> None:
    for runtime in RUNTIMES:
        assert open_engine(pose_file(tmp_path), runtime, threads=1)({"crops": crops(1)})["scores"].shape == (1, 17)


def test_a_missing_runtime_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = set[str]()
    find = importlib.util.find_spec
    monkeypatch.setattr(engine_module, "find_spec", lambda name: find(name) if name in installed else None)
    file = pose_file(tmp_path)
    assert 'pip install -e ".[cpu]"' in one_line_error(file)
    assert 'pip install -e ".[cpu]"' in one_line_error(file, runtime="openvino")
    assert 'pip install -e ".[train]"' in one_line_error(file, runtime="onnxruntime")
    installed.add("onnxruntime")
    assert type(open_engine(file)).__name__ == "OnnxRuntimeEngine"


def test_a_signal_after_two_engines_have_gone_is_an_ordinary_one(tmp_path: Path) -> None:
    code = f"""
import signal
from engines.engine import open_engine
one, other = open_engine({str(detector_file(tmp_path))!r}), open_engine({str(pose_file(tmp_path))!r})
del one
del other
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""
    finished = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout.strip()) == (0, "interrupted"), finished.stderr
