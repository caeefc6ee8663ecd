"""What the TensorRT code calls exists in TensorRT 10.3, 10.13, 11.4 and TensorRT for RTX 1.7.

tests/data/tensorrt_api.txt lists what their Python bindings define; scripts/tensorrt_names.py made it of their wheels.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests import fakes_tensorrt_runtime as fakes
from tests.helpers import REPOSITORY

API = Path(__file__).with_name("data") / "tensorrt_api.txt"
PLAIN, RTX = ("10.3", "10.13", "11.4"), "rtx-1.7"
RELEASES = {*PLAIN, RTX}
# Called only where `runtime == "tensorrt_rtx"`.
RTX_ONLY = {
    "ComputeCapability",
    "CudaGraphStrategy",
    "WHOLE_GRAPH_CAPTURE",
    "create_runtime_cache",
    "create_runtime_config",
    "cuda_graph_strategy",
    "deserialize",
    "num_compute_capabilities",
    "set_compute_capability",
    "set_runtime_cache",
}
MODULES = ("build", "tensorrt_library", "tensorrt_engine", "tensorrt_contexts")


def listed() -> dict[str, set[str]]:
    """Class.name -> the releases that define it."""
    return {name: set(releases) for name, *releases in (line.split() for line in API.read_text().splitlines())}


def releases_by_name() -> dict[str, set[str]]:
    """A class's or member's name alone -> the releases in which any class has it."""
    found: dict[str, set[str]] = {}
    for name, releases in listed().items():
        found.setdefault(name.rsplit(".", 1)[-1], set()).update(releases)
    return found


def names_used() -> set[str]:
    """Every attribute that the modules read or call, on whatever object."""
    trees = [ast.parse((REPOSITORY / "engines" / f"{module}.py").read_text()) for module in MODULES]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_the_listing_is_of_these_releases() -> None:
    assert set().union(*listed().values()) == RELEASES
    assert listed()["BuilderFlag.FP16"] == {"10.3", "10.13"}, "precision flags went with 11"


def test_names_that_differ_between_releases_are_used_only_for_rtx() -> None:
    releases, used = releases_by_name(), names_used()
    known = used & releases.keys()
    assert len(known) > 40, "the modules speak of TensorRT"
    partly = {name for name in known if releases[name] != RELEASES}
    assert partly == RTX_ONLY & used == RTX_ONLY
    assert all(RTX in releases[name] for name in RTX_ONLY)


@pytest.mark.parametrize("name", ["build_engine", "FP16", "max_workspace_size", "execute_async_v2", "num_bindings"])
def test_names_that_are_gone_are_not_used(name: str) -> None:
    assert name not in names_used()


@pytest.mark.parametrize(
    "fake",
    [
        fakes.ICudaEngine,
        fakes.IExecutionContext,
        fakes.ILogger,
        fakes.IRuntimeCache,
        fakes.IRuntimeConfig,
        fakes.TensorIOMode,
        fakes.CudaGraphStrategy,
    ],
)
def test_the_fakes_have_nothing_that_the_real_ones_lack(fake: type[Any]) -> None:
    api = listed()
    for name in (name for name in vars(fake) if not name.startswith("_")):
        wanted = {RTX} if name in RTX_ONLY or fake.__name__ == "IRuntimeCache" else RELEASES
        assert wanted <= api.get(f"{fake.__name__}.{name}", set()), f"{fake.__name__}.{name}"


def test_the_listing_is_that_of_the_installed_bindings() -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings")
    if not trt.__version__.startswith("1.7."):
        pytest.skip(f"TensorRT for RTX {trt.__version__} is installed, the listing is of 1.7")
    for name, releases in listed().items():
        parent, _, member = name.rpartition(".")
        assert hasattr(getattr(trt, parent, None) if parent else trt, member) == (RTX in releases), name
