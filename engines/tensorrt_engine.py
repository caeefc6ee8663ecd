"""Engine files on an NVIDIA GPU: one code path for TensorRT 10 and 11 and for TensorRT for RTX."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from engines.batching import FRAME, Arrays, TensorSpec, check_inputs, run_in_batches
from engines.cuda import Buffer, Device, open_device
from engines.engine_fit import check_fit, check_profile
from engines.manifest import ModelError
from engines.sidecar import Profile, Shape, read_sidecar
from engines.tensorrt_contexts import Contexts
from engines.tensorrt_library import Messages, load_tensorrt


class TensorRtEngine:
    """An Engine; see engines.engine. A `frame` among the inputs is whole for all N, and a SharedFrame uploaded once."""

    def __init__(self, file: Path, device: Device | None = None) -> None:
        """Read an engine file and make room on the GPU for its largest shapes.

        Raises ModelError for a file without sidecar, one that was built by another version or for another GPU, one
        that TensorRT refuses, or where there is no GPU, each with the command that builds it again.
        """
        self.sidecar = read_sidecar(file)
        self.manifest = self.sidecar.manifest
        self._trt = load_tensorrt(self.sidecar.runtime)
        self.device = device or open_device()
        plan = check_fit(file, self.sidecar, self._trt.__version__, self.device)
        self._messages = Messages(self._trt, keep_details=False)
        self._buffers: dict[str, Buffer] = {}
        with self.device.active(), ExitStack() as on_failure:
            on_failure.callback(self._free)
            self._runtime = self._trt.Runtime(self._messages.logger)
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                reason = self._messages.reason()
                raise ModelError(f"{file} cannot be loaded: {reason}; rebuild it with: {self.sidecar.rebuild}")
            self._profiles, self._inputs, self._outputs = self._described()
            self._contexts = Contexts(self._trt, self._engine, self.device, self.sidecar, self._messages)
            self._make_room()
            on_failure.pop_all()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run the network on N inputs; see engines.engine.Engine."""
        check_inputs(inputs, self._inputs)
        largest = min((self._profiles[name][2][0] for name in inputs if name != FRAME), default=1)
        return run_in_batches(inputs, self._outputs, largest, self._run_at_least)

    def close(self) -> None:
        """Give the GPU's memory back; a second time does nothing."""
        with self.device.active():
            self._free()

    def _described(self) -> tuple[dict[str, Profile], list[TensorSpec], list[TensorSpec]]:
        """The profile's shapes of the inputs, the inputs, the outputs."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT for name in names}
        profiles: dict[str, Profile] = {}
        for name in (name for name in names if is_input[name]):
            least, usual, largest = (tuple(shape) for shape in self._engine.get_tensor_profile_shape(name, 0))
            profiles[name] = least, usual, largest
        specs = {name: self._spec(name) for name in names}
        inputs = [specs[name] for name in names if is_input[name]]
        return profiles, inputs, [specs[name] for name in names if not is_input[name]]

    def _spec(self, name: str) -> TensorSpec:
        shape = tuple(None if side < 0 else side for side in self._engine.get_tensor_shape(name))
        dtype = np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name)))
        return TensorSpec(name, dtype, shape)

    def _make_room(self) -> None:
        """Buffers of the largest shapes of all tensors; the frame's is the GPU's."""
        largest = {name: profile[2] for name, profile in self._profiles.items()}
        for spec in self._inputs:
            size = _nbytes(spec, largest[spec.name])
            if spec.name == FRAME:
                self.device.frame.reserve(size)
            else:
                self._buffers[spec.name] = self.device.buffer(size)
        shapes = self._contexts.output_shapes(largest, [spec.name for spec in self._outputs])
        for spec in self._outputs:
            self._buffers[spec.name] = self.device.buffer(_nbytes(spec, shapes[spec.name]))

    def _run_at_least(self, inputs: Arrays) -> Arrays:
        """A run on N inputs, where N may be less than the profile's least: the last one is repeated then."""
        split = {name: array for name, array in inputs.items() if name != FRAME}
        if not split:
            return self._run(inputs)
        count = len(next(iter(split.values())))
        missing = max(self._profiles[name][0][0] for name in split) - count
        if missing <= 0:
            return self._run(inputs)
        more = {name: np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) for name, array in split.items()}
        return {name: array[:count] for name, array in self._run({**inputs, **more}).items()}

    def _run(self, inputs: Arrays) -> Arrays:
        for name, array in inputs.items():
            check_profile(name, array.shape, self._profiles[name], self.sidecar.rebuild)
        with self.device.active():
            try:
                return self._launched(inputs)
            except BaseException:
                self._settle()
                raise

    def _launched(self, inputs: Arrays) -> Arrays:
        """Copy in, enqueue, copy back, wait."""
        stream = self.device.stream
        addresses = {name: buffer.address for name, buffer in self._buffers.items()}
        for name, array in inputs.items():
            if name == FRAME:
                addresses[name] = self.device.frame.put(array)
            else:
                self._buffers[name].upload(array, stream)
        names = [spec.name for spec in self._outputs]
        shapes = self._contexts.enqueue({name: array.shape for name, array in inputs.items()}, addresses, names)
        sizes = [_nbytes(spec, shapes[spec.name]) for spec in self._outputs]
        views = [
            self._buffers[spec.name].download(size, stream) for spec, size in zip(self._outputs, sizes, strict=True)
        ]
        stream.synchronize()
        self._contexts.after_run()
        pairs = zip(self._outputs, views, strict=True)
        return {spec.name: view.view(spec.dtype).reshape(shapes[spec.name]).copy() for spec, view in pairs}

    def _settle(self) -> None:
        """After a failure: the next call finds nothing of this one on the way. What goes wrong now is an echo."""
        with suppress(Exception):
            self.device.settle()

    def _free(self) -> None:
        """All that is on the GPU, the last made first."""
        contexts = getattr(self, "_contexts", None)
        if contexts is not None:
            contexts.close()
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        # In this order: TensorRT wants the engine to go before its runtime.
        self._engine = self._runtime = None


def _nbytes(spec: TensorSpec, shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64)) * spec.dtype.itemsize
