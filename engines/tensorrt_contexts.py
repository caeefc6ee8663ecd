"""Execution contexts of a TensorRT engine: shapes and addresses set, enqueued, and replayed as CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.cuda import Device, GpuError
from engines.cuda_graph import CudaGraph, CudaGraphError, graphs_available
from engines.engine_cache import cache_folder, write_whole
from engines.manifest import ModelError
from engines.sidecar import Shape, Sidecar
from engines.tensorrt_library import Messages

Shapes = Mapping[str, Shape]
MOST_GRAPHS = 64
_log = logging.getLogger("darkstream.tensorrt")


@dataclass
class _Context:
    """A context, what is set in it, how often it ran with that, and the recording of it."""

    context: Any
    shapes: dict[str, Shape] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    graph: CudaGraph | None = None

    def drop_graph(self) -> None:
        if self.graph is not None:
            self.graph.close()
        self.graph, self.runs = None, 0


class Contexts:
    """Of one engine on one GPU; to be used while the device is active.

    TensorRT: with cuda-bindings, a context for each set of shapes, recorded at its second run and replayed from the
    third on (a context must not change once it has been recorded), all in one piece of scratch memory, as they run one
    after the other. Otherwise one context. TensorRT for RTX does this by itself, and keeps the kernels that it makes
    for this GPU in a cache on disk.
    """

    def __init__(self, trt: Any, engine: Any, device: Device, sidecar: Sidecar, messages: Messages) -> None:
        self._trt, self._engine, self._device, self._messages = trt, engine, device, messages
        self._contexts: dict[tuple[tuple[str, Shape], ...], _Context] = {}
        self._scratch: Any = None
        self._cache: RuntimeCache | None = None
        self._config: Any = None
        if sidecar.runtime == "tensorrt_rtx":
            self._config = engine.create_runtime_config()
            self._config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            self._cache = RuntimeCache(self._config, sidecar, device)
        self._graphs = self._config is None and graphs_available()
        if self._graphs:
            self._scratch = device.scratch(engine.device_memory_size_v2)

    def output_shapes(self, inputs: Shapes, outputs: Sequence[str]) -> dict[str, Shape]:
        """The outputs' shapes for these shapes of the inputs."""
        context = self._context_for(inputs)
        self._set_shapes(context, inputs)
        return self._output_shapes(context, outputs)

    def enqueue(self, inputs: Shapes, addresses: Mapping[str, int], outputs: Sequence[str]) -> dict[str, Shape]:
        """Enqueue a run on the device's stream; the outputs' shapes. Raises GpuError if TensorRT refuses."""
        context = self._context_for(inputs)
        if context.addresses != addresses:
            context.drop_graph()
            self._set_addresses(context, addresses)
        self._set_shapes(context, inputs)
        if context.graph is None and self._graphs and context.runs:
            self._record(context)
        if context.graph is not None:
            context.graph.launch()
        else:
            self._execute(context)
        context.runs += 1
        return self._output_shapes(context, outputs)

    def after_run(self) -> None:
        """To be called when a run has ended: what was compiled for it goes to the disk."""
        if self._cache is not None:
            self._cache.save()

    def close(self) -> None:
        """Give all back; a second time does nothing."""
        for context in self._contexts.values():
            context.drop_graph()
        self._contexts.clear()
        self._config = None
        if self._scratch is not None:
            self._scratch.free()
            self._scratch = None

    def _context_for(self, inputs: Shapes) -> _Context:
        key = tuple(sorted(inputs.items())) if self._graphs else ()
        if key not in self._contexts:
            if len(self._contexts) >= MOST_GRAPHS:
                self._contexts.pop(next(iter(self._contexts))).drop_graph()
            self._contexts[key] = _Context(self._made())
        return self._contexts[key]

    def _made(self) -> Any:
        if self._config is not None:
            context = self._engine.create_execution_context(self._config)
        elif self._graphs:
            context = self._engine.create_execution_context(self._trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise ModelError(f"TensorRT makes no context of the engine: {self._messages.reason()}")
        if self._scratch is not None:
            context.set_device_memory(int(self._scratch), self._engine.device_memory_size_v2)
        return context

    def _set_shapes(self, context: _Context, inputs: Shapes) -> None:
        for name, shape in inputs.items():
            if context.shapes.get(name) != shape:
                if not context.context.set_input_shape(name, shape):
                    raise GpuError(f"TensorRT refuses the input {name} {list(shape)}: {self._messages.reason()}")
                context.shapes[name] = shape

    def _set_addresses(self, context: _Context, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if not context.context.set_tensor_address(name, address):
                raise GpuError(f"TensorRT refuses the address of {name}: {self._messages.reason()}")
        context.addresses = dict(addresses)

    def _output_shapes(self, context: _Context, outputs: Sequence[str]) -> dict[str, Shape]:
        return {name: tuple(context.context.get_tensor_shape(name)) for name in outputs}

    def _execute(self, context: _Context) -> None:
        if not context.context.execute_async_v3(self._device.stream.handle):
            raise GpuError(f"TensorRT could not run the network: {self._messages.reason()}")

    def _record(self, context: _Context) -> None:
        """Replay from now on, or never if the network cannot be recorded."""
        try:
            context.graph = CudaGraph(self._device.stream.handle, lambda: self._execute(context))
        except (CudaGraphError, GpuError) as error:
            _log.warning("CUDA graphs are not used: %s", error)
            self._messages.reason()
            self._graphs = False


class RuntimeCache:
    """The kernels that TensorRT for RTX made for one engine on one GPU, kept on disk from one program to the next."""

    def __init__(self, config: Any, sidecar: Sidecar, device: Device) -> None:
        name = f"{sidecar.engine_sha256[:16]}-{device.capability}-{device.name.replace(' ', '_')}.cache"
        self._file: Path = cache_folder() / "rtx" / name
        self._cache = config.create_runtime_cache()
        self._size = 0
        try:
            content = self._file.read_bytes()
        except OSError:
            content = b""
        # TensorRT refuses what another driver or version has written, and starts anew.
        if content and self._cache.deserialize(content):
            self._size = len(content)
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Write it if it has grown. A disk that cannot be written to costs the next start some time, no more."""
        content = bytes(self._cache.serialize())
        if len(content) > self._size:
            self._size = len(content)
            try:
                write_whole(self._file, content)
            except OSError as error:
                _log.warning("%s cannot be written: %s", self._file, error.strerror)
