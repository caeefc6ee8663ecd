"""apps/build_engine.py: files, sidecars, the cache, and mistakes told in one line with the way out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from apps.build_engine import main
from engines import engine_files
from engines.build import BuildOptions, Built, build
from engines.compose import manifest_of, with_manifest
from engines.engine import ModelError, open_engine
from engines.engine_files import Order, make_file, profiles_for
from engines.onnx_facts import CALIBRATION_KEY, input_shapes
from engines.sidecar import Sidecar, read_sidecar, sha256, sidecar_path
from tests.helpers import detector_manifest, pose_manifest
from tests.tensorrt_setting import sidecar
from tests.tiny_networks import detector_file, pose_file

RTX = ("--runtime", "tensorrt_rtx", "--compute-capability", "8.6")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("DARKSTREAM_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[BuildOptions]:
    """Builds in no time, and remembers what was asked for."""
    asked: list[BuildOptions] = []

    def fake(model: bytes, options: BuildOptions, progress: Any, timing_cache: bytes) -> Built:
        asked.append(options)
        return Built(b"plan of " + sha256(model).encode(), "1.7.1", 0.1, (), timing_cache + b"t")

    monkeypatch.setattr(engine_files, "build", fake)
    monkeypatch.setattr(engine_files, "check_capabilities", lambda *_: None)
    monkeypatch.setattr(engine_files, "load_tensorrt", lambda _: type("trt", (), {"__version__": "1.7.1"}))
    return asked


@pytest.fixture
def one_line(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a run that fails says on stderr."""

    def message(*arguments: str) -> str:
        assert main(arguments) == 1
        told = capsys.readouterr().err
        assert told.startswith("error: ") and told.count("\n") == 1
        return told

    return message


def test_a_tiny_network_becomes_an_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    arguments = [str(pose_file(tmp_path)), *RTX, "--precision", "fp16", "--input", "crops", "--batch", "1,2,8"]
    assert main(arguments) == 0
    out = tmp_path / "networks" / "tiny_pose_fp16_tensorrt_rtx.engine"
    found = read_sidecar(out)
    assert found.engine_sha256 == sha256(out.read_bytes()) and found.capabilities == ("8.6",)
    assert found.profiles == {"crops": ((1, 64, 48, 3), (2, 64, 48, 3), (8, 64, 48, 3))}
    assert found.manifest.precision == found.precision == "float16" and found.manifest.largest_batch == 8
    assert (out.parent / found.source).resolve() == tmp_path / "pose.onnx"
    assert found.source_sha256 == sha256((tmp_path / "pose.onnx").read_bytes())
    assert shlex.split(found.rebuild) == ["python", "apps/build_engine.py", *arguments]
    assert "networks/tiny_pose_fp16_tensorrt_rtx.engine" in capsys.readouterr().out
    assert main([*arguments, "--out", "other.engine"]) == 0
    assert "from the cache" in capsys.readouterr().out
    assert Path("other.engine").read_bytes() == out.read_bytes()


def test_the_same_is_built_once_and_anything_else_anew(tmp_path: Path, builds: list[BuildOptions]) -> None:
    file = str(pose_file(tmp_path))
    usual = [file, *RTX, "--precision", "fp32", "--input", "crops"]
    for arguments in (usual, usual, [*usual, "--out", "other.engine"]):
        assert main(arguments) == 0
    assert len(builds) == 1
    for more in (
        ["--precision", "fp16"],
        ["--tf32"],
        ["--batch", "1,1,2"],
        ["--compute-capability", "8.9"],
        ["--input", "frame"],
    ):
        before = len(builds)
        assert main([*usual, *more]) == main([*usual, *more]) == 0
        assert len(builds) == before + 1, more
    onnx.save(with_manifest(onnx.load(file), replace(pose_manifest(), score_threshold=0.9)), file)
    assert main(usual) == 0 and len(builds) == 7
    assert not builds[0].tf32 and builds[2].tf32


def test_a_damaged_cache_is_not_believed(tmp_path: Path, cache: Path, builds: list[BuildOptions]) -> None:
    usual = [str(pose_file(tmp_path)), *RTX, "--input", "crops", "--out", "a.engine"]
    assert main(usual) == 0
    right = Path("a.engine").read_bytes()
    (cached,) = (cache / "engines").glob("*.engine")
    cached.write_bytes(b"half a pl")
    assert main(usual) == 0 and Path("a.engine").read_bytes() == right
    sidecar_path(cached).write_text("{}")
    assert main(usual) == 0 and len(builds) == 3


