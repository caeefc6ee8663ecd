"""Lists what releases of TensorRT's Python bindings define, from their wheels alone, for tests/test_tensorrt_api.py.

    python scripts/tensorrt_names.py > tests/data/tensorrt_api.txt

The bindings need TensorRT's libraries only for a handful of functions that make its objects. Empty ones in their place,
compiled here, are enough to import the module and look at its classes; nothing can be run with them. Needs gcc, pip and
the Python that the wheels are for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

# Release -> package and version; TensorRT for RTX brings its libraries and is imported as installed.
WHEELS = {
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.13": "tensorrt-cu12-bindings==10.13.3.9",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
RTX = "rtx-1.7"
CLASSES = [
    "Builder",
    "BuilderFlag",
    "ComputeCapability",
    "CudaGraphStrategy",
    "DataType",
    "EngineInspector",
    "ExecutionContextAllocationStrategy",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "LayerInformationFormat",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
]
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = [
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
]
LIST = f"""import sys
trt = __import__(sys.argv[1])
names = ["__version__", *(name for name in {CLASSES} if hasattr(trt, name)), "nptype", "float32"]
for name in {CLASSES}:
    if hasattr(trt, name):
        names += [name + "." + part for part in dir(getattr(trt, name)) if not part.startswith("_")]
print(*(name for name in names if "." in name or hasattr(trt, name)))
"""


def names_in(module: str, environment: dict[str, str]) -> set[str]:
    """Class.name of everything in CLASSES that the module defines, in a process of its own."""
    listing = subprocess.run(
        [sys.executable, "-c", LIST, module], env=environment, capture_output=True, text=True, check=True
    )
    return set(listing.stdout.split())


def names_in_wheel(requirement: str, folder: Path) -> set[str]:
    """The same of a wheel, which is downloaded into the folder."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    code = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS)
    major = requirement.split("==")[1].split(".")[0]
    for library in LIBRARIES:
        target = folder / f"lib{library}.so.{major}"
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(target)], input=code.encode(), check=True)
    return names_in("tensorrt_bindings", {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(folder)})


def main() -> None:
    """Print a line for every name, with the releases that define it."""
    found: dict[str, set[str]] = {}
    for release, requirement in WHEELS.items():
        with tempfile.TemporaryDirectory() as folder:
            found[release] = names_in_wheel(requirement, Path(folder))
    found[RTX] = names_in("tensorrt_rtx_bindings", {})
    for name in sorted(set().union(*found.values())):
        print(name, *(release for release, names in found.items() if name in names))


if __name__ == "__main__":
    main()
