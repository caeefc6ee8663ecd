"""An engine file on a make-believe GPU: the calls and their order, what is freed, and how it says what goes wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import cuda_graph
from engines.cuda import Device, GpuError
from engines.engine import ModelError, open_engine, read_manifest
from engines.frames import shared
from engines.sidecar import sha256, write_sidecar
from engines.tensorrt_engine import TensorRtEngine
from tests.fakes_tensorrt import Arrays, Gpu, Graphs, install
from tests.fakes_tensorrt_runtime import Tensor, fake_tensorrt
from tests.helpers import pose_manifest
from tests.tensorrt_setting import FRAME, FRAME_TENSORS, OUTPUTS, Setting, answer, crops, sidecar


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Setting:
    return Setting(monkeypatch, tmp_path)


def same(found: Arrays, inputs: Arrays) -> None:
    for name, expected in answer(inputs).items():
        np.testing.assert_array_equal(found[name], expected)


def test_memory_is_allocated_once_and_a_run_is_copy_enqueue_copy_wait(setting: Setting) -> None:
    engine = setting.open()
    assert setting.calls("mem_alloc", "create_execution_context").count("mem_alloc") == 3
    for count in (2, 5, 1):
        same(engine(crops(count)), crops(count))
        assert setting.calls() == ["htod", "set_input_shape", "execute", "dtoh", "dtoh", "synchronize"]
    assert setting.gpu.depth == 0, "the context was left behind"


def test_the_same_shape_is_not_set_again(setting: Setting) -> None:
    engine = setting.open()
    engine(crops(2))
    setting.calls()
    engine(crops(2))
    assert "set_input_shape" not in setting.calls()


def test_outputs_are_the_callers_own(setting: Setting) -> None:
    engine = setting.open()
    first = engine(crops(2))
    engine(crops(3))
    same(first, crops(2))


def test_more_than_the_profile_takes_is_split_and_nothing_gives_nothing(setting: Setting) -> None:
    engine = setting.open()
    setting.calls()
    same(engine(crops(12)), crops(12))
    assert setting.calls("execute") == ["execute"] * 3
    assert engine(crops(0))["keypoints"].shape == (0, 17, 2)
    assert setting.calls() == []


def test_less_than_the_profile_takes_is_filled_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at_least_three = ((3, 4, 3, 3), (3, 4, 3, 3), (5, 4, 3, 3))
    tensors = [Tensor("crops", np.uint8, (-1, 4, 3, 3), at_least_three), *OUTPUTS]
    engine = Setting(monkeypatch, tmp_path, tensors).open()
    for count in (1, 6):
        same(engine(crops(count)), crops(count))


def frame_inputs(frame: np.ndarray, count: int) -> Arrays:
    return {"frame": frame, "crop_to_frame": np.random.default_rng(count).random((count, 2, 3)).astype(np.float32)}


def test_a_shared_frame_is_uploaded_once_for_all_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = Setting(monkeypatch, tmp_path, FRAME_TENSORS)
    one, other = setting.open(), setting.open()
    assert setting.device is not None
    image = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    frame = shared(image)
    for engine in (one, other, one):
        inputs = frame_inputs(frame, 7)
        same(engine(inputs), inputs)
    assert setting.device.frame.uploads == 1
    brighter = shared(np.full((8, 8, 3), 250, np.uint8))
    for next_frame in (brighter, frame):
        inputs = frame_inputs(next_frame, 1)
        same(other(inputs), inputs)
    assert setting.device.frame.uploads == 3
    # One that nobody has promised to leave alone is uploaded each time.
    for value in (1, 2):
        image[:] = value
        inputs = frame_inputs(image, 1)
        same(one(inputs), inputs)
    assert setting.device.frame.uploads == 5


def test_a_larger_engine_moves_the_frame_and_the_others_follow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = Setting(monkeypatch, tmp_path, FRAME_TENSORS, graphs=True)
    one = setting.open()
    frame = shared(np.full((16, 16, 3), 3, np.uint8))
    for _ in range(3):
        inputs = frame_inputs(frame, 2)
        same(one(inputs), inputs)
    larger = (FRAME[0], FRAME[1], (32, 32, 3))
    setting.world.tensors = [Tensor("frame", np.uint8, (-1, -1, 3), larger), *FRAME_TENSORS[1:]]
    setting.open()
    sizes = sorted(len(content) for content in setting.gpu.memory.values())
    assert sizes.count(32 * 32 * 3) == 1 and 16 * 16 * 3 not in sizes, "one frame is kept, the larger"
    for _ in range(3):
        same(one(inputs), inputs)


def test_graphs_are_recorded_at_the_second_run_of_a_shape(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = Setting(monkeypatch, tmp_path, graphs=True)
    engine = setting.open()
    setting.calls()
    wanted = ("execute", "begin", "end", "launch")
    runs = []
    for count in (2, 2, 2, 3, 2, 3):
        different = {"crops": crops(count)["crops"] // 2}
        same(engine(different), different)
        runs.append(setting.calls(*wanted))
    recorded = ["begin", "execute", "end", "launch"]
    assert runs == [["execute"], recorded, ["launch"], ["execute"], ["launch"], recorded]
    engine.close()
    assert setting.calls("exec_destroy") == ["exec_destroy"] * 2


def test_what_cannot_be_recorded_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = Setting(monkeypatch, tmp_path, graphs=True)
    engine = setting.open()
    setting.gpu.fail = "capture"
    for count in (2, 2, 2, 3, 3):
        same(engine(crops(count)), crops(count))
    assert setting.calls("begin") == ["begin"], "one attempt is enough"


def test_a_failure_while_recording_leaves_the_stream_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    setting = Setting(monkeypatch, tmp_path, graphs=True)
    engine = setting.open()
    engine(crops(2))
    setting.world.refuse.add("execute")
    setting.calls()
    with pytest.raises(GpuError, match="could not run the network"):
        engine(crops(2))
    assert setting.calls("begin", "end", "graph_destroy") == ["begin", "end", "graph_destroy"]
    setting.world.refuse.clear()
    same(engine(crops(2)), crops(2))


def test_rtx_keeps_what_it_compiled_on_disk(setting: Setting, tmp_path: Path) -> None:
    values = {"runtime": "tensorrt_rtx", "runtime_version": "1.7.1"}
    engine = setting.open(**values)
    setting.world.cache = b"kernels"
    same(engine(crops(2)), crops(2))
    (file,) = (tmp_path / "cache" / "rtx").iterdir()
    assert file.read_bytes() == b"kernels"
    setting.world.cache = b""
    setting.open(**values)(crops(2))
    assert file.read_bytes() == b"kernels", "the next program starts with it"


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("close", [False, True])
def test_all_memory_is_given_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, graphs: bool, close: bool) -> None:
    setting = Setting(monkeypatch, tmp_path, graphs=graphs)
    if close:
        engine = setting.open()
        for _ in range(3):
            engine(crops(2))
        engine.close()
        engine.close()
    else:
        setting.world.refuse.add("deserialize")
        with pytest.raises(ModelError, match=r"the plan is no plan; rebuild it with: python apps/build"):
            setting.open()
    assert setting.gpu.memory == {} and setting.gpu.depth == 0


@pytest.mark.parametrize("allocations_before", [0, 1, 2])
def test_memory_that_runs_out_is_told_and_given_back(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, allocations_before: int
) -> None:
    note, left = setting.gpu.note, [allocations_before]

    def fail_later(name: str) -> None:
        if name == "mem_alloc":
            if left[0] == 0:
                setting.gpu.fail = "mem_alloc"
            left[0] -= 1
        note(name)

    monkeypatch.setattr(setting.gpu, "note", fail_later)
    with pytest.raises(GpuError, match="the GPU Make Believe 3000 failed: mem_alloc failed: out of memory"):
        setting.open()
    assert setting.gpu.memory == {} and setting.gpu.depth == 0


@pytest.mark.parametrize("call", ["htod", "dtoh", "execute"])
def test_a_failing_run_is_told_and_the_next_one_is_right(setting: Setting, call: str) -> None:
    engine = setting.open()
    if call == "execute":
        setting.world.refuse.add("execute")
        message = "TensorRT could not run the network: Error Code 1: the kernel is unwell"
    else:
        setting.gpu.fail = call
        message = f"the GPU Make Believe 3000 failed: {call} failed: out of memory"
    with pytest.raises(GpuError) as caught:
        engine(crops(2))
    assert str(caught.value) == message
    assert setting.calls()[-1] == "synchronize", "nothing is on the way any more"
    setting.gpu.fail = None
    setting.world.refuse.clear()
    same(engine(crops(3)), crops(3))
    assert setting.gpu.depth == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runtime_version": "10.13.0"}, r"was built by tensorrt 10\.13\.0, and here is 10\.3\.0: rebuild it with: "),
        ({"capabilities": ("8.9", "12.0")}, r"for compute capability 8\.9, 12\.0, and Make Believe 3000 has 8\.6: re"),
        ({"engine_sha256": "1" * 64}, r"not the file that its sidecar describes \(hash [0-9a-f]{12}, expected 1{12}"),
        ({"source": "pose.onnx", "source_sha256": "2" * 64}, r"built from another .*pose\.onnx than the one .* now: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_the_cure(setting: Setting, values: dict[str, Any], message: str) -> None:
    setting.file.with_suffix(".onnx").write_bytes(b"an ONNX")
    with pytest.raises(ModelError, match=message) as caught:
        setting.open(**values)
    assert "python apps/build_engine.py pose.onnx" in str(caught.value) and "\n" not in str(caught.value)
    assert setting.gpu.memory == {}


def test_an_engine_whose_source_is_the_same_or_gone_is_opened(setting: Setting) -> None:
    setting.file.with_suffix(".onnx").write_bytes(b"an ONNX")
    setting.open(source="pose.onnx", source_sha256=sha256(b"an ONNX"))
    setting.open(source="gone.onnx", source_sha256="2" * 64)


def test_shapes_outside_the_profile_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine = Setting(monkeypatch, tmp_path, FRAME_TENSORS).open()
    inputs = frame_inputs(np.zeros((17, 16, 3), np.uint8), 1)
    with pytest.raises(
        ValueError, match=r"takes frame from \[2, 2, 3\] to \[16, 16, 3\], got \[17, 16, 3\]: rebuild it"
    ):
        engine(inputs)
    with pytest.raises(ValueError, match=r"'frame' is uint8 \[any, any, 3\], got float32"):
        engine({**inputs, "frame": np.zeros((4, 4, 3), np.float32)})


def test_open_engine_opens_engine_files(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sidecar(setting.file, sidecar())
    monkeypatch.setattr("engines.tensorrt_engine.open_device", Device)
    engine = open_engine(setting.file)
    assert isinstance(engine, TensorRtEngine) and engine.manifest == read_manifest(setting.file) == pose_manifest()
    same(engine(crops(2)), crops(2))
    with pytest.raises(ModelError, match="was built for the runtime tensorrt, and openvino was asked for: leave"):
        open_engine(setting.file, "openvino")
    setting.file.with_name("pose.engine.json").unlink()
    with pytest.raises(ModelError, match=r"has no sidecar: expected pose\.engine\.json beside it; copy both, or build"):
        open_engine(setting.file)


def test_no_gpu_and_no_library_are_told(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    setting.gpu.fail = "init"
    with pytest.raises(ModelError, match=r"no NVIDIA GPU 0 can be used here .*: check nvidia-smi"):
        setting.open()
    setting.gpu.fail = None
    install(monkeypatch, "tensorrt", fake_tensorrt(setting.world, "8.6.1"))
    with pytest.raises(ModelError, match=r"expected TensorRT 10\.3 or newer, got 8\.6\.1: update it"):
        setting.open()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ModelError, match=r'tensorrt cannot be loaded: pip install -e "\.\[gpu\]"'):
        setting.open()
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    setting.device = None
    with pytest.raises(ModelError, match=r'pycuda is needed for GPUs: pip install -e "\.\[gpu\]"'):
        setting.open()


def test_graphs_want_cuda_bindings(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "cuda.bindings.driver", Graphs(Gpu()))
    assert cuda_graph.graphs_available()
    monkeypatch.setitem(sys.modules, "cuda", None)
    monkeypatch.delitem(sys.modules, "cuda.bindings")
    monkeypatch.delitem(sys.modules, "cuda.bindings.driver")
    assert not cuda_graph.graphs_available()
