"""Networks on the CPU through OpenVINO, the fast engine wherever there is no GPU."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import openvino as ov
from openvino.frontend import FrontEndManager

from engines.batching import Arrays, TensorSpec, check_inputs, run_in_batches
from engines.manifest import ModelError, manifest_from_metadata, unusable

CPU_LIST = Path("/proc/cpuinfo")  # of Linux
PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """An Engine; see engines.engine."""

    def __init__(self, file: Path, precision: str, threads: int | None) -> None:
        """Read and compile a file.

        Raises ModelError without a manifest, for bfloat16 on a CPU that has none, or of a network that takes the frame.
        """
        model = _read(file)
        self.manifest = manifest_from_metadata(_metadata(model), file)
        if self.manifest.input == "frame":
            # In bfloat16 the places of the px in the frame would be, too.
            if precision == "bfloat16":
                raise ModelError(
                    f"{file} takes the frame, and OpenVINO runs that in float32 only: choose the precision auto or "
                    "float32, or export it with --input crops"
                )
            precision = "float32"
        core = _core()
        if precision == "bfloat16" and not has_bfloat16():
            raise ModelError("this CPU has no bfloat16: choose the precision auto or float32")
        # One stream with all threads: one call at a time should end soon, rather than many at once.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        if precision in PRECISION_HINTS:
            settings["INFERENCE_PRECISION_HINT"] = PRECISION_HINTS[precision]
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
            # Pinned, the threads of several processes would share the first cores.
            settings["ENABLE_CPU_PINNING"] = False
        try:
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise unusable(file, error) from error
        # Of the model as read: compiling may give a tensor the names of its neighbours too.
        self._inputs = [_spec(port) for port in model.inputs]
        self._outputs = [_spec(port) for port in model.outputs]
        self._request = compiled.create_infer_request()

    def __call__(self, inputs: Arrays) -> Arrays:
        """Run the network on N inputs; see engines.engine.Engine."""
        check_inputs(inputs, self._inputs)
        return run_in_batches(inputs, self._outputs, self.manifest.largest_batch, self._run)

    def _run(self, inputs: Arrays) -> Arrays:
        # The inputs need not be copied, as the call waits; the outputs must be, as the next call overwrites them.
        self._request.infer(inputs, share_inputs=True, share_outputs=True)
        return {spec.name: self._request.get_output_tensor(i).data.copy() for i, spec in enumerate(self._outputs)}


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16."""
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def has_amx() -> bool:
    """Whether this CPU has Intel's matrix instructions for bfloat16, as Linux lists them; elsewhere no."""
    return CPU_LIST.exists() and "amx_bf16" in CPU_LIST.read_text().split()


def read_metadata(file: Path) -> dict[str, str]:
    """The ONNX metadata of a file."""
    return _metadata(_read(file))


@cache
def _core() -> ov.Core:
    """One for the whole program: each core gives the thread a signal stack, and two that go in the order they came
    leave it a freed one. The next Ctrl-C would then be a segmentation fault.
    """
    return ov.Core()


def _read(file: Path) -> ov.Model:
    # The ONNX front end itself: Core.read_model would try every format on a damaged file and print what each says.
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(str(file)))
    except Exception as error:  # The front end's exceptions have no class in common.
        raise unusable(file, error) from error


def _metadata(model: ov.Model) -> dict[str, str]:
    """OpenVINO keeps ONNX metadata under "framework"."""
    if not model.has_rt_info("framework"):
        return {}
    return {key: str(value) for key, value in model.get_rt_info("framework").value.items()}


def _spec(port: Any) -> TensorSpec:
    shape = tuple(None if side.is_dynamic else side.get_length() for side in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), port.get_element_type().to_dtype(), shape)
