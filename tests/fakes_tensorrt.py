"""A make-believe GPU: pycuda, cuda-bindings and TensorRT as small fakes that do what is enqueued only when waited for.

Every copy reads and writes when the stream is synchronised, not when it is enqueued. Whoever does not wait, frees too
early or reuses memory that is still to be read gets wrong numbers, as on a real GPU. `log` has the calls in order.
"""

from __future__ import annotations

import enum
import importlib.machinery
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Arrays = dict[str, np.ndarray]
Shape = tuple[int, ...]


class QueueStream:
    """Runs what was put on it when it is waited for; while a graph is recorded, it goes into the recording."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.handle = gpu, 77
        self.queue: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None

    def put(self, name: str, work: Callable[[], None]) -> None:
        self.gpu.note(name)
        (self.queue if self.recording is None else self.recording).append(work)

    def synchronize(self) -> None:
        self.gpu.note("synchronize")
        queue, self.queue = self.queue, []
        for work in queue:
            work()


class Memory:
    """Device memory; using it after free() is an error."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        self.gpu, self.address = gpu, gpu.next_address
        gpu.next_address += size + 4096
        gpu.memory[self.address] = np.zeros(size, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        assert self.gpu.depth > 0, "no context is current"
        self.gpu.note("free")
        del self.gpu.memory[self.address]


class Gpu:
    """The state of the GPU and, as `driver`, the module pycuda.driver. `fail` names a call that raises."""

    def __init__(self, capability: tuple[int, int] = (8, 6)) -> None:
        self.log: list[str] = []
        self.memory: dict[int, np.ndarray] = {}
        self.next_address = 4096
        self.depth = 0
        self.fail: str | None = None
        self.capability = capability
        self.streams: list[QueueStream] = []
        self.driver = Driver(self)

    def note(self, name: str) -> None:
        self.log.append(name)
        if name == self.fail:
            raise self.driver.Error(f"{name} failed: out of\nmemory")

    @property
    def stream(self) -> QueueStream:
        return self.streams[-1]

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        return self.memory[address][:size]


class Context:
    """The primary context: current on this thread between push and pop."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def push(self) -> None:
        self.gpu.depth += 1

    def pop(self) -> None:
        self.gpu.depth -= 1


class TheDevice:
    """The one GPU."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def name(self) -> str:
        return "Make Believe 3000"

    def compute_capability(self) -> tuple[int, int]:
        return self.gpu.capability

    def retain_primary_context(self) -> Context:
        return Context(self.gpu)


class Driver:
    """The module pycuda.driver."""

    class Error(Exception):
        pass

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.Context = Context(gpu)

    def init(self) -> None:
        self.gpu.note("init")

    def Device(self, index: int) -> TheDevice:
        return TheDevice(self.gpu)

    def Stream(self) -> QueueStream:
        self.gpu.streams.append(QueueStream(self.gpu))
        return self.gpu.stream

    def mem_alloc(self, size: int) -> Memory:
        self.gpu.note("mem_alloc")
        return Memory(self.gpu, size)

    def pagelocked_empty(self, size: int, dtype: type) -> np.ndarray:
        return np.zeros(size, dtype)

    def memcpy_htod_async(self, address: int, source: np.ndarray, stream: QueueStream) -> None:
        assert self.gpu.depth > 0, "no context is current"
        stream.put("htod", lambda: self.gpu.bytes_at(address, source.nbytes).__setitem__(slice(None), source))

    def memcpy_dtoh_async(self, target: np.ndarray, address: int, stream: QueueStream) -> None:
        assert self.gpu.depth > 0, "no context is current"
        stream.put("dtoh", lambda: target.__setitem__(slice(None), self.gpu.bytes_at(address, target.nbytes)))


class Status(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


class Mode(enum.IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class Graphs:
    """The module cuda.bindings.driver; every answer is a status and a value. Graphs are numbers from 1 on."""

    CUresult, CUstreamCaptureMode, CUstream = Status, Mode, int

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self.recordings: list[list[Callable[[], None]]] = [[]]

    def cuStreamBeginCapture(self, stream: int, mode: Mode) -> tuple[Status]:
        self.gpu.note("begin")
        self.gpu.stream.recording = []
        return (Status.CUDA_SUCCESS,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Status, int]:
        self.gpu.note("end")
        self.recordings.append(self.gpu.stream.recording or [])
        self.gpu.stream.recording = None
        if self.gpu.fail == "capture":
            return Status.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 0
        return Status.CUDA_SUCCESS, len(self.recordings) - 1

    def cuGraphInstantiate(self, graph: int, flags: int) -> tuple[Status, int]:
        return Status.CUDA_SUCCESS, graph

    def cuGraphLaunch(self, graph: int, stream: int) -> tuple[Status]:
        for work in self.recordings[graph]:
            self.gpu.stream.put("launch", work)
        return (Status.CUDA_SUCCESS,)

    def cuGraphDestroy(self, graph: int) -> tuple[Status]:
        self.gpu.note("graph_destroy")
        return (Status.CUDA_SUCCESS,)

    def cuGraphExecDestroy(self, graph: int) -> tuple[Status]:
        self.gpu.note("exec_destroy")
        return (Status.CUDA_SUCCESS,)


def install(monkeypatch: pytest.MonkeyPatch, name: str, content: Any) -> None:
    """Make `content` what `import name` gives, parents included."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        full = ".".join(parts[:count])
        module = types.ModuleType(full)
        module.__spec__ = importlib.machinery.ModuleSpec(full, None)
        if count == len(parts):
            for key in (key for key in dir(content) if not key.startswith("__") or key == "__version__"):
                setattr(module, key, getattr(content, key))
        monkeypatch.setitem(sys.modules, full, module)
        if count > 1:
            setattr(sys.modules[".".join(parts[: count - 1])], parts[count - 1], module)
