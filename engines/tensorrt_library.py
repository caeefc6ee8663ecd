"""TensorRT and TensorRT for RTX, imported only when asked for: one set of names serves 10.x, 11.x and RTX 1.x."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from engines.manifest import ModelError

TENSORRT_RUNTIMES = ("tensorrt", "tensorrt_rtx")
OLDEST = (10, 3)
_log = logging.getLogger("darkstream.tensorrt")


def load_tensorrt(runtime: str) -> Any:
    """The module of one of TENSORRT_RUNTIMES. Raises ModelError that says what to install or to update."""
    if runtime not in TENSORRT_RUNTIMES:
        raise ModelError(f"the runtime should be one of {', '.join(TENSORRT_RUNTIMES)}, got {runtime!r}")
    try:
        trt = _rtx() if runtime == "tensorrt_rtx" else _tensorrt()
    except (ImportError, OSError) as error:
        # OSError: the bindings are there and a library of the GPU's driver is not.
        extra = "rtx" if runtime == "tensorrt_rtx" else "gpu"
        reason = " ".join(str(error).split())
        raise ModelError(f'the runtime {runtime} cannot be loaded: pip install -e ".[{extra}]" ({reason})') from error
    release = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if runtime == "tensorrt" and release < OLDEST:
        raise ModelError(f"expected TensorRT {OLDEST[0]}.{OLDEST[1]} or newer, got {trt.__version__}: update it")
    return trt


def _tensorrt() -> Any:
    import tensorrt

    return tensorrt


def _rtx() -> Any:
    try:
        import tensorrt_rtx
    except ImportError:
        # The bindings' own package, where the wheel with the short name is not installed.
        import tensorrt_rtx_bindings

        return tensorrt_rtx_bindings
    return tensorrt_rtx


class Messages:
    """What TensorRT has to say: `logger` is to be given to its objects, `errors` and `details` are what came."""

    def __init__(self, trt: Any, keep_details: bool) -> None:
        self.errors: list[str] = []
        self.details: list[str] = []
        self._keep_details = keep_details
        self.logger = _logger(trt, self._take)
        self._error, self._warning = trt.ILogger.ERROR, trt.ILogger.WARNING

    def reason(self) -> str:
        """The errors since the last time in one line, the first first; TensorRT repeats itself afterwards."""
        errors, self.errors = self.errors, []
        return " ".join("; ".join(dict.fromkeys(errors)).split())[:600] or "no reason was given"

    def _take(self, severity: Any, message: str) -> None:
        if severity <= self._error:
            self.errors.append(message)
        elif severity == self._warning:
            _log.warning("%s", message)
        elif self._keep_details:
            self.details.append(message)


def _logger(trt: Any, take: Callable[[Any, str], None]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            take(severity, message)

    return Logger()
