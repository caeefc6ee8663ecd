"""The table of builds goes on where it was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("nncf", reason="nncf is not installed: pip install -e '.[calib]'")
pytest.importorskip("tensorrt_rtx_bindings", reason='TensorRT for RTX is not installed: pip install -e ".[rtx]"')

import onnx

from benchmarks import build_table
from benchmarks.build_table import Row, all_rows
from engines.tensorrt_library import load_tensorrt

NAMES = ("coco_res50_256x192", "edge_coco_256x192")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What was built, in order; the third build fails."""
    done: list[tuple[str, str, str]] = []

    def measured(name: str, model: onnx.ModelProto, precision: str, capabilities: Sequence[str]) -> Row:
        done.append((name, precision, " ".join(capabilities)))
        if len(done) == 3:
            raise KeyboardInterrupt
        version = load_tensorrt(build_table.RUNTIME).__version__
        return Row(name, precision, " ".join(capabilities), version, 1.5, 20.25, 77, {"Half": 57}, 56)

    monkeypatch.setattr(build_table, "measured", measured)
    monkeypatch.setattr(build_table, "random_model", lambda name: onnx.ModelProto())
    return done


def test_what_was_built_is_not_built_again(made: list[tuple[str, str, str]], tmp_path: Path) -> None:
    file, precisions = tmp_path / "rows.json", ("float32", "float16")
    with pytest.raises(KeyboardInterrupt):
        list(all_rows(NAMES, precisions, ("8.6",), file))
    rows = list(all_rows(NAMES, precisions, ("8.6",), file))
    assert made[3:] == [(NAMES[1], "float32", "8.6"), (NAMES[1], "float16", "8.6")]
    assert [(row.network, row.precision) for row in rows] == [(n, p) for n in NAMES for p in precisions]
    assert rows[0].line() == "| coco_res50_256x192 | float32 | 1.5 | 20.2 | 77 | 57 Half | 56 |"
    # For other GPUs it is another engine.
    list(all_rows(NAMES[:1], precisions[:1], ("8.9",), file))
    assert made[5:] == [(NAMES[0], "float32", "8.9")]