def test_times_measured_are_kept_for_the_next_build(tmp_path: Path, cache: Path, builds: list[BuildOptions]) -> None:
    for batch in ("1,1,2", "1,1,3"):
        assert main([str(pose_file(tmp_path)), *RTX, "--input", "crops", "--batch", batch]) == 0
    (times,) = (cache / "timing").iterdir()
    assert times.read_bytes() == b"tt", "the second build got what the first had measured"


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_cpu_runtimes_get_an_onnx_file(tmp_path: Path, runtime: str, precision: str) -> None:
    file = pose_file(tmp_path)
    assert main([str(file), "--runtime", runtime, "--precision", precision]) == 0
    out = tmp_path / "networks" / f"tiny_pose_{precision}_{runtime}.onnx"
    found = read_sidecar(out)
    assert (found.runtime, found.manifest.input, found.capabilities) == (runtime, "crops", ())
    assert found.onnx_sha256 == found.engine_sha256 == sha256(out.read_bytes())
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 48, 3), dtype=np.uint8)
    one, other = (open_engine(path, runtime, "float32")({"crops": crops})["scores"] for path in (file, out))
    np.testing.assert_allclose(one, other, atol=2e-3 if precision == "fp16" else 1e-6)


def test_the_flip_test_and_the_calibration_reach_the_sidecar(tmp_path: Path, builds: list[BuildOptions]) -> None:
    model = onnx.load(pose_file(tmp_path))
    onnx.helper.set_model_props(model, {**{e.key: e.value for e in model.metadata_props}, CALIBRATION_KEY: "c" * 64})
    onnx.save(model, "calibrated.onnx")
    assert main(["calibrated.onnx", *RTX, "--precision", "fp32", "--input", "crops", "--flip-test"]) == 0
    found = read_sidecar(Path("networks/tiny_pose_flip_fp32_tensorrt_rtx.engine"))
    assert found.manifest.flip_test and found.calibration_sha256 == "c" * 64
    assert found.profiles["crops"][2][0] == 16, "the flip test halves the largest batch"


def test_profiles_follow_the_inputs() -> None:
    order = Order("tensorrt_rtx", (1, 4, 32), ((1280, 720), (640, 960)))
    shapes = {"frame": (-1, -1, 3), "crop_to_frame": (-1, 2, 3)}
    assert profiles_for(shapes, pose_manifest(), order) == {
        "frame": ((64, 64, 3), (720, 1280, 3), (960, 1280, 3)),
        "crop_to_frame": ((1, 2, 3), (4, 2, 3), (32, 2, 3)),
    }
    alone = profiles_for(shapes, pose_manifest(), replace(order, frame_sizes=((640, 480),)))
    assert alone["frame"] == ((480, 640, 3),) * 3
    letterboxed = profiles_for({"crops": (1, -1, -1, 3)}, detector_manifest(416), order)
    assert letterboxed == {"crops": ((1, 32, 32, 3), (1, 256, 416, 3), (1, 416, 416, 3))}
    assert profiles_for({"crops": (1, 64, 48, 3)}, pose_manifest(), order) == {}


def test_mistakes_are_told_in_one_line(tmp_path: Path, one_line: Callable[..., str]) -> None:
    file = str(pose_file(tmp_path))
    (tmp_path / "text.onnx").write_text("a shopping list")
    onnx.save(onnx.load(file), "foreign.onnx")
    foreign = onnx.load(file)
    del foreign.metadata_props[:]
    onnx.save(foreign, "foreign.onnx")
    cases = {
        ("absent.onnx",): "absent.onnx: no such network file",
        ("text.onnx",): "text.onnx is not an ONNX network",
        ("foreign.onnx",): "foreign.onnx: expected a composed network",
        ("no_such_model",): "no model 'no_such_model' in the zoo; valid are coco_res50_256x192",
        (file, "--weights", "w.pth"): "holds its weights: leave out w.pth",
        (file, "--precision", "int8"): "quantise it first: python -m calib",
        (file, "--runtime", "openvino", "--out", file): "would overwrite the network it is made of",
        (file, "--compute-capability", "8.6"): "tensorrt builds for the GPU it runs on: leave out --compute-capability",
    }
    for arguments, expected in cases.items():
        assert expected in one_line(*arguments)
    assert not Path("networks").exists(), "nothing is written"


