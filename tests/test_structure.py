"""The rules that keep the tree clean: who may import whom, how long a file may be, scripts that parse."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import REPOSITORY

# A package imports only from those to its left.
ORDER = ("engines", "pipeline", "train", "calib", "apps")
PACKAGES = [name for name in ORDER if (REPOSITORY / name).is_dir()]
LONGEST_FILE = 350
# Libraries that the runtime packages keep out of everyone's way: library -> the only modules that may import it.
ADAPTERS = {
    "openvino": {"engines/openvino_engine.py"},
    # In precision.py for its converter to float16.
    "onnxruntime": {"engines/onnxruntime_engine.py", "engines/precision.py"},
    "onnx": {
        "engines/compose.py",
        "engines/frame_graph.py",
        "engines/onnx_facts.py",
        "engines/precision.py",
        "engines/quantized.py",
    },
    "tensorrt": {"engines/tensorrt_library.py"},
    "tensorrt_rtx": {"engines/tensorrt_library.py"},
    "tensorrt_rtx_bindings": {"engines/tensorrt_library.py"},
    "pycuda": {"engines/cuda.py"},
    "cuda": {"engines/cuda_graph.py"},
    "aiohttp": {"pipeline/live/server.py"},
    "prometheus_client": {"pipeline/live/metrics.py"},
    "ray": {"pipeline/batch/ray_library.py", "pipeline/batch/ray_workers.py"},
    "torch": set[str](),
    "pycocotools": set[str](),
}


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every absolute import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def against_import_rule(package: str, tree: ast.AST) -> list[tuple[int, str]]:
    """Imports of a package that stands to the right of `package`."""
    forbidden = set(ORDER[ORDER.index(package) + 1 :])
    return [(line, name) for line, name in imports(tree) if name in forbidden]


def test_the_import_rule_sees_what_it_forbids() -> None:
    code = (
        "import numpy\nimport train.dark\ndef f():\n    from apps.video import main\n    from engines import engine\n"
    )
    assert against_import_rule("pipeline", ast.parse(code)) == [(2, "train"), (4, "apps")]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_leftwards(package: str) -> None:
    found = [
        f"{relative(path)}:{line} imports {name}"
        for path in sources(package)
        for line, name in against_import_rule(package, ast.parse(path.read_text()))
    ]
    assert not found, "\n".join(found)


def test_heavy_libraries_stay_in_their_adapters() -> None:
    found = [
        f"{relative(path)}:{line} imports {name}"
        for path in sources("engines", "pipeline")
        for line, name in imports(ast.parse(path.read_text()))
        if name in ADAPTERS and relative(path) not in ADAPTERS[name]
    ]
    assert not found, "\n".join(found)


def test_importing_the_runtime_loads_no_heavy_library() -> None:
    adapters = set().union(*ADAPTERS.values())
    modules = [
        relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in sources("engines", "pipeline")
        if relative(path) not in adapters
    ]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    code += f"print(*sorted({set(ADAPTERS)} & set(sys.modules)))"
    finished = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (finished.stdout.strip(), finished.stderr.strip()) == ("", "")


def test_files_are_short() -> None:
    lengths = {relative(path): len(path.read_text().splitlines()) for path in sources(*PACKAGES, "benchmarks", "tests")}
    assert lengths
    assert not {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE}


SCRIPTS = [*sorted((REPOSITORY / "scripts").glob("*.sh")), REPOSITORY / ".ci" / "run"]


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_scripts_parse(script: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    checked = subprocess.run([bash, "-n", str(script)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
