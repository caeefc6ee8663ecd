"""ONNX -> engine file, by TensorRT or TensorRT for RTX. Knows tensors only; the precision lives in the ONNX."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engines.layer_listing import Layer, listed_layers
from engines.manifest import ModelError
from engines.sidecar import Profile
from engines.tensorrt_library import Messages, load_tensorrt

# phase, steps done, steps in all; returns whether to go on.
Progress = Callable[[str, int, int], bool]


@dataclass(frozen=True)
class BuildOptions:
    """What an engine is to be.

    runtime: one of TENSORRT_RUNTIMES. profiles: input -> its least, usual and largest shape, for every input with
    sides that vary. capabilities: of the GPUs to build for, as in "8.6", for TensorRT for RTX, which then needs no
    GPU; empty for the GPU that is here. tf32: let float32 products be rounded to TF32. detailed: list the layers.
    """

    runtime: str
    profiles: Mapping[str, Profile]
    capabilities: tuple[str, ...] = ()
    tf32: bool = False
    detailed: bool = False


@dataclass(frozen=True)
class Built:
    """A plan, the version of what built it, how long it took, its layers if they were asked for and TensorRT lists
    them, and the times measured meanwhile, to be given to the next build.
    """

    plan: bytes
    version: str
    seconds: float
    layers: tuple[Layer, ...]
    timing_cache: bytes


def build(model: bytes, options: BuildOptions, progress: Progress | None = None, timing_cache: bytes = b"") -> Built:
    """The engine of an ONNX file's content.

    timing_cache: of an earlier build by the same version on the same GPU; one of another is ignored.
    Raises ModelError in one line for a model, profile or capability that the builder refuses, and KeyboardInterrupt if
    `progress` says not to go on.
    """
    trt = load_tensorrt(options.runtime)
    messages = Messages(trt, options.detailed)
    started = time.perf_counter()
    builder = trt.Builder(messages.logger)
    network = _parsed(trt, builder, messages, model)
    config = builder.create_builder_config()
    _configure(trt, config, options)
    cache = _timing_cache(config, options.runtime, timing_cache)
    _add_profile(builder, config, network, options.profiles)
    monitor = _Monitor(progress) if progress else None
    if monitor and hasattr(config, "progress_monitor"):
        config.progress_monitor = monitor.attach(trt)
    plan = builder.build_serialized_network(network, config)
    if monitor and monitor.stopped:
        raise KeyboardInterrupt
    if plan is None:
        raise ModelError(f"{options.runtime} {trt.__version__} cannot build the network: {messages.reason()}")
    times = bytes(config.get_timing_cache().serialize()) if cache is not None else b""
    layers = tuple(listed_layers(messages.details)) if options.detailed else ()
    return Built(bytes(plan), trt.__version__, time.perf_counter() - started, layers, times)


def check_capabilities(runtime: str, wanted: tuple[str, ...]) -> None:
    """Raises ModelError for capabilities that the runtime cannot build for."""
    if wanted and runtime == "tensorrt":
        raise ModelError(
            f"tensorrt builds for the GPU it runs on: leave out --compute-capability {' '.join(wanted)}, "
            "or build with --runtime tensorrt_rtx"
        )
    if wanted:
        _capabilities(load_tensorrt(runtime), wanted)


def _parsed(trt: Any, builder: Any, messages: Messages, model: bytes) -> Any:
    """The network of an ONNX file's content, with the types that it says."""
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, messages.logger)
    if not parser.parse(model):
        found = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        reason = " ".join("; ".join(dict.fromkeys(found)).split())[:600] or messages.reason()
        raise ModelError(f"TensorRT {trt.__version__} cannot read the ONNX network: {reason}")
    return network


def _configure(trt: Any, config: Any, options: BuildOptions) -> None:
    if options.tf32:
        config.set_flag(trt.BuilderFlag.TF32)
    else:
        config.clear_flag(trt.BuilderFlag.TF32)
    if options.detailed:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    check_capabilities(options.runtime, options.capabilities)
    if options.capabilities:
        config.num_compute_capabilities = len(options.capabilities)
        for index, capability in enumerate(_capabilities(trt, options.capabilities)):
            config.set_compute_capability(capability, index)


def _capabilities(trt: Any, wanted: tuple[str, ...]) -> list[Any]:
    """TensorRT for RTX's own values of capabilities like "8.6"."""
    found = {name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    known = {f"{name[2:-1]}.{name[-1]}": value for name, value in found.items()}
    if unknown := [name for name in wanted if name not in known]:
        valid = ", ".join(sorted(known, key=float))
        raise ModelError(f"compute capability {unknown[0]} is none that TensorRT for RTX builds for; valid are {valid}")
    return [known[name] for name in wanted]


def _timing_cache(config: Any, runtime: str, content: bytes) -> Any:
    """The cache that the builder will fill; None for TensorRT for RTX, which measures nothing."""
    if runtime == "tensorrt_rtx":
        return None
    cache = config.create_timing_cache(content)
    if not config.set_timing_cache(cache, False):
        # Of another version or GPU.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _add_profile(builder: Any, config: Any, network: Any, profiles: Mapping[str, Profile]) -> None:
    """One profile for all inputs. Raises ModelError for shapes that do not fit the network's."""
    profile = builder.create_optimization_profile()
    inputs = {tensor.name: tuple(tensor.shape) for tensor in map(network.get_input, range(network.num_inputs))}
    if unknown := sorted(profiles.keys() - inputs.keys()):
        raise ModelError(f"a profile is given for {', '.join(unknown)}; the network's inputs are {', '.join(inputs)}")
    for name, shape in inputs.items():
        if -1 not in shape:
            continue
        if name not in profiles:
            raise ModelError(f"the input {name} {list(shape)} has sides that vary: give its least and largest shape")
        for given in profiles[name]:
            if len(given) != len(shape) or any(want not in (-1, got) for want, got in zip(shape, given, strict=True)):
                raise ModelError(f"the input {name} is {list(shape)}, where -1 may vary; got {list(given)}")
        profile.set_shape(name, *profiles[name])
    if any(-1 in shape for shape in inputs.values()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if config.add_optimization_profile(profile) < 0:
                raise ModelError(
                    f"the builder refuses the profile {dict(profiles)}: expected least <= usual <= largest"
                )


class _Monitor:
    """Hands TensorRT's progress on; innermost phases are left out, they are many and short."""

    def __init__(self, progress: Progress) -> None:
        self.stopped = False
        self._progress = progress
        self._steps: dict[str, int] = {}

    def attach(self, trt: Any) -> Any:
        """The object that TensorRT calls."""
        steps, step = self._steps, self._step

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
                steps[phase_name] = num_steps
                step(phase_name, 0)

            def phase_finish(self, phase_name: str) -> None:
                step(phase_name, steps.get(phase_name, 0))

            def step_complete(self, phase_name: str, step_number: int) -> bool:
                return step(phase_name, step_number + 1)

        return Monitor()

    def _step(self, phase: str, done: int) -> bool:
        # An exception in here would end in the builder's C++ code.
        try:
            self.stopped = self.stopped or not self._progress(phase, done, self._steps.get(phase, 0))
        except BaseException:
            self.stopped = True
        return not self.stopped
