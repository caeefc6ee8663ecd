"""CUDA graphs through cuda-bindings: what was enqueued once is enqueued again by one call."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


class CudaGraphError(RuntimeError):
    """What was to be recorded cannot be."""


def graphs_available() -> bool:
    """Whether cuda-bindings is installed."""
    try:
        return find_spec("cuda.bindings.driver") is not None
    except ModuleNotFoundError:
        return False


class CudaGraph:
    """What a call enqueues on a stream, recorded. The memory that it uses has to stay where it is."""

    def __init__(self, stream_handle: int, enqueue: Callable[[], None]) -> None:
        """Record; nothing is run. Raises CudaGraphError if it cannot be, and what `enqueue` raises."""
        from cuda.bindings import driver

        self._driver, self._executable = driver, None
        self._stream = driver.CUstream(stream_handle)
        # Thread-local: what other threads do with the driver meanwhile is their own affair.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._checked(driver.cuStreamBeginCapture(self._stream, mode))
        try:
            enqueue()
        except BaseException:
            # The stream has to leave the recording; what became of it does not matter.
            _, graph = driver.cuStreamEndCapture(self._stream)
            self._destroy(graph)
            raise
        graph = self._checked(driver.cuStreamEndCapture(self._stream))
        try:
            self._executable = self._checked(driver.cuGraphInstantiate(graph, 0))
        finally:
            self._destroy(graph)

    def launch(self) -> None:
        """Enqueue what was recorded. Raises CudaGraphError."""
        self._checked(self._driver.cuGraphLaunch(self._executable, self._stream))

    def close(self) -> None:
        """Give it back; a second time does nothing."""
        if self._executable is not None:
            self._driver.cuGraphExecDestroy(self._executable)
            self._executable = None

    def _destroy(self, graph: Any) -> None:
        if graph is not None and int(graph) != 0:
            self._driver.cuGraphDestroy(graph)

    def _checked(self, answer: tuple[Any, ...]) -> Any:
        """The value of a driver's answer (status, value)."""
        status, *values = answer
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise CudaGraphError(f"a CUDA graph failed: {status.name}")
        return values[0] if values else None