def test_no_gpu_says_what_to_do(tmp_path: Path, one_line: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def no_gpu() -> None:
        raise ModelError("no NVIDIA GPU 0 can be used here")

    monkeypatch.setattr(engine_files, "open_device", no_gpu)
    file = str(pose_file(tmp_path))
    pytest.importorskip("tensorrt_rtx_bindings")
    assert "name the GPUs to build for: --compute-capability 8.6" in one_line(file, "--runtime", "tensorrt_rtx")
    assert "or with --runtime tensorrt_rtx for GPUs elsewhere" in one_line(file)
    assert "7.0 is none that TensorRT for RTX builds for; valid are 7.5, 8.0, 8.6" in one_line(
        file, "--runtime", "tensorrt_rtx", "--compute-capability", "7.0"
    )


def test_the_builder_says_what_it_refuses(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    crops = (64, 48, 3)
    content = pose_file(tmp_path).read_bytes()

    def options(**profiles: Any) -> BuildOptions:
        return BuildOptions("tensorrt_rtx", profiles, ("8.6",))

    good = ((1, *crops), (2, *crops), (4, *crops))
    with pytest.raises(ModelError, match=r"TensorRT 1\.\S+ cannot read the ONNX network: \S+"):
        build(b"nonsense", options(crops=good))
    with pytest.raises(ModelError, match=r"the input crops \[-1, 64, 48, 3\] has sides that vary: give its least"):
        build(content, options())
    with pytest.raises(ModelError, match=r"crops is \[-1, 64, 48, 3\], where -1 may vary; got \[4, 64, 99, 3\]"):
        build(content, options(crops=(*good[:2], (4, 64, 99, 3))))
    with pytest.raises(ModelError, match=r"a profile is given for frame; the network's inputs are crops"):
        build(content, options(crops=good, frame=good))
    with pytest.raises(ModelError, match=r"expected least <= usual <= largest|cannot build the network: \S+"):
        build(content, options(crops=good[::-1]))


def test_progress_is_told_and_can_stop_the_build(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    content = detector_file(tmp_path).read_bytes()
    profile = ((1, 32, 32, 3), (1, 64, 96, 3), (1, 96, 96, 3))
    options = BuildOptions("tensorrt_rtx", {"crops": profile}, ("8.6",))
    steps: list[tuple[str, int, int]] = []

    def watch(phase: str, done: int, total: int) -> bool:
        steps.append((phase, done, total))
        return True

    assert build(content, options, watch).plan
    assert steps[0][0] == "Building engine" and any(done == total > 0 for _, done, total in steps)
    with pytest.raises(KeyboardInterrupt):
        build(content, options, lambda *_: False)

    def interrupted(phase: str, done: int, total: int) -> bool:
        raise KeyboardInterrupt  # Ctrl-C arrives inside the call from TensorRT.

    with pytest.raises(KeyboardInterrupt):
        build(content, options, interrupted)


def test_a_file_is_whole_or_not_there(
    tmp_path: Path, builds: list[BuildOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "a.engine"
    model = onnx.load(pose_file(tmp_path))
    order = Order("tensorrt_rtx", (1, 1, 2), capabilities=("8.6",))
    arguments = (model.SerializeToString(), input_shapes(model), manifest_of(model), order, out)
    make_file(*arguments)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        make_file(*arguments)
    assert [path.name for path in out.parent.iterdir()] == ["a.engine"], "the old engine has no sidecar of the new one"


def test_a_sidecar_survives_its_trip(tmp_path: Path) -> None:
    made = sidecar(profiles={"crops": ((1, 2), (3, 4), (5, 6))}, calibration_sha256="c")
    assert Sidecar.from_json(made.to_json()) == made


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sidecar_version": 9}, "version 9 is unknown, this program reads 1"),
        ({"colour": "red"}, "unknown key colour; expected "),
        ({"profiles": [1]}, "profiles or capabilities are damaged"),
        ({"profiles": {"crops": [[1], [2]]}}, "profiles|damaged|unpack"),
        ({"manifest": {"manifest_version": 1}}, "manifest: missing key"),
    ],
)
def test_a_wrong_sidecar_is_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    file = tmp_path / "a.engine"
    sidecar_path(file).write_text(json.dumps({**json.loads(sidecar().to_json()), **values}))
    with pytest.raises(ModelError, match=rf"a\.engine\.json: .*({message}).*; build the engine again with python apps"):
        read_sidecar(file)
