"""A make-believe TensorRT: a module with the classes that the engine uses, running on tests.fakes_tensorrt.Gpu.

Its classes have the names of the real ones, which tests/test_tensorrt_api.py relies on.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.fakes_tensorrt import Arrays, Gpu, Shape


class TensorIOMode(enum.Enum):
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    USER_MANAGED = 2


class CudaGraphStrategy(enum.Enum):
    WHOLE_GRAPH_CAPTURE = 1


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


@dataclass
class Tensor:
    """A tensor of the engine; inputs have a profile."""

    name: str
    dtype: type
    shape: Shape
    profile: tuple[Shape, Shape, Shape] | None = None


@dataclass
class World:
    """What an engine file holds, and what becomes of it: `answer` computes the outputs of the inputs."""

    gpu: Gpu
    tensors: list[Tensor]
    answer: Callable[[Arrays], Arrays]
    refuse: set[str] = field(default_factory=set)
    contexts: list[IExecutionContext] = field(default_factory=list)
    cache: bytes = b""


class IExecutionContext:
    def __init__(self, world: World, logger: Any) -> None:
        self._world, self._logger = world, logger
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        world.contexts.append(self)

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size <= len(self._world.gpu.memory[memory])

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        self._world.gpu.note("set_input_shape")
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory in self._world.gpu.memory, "this memory was freed, or never there"
        self._addresses[name] = memory
        return True

    def get_tensor_shape(self, name: str) -> Shape:
        (tensor,) = (tensor for tensor in self._world.tensors if tensor.name == name)
        batch = next((shape[0] for name, shape in self._shapes.items() if name != "frame"), 0)
        return tuple(batch if side < 0 else side for side in tensor.shape)

    def execute_async_v3(self, stream_handle: int) -> bool:
        world = self._world
        assert stream_handle == world.gpu.stream.handle
        if "execute" in world.refuse:
            self._logger.log(ILogger.ERROR, "Error Code 1: the kernel\nis unwell")
            return False
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        world.gpu.stream.put("execute", lambda: self._compute(shapes, addresses))
        return True

    def _compute(self, shapes: dict[str, Shape], addresses: dict[str, int]) -> None:
        inputs: Arrays = {}
        for tensor in self._world.tensors:
            if tensor.profile:
                size = int(np.prod(shapes[tensor.name])) * np.dtype(tensor.dtype).itemsize
                content = self._world.gpu.bytes_at(addresses[tensor.name], size)
                inputs[tensor.name] = content.view(tensor.dtype).reshape(shapes[tensor.name]).copy()
        for name, array in self._world.answer(inputs).items():
            self._world.gpu.bytes_at(addresses[name], array.nbytes)[:] = array.reshape(-1).view(np.uint8)


class IRuntimeCache:
    def __init__(self, world: World) -> None:
        self._world = world
        self._content = b""

    def deserialize(self, blob: bytes) -> bool:
        self._content = blob
        return True

    def serialize(self) -> bytes:
        return self._world.cache or self._content


class IRuntimeConfig:
    cuda_graph_strategy: Any = None

    def __init__(self, world: World) -> None:
        self._world = world

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache(self._world)

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self._world.gpu.note("set_runtime_cache")
        return True


class ICudaEngine:
    device_memory_size_v2 = 1000

    def __init__(self, world: World, logger: Any) -> None:
        self._world, self._logger = world, logger
        self._named = {tensor.name: tensor for tensor in world.tensors}

    @property
    def num_io_tensors(self) -> int:
        return len(self._world.tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._world.tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if self._named[name].profile else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> type:
        return self._named[name].dtype

    def get_tensor_shape(self, name: str) -> Shape:
        return self._named[name].shape

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Shape]:
        return list(self._named[name].profile or ())

    def create_execution_context(self, how: Any = None) -> IExecutionContext:
        self._world.gpu.note("create_execution_context")
        return IExecutionContext(self._world, self._logger)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig(self._world)


def fake_tensorrt(world: World, version: str = "10.3.0") -> Any:
    """A module like tensorrt or tensorrt_rtx."""

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if "deserialize" in world.refuse:
                self._logger.log(ILogger.ERROR, "Error Code 6: the plan is no plan")
                return None
            return ICudaEngine(world, self._logger)

    return types.SimpleNamespace(
        __version__=version,
        ILogger=ILogger,
        Runtime=Runtime,
        TensorIOMode=TensorIOMode,
        ExecutionContextAllocationStrategy=ExecutionContextAllocationStrategy,
        CudaGraphStrategy=CudaGraphStrategy,
        ICudaEngine=ICudaEngine,
        IExecutionContext=IExecutionContext,
        IRuntimeConfig=IRuntimeConfig,
        IRuntimeCache=IRuntimeCache,
        nptype=lambda dtype: dtype,
    )
