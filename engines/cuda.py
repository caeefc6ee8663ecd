"""The GPU through pycuda: context, stream, memory on it and pinned memory beside it, and the frame that is on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.frames import SharedFrame
from engines.manifest import ModelError

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class GpuError(ModelError):
    """The GPU or its driver failed while it was in use."""


class Device:
    """A GPU with one stream, which all engines on it share: what they enqueue runs in the order of the calls."""

    def __init__(self, index: int = 0) -> None:
        """Raises ModelError where there is no GPU that can be used."""
        self._driver = _driver()
        try:
            self._driver.init()
            device = self._driver.Device(index)
            self.name = str(device.name())
            self.capability = "{}.{}".format(*device.compute_capability())
            # TensorRT works in the primary context too.
            self._context = device.retain_primary_context()
        except self._driver.Error as error:
            raise ModelError(f"no NVIDIA GPU {index} can be used here ({_line(error)}): check nvidia-smi") from error
        self._lock = threading.RLock()
        with self.active():
            self.stream = self._driver.Stream()
        self.frame = FrameOnDevice(self)

    @contextmanager
    def active(self) -> Iterator[None]:
        """The GPU is this thread's alone meanwhile. Raises GpuError in one line for what pycuda raises inside."""
        with self._lock:
            try:
                self._context.push()
                try:
                    yield
                finally:
                    self._driver.Context.pop()
            except self._driver.Error as error:
                raise GpuError(f"the GPU {self.name} failed: {_line(error)}") from error

    def buffer(self, size: int) -> Buffer:
        """Memory for `size` bytes, on the GPU and pinned beside it."""
        return Buffer(self._driver, size)

    def scratch(self, size: int) -> Any:
        """`size` bytes on the GPU alone; int() of it is the address, free() ends it."""
        return self._driver.mem_alloc(max(size, 256))

    def settle(self) -> None:
        """Wait for all that was enqueued, also after a failure: nothing reads or writes the buffers afterwards."""
        self.stream.synchronize()


class Buffer:
    """Memory of one tensor, allocated once for its largest shape."""

    def __init__(self, driver: Any, size: int) -> None:
        """Raises what pycuda raises if there is not enough; nothing is kept then."""
        self.size = size
        self._driver = driver
        self.pinned: Bytes = driver.pagelocked_empty(max(size, 1), np.uint8)
        self._memory: Any = driver.mem_alloc(max(size, 1))
        self.address = int(self._memory)

    def upload(self, array: Array, stream: Any) -> None:
        """Enqueue the copy of an array to the GPU. The array may be changed at once."""
        staged = self.pinned[: array.nbytes]
        np.copyto(staged.view(array.dtype).reshape(array.shape), array)
        self._driver.memcpy_htod_async(self.address, staged, stream)

    def download(self, nbytes: int, stream: Any) -> Bytes:
        """Enqueue the copy of the first bytes back; they are in the returned view once the stream has got there."""
        staged = self.pinned[:nbytes]
        self._driver.memcpy_dtoh_async(staged, self.address, stream)
        return staged

    def free(self) -> None:
        """Give the memory back; a second time does nothing."""
        if self._memory is not None:
            self._memory.free()
            self._memory = None
            self.pinned = np.empty(0, np.uint8)


class FrameOnDevice:
    """The frame that is on the GPU, for all engines there: a SharedFrame is uploaded once, whoever asks."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._buffer: Buffer | None = None
        self._held: SharedFrame | None = None
        self.uploads = 0

    def reserve(self, size: int) -> None:
        """Make room for frames of `size` bytes. The address changes only when there was less."""
        if self._buffer is None or self._buffer.size < size:
            larger = self._device.buffer(size)
            if self._buffer is not None:
                self._buffer.free()
            self._buffer, self._held = larger, None

    def put(self, frame: Array) -> int:
        """The address of a frame uint8 [H, W, 3] on the GPU; its upload is enqueued unless it is there."""
        self.reserve(frame.nbytes)
        assert self._buffer is not None
        if self._held is None or frame is not self._held:
            # First, as the buffer is neither frame's if the upload fails.
            self._held = None
            self._buffer.upload(frame, self._device.stream)
            self._held = frame if isinstance(frame, SharedFrame) else None
            self.uploads += 1
        return self._buffer.address


@cache
def open_device(index: int = 0) -> Device:
    """The GPU, one object for the program. Raises ModelError where there is none."""
    return Device(index)


def _driver() -> Any:
    try:
        import pycuda.driver
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(f'pycuda is needed for GPUs: pip install -e ".[gpu]", with the driver ({reason})') from error
    return pycuda.driver


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
