"""The story of a calibration of a pose network: int8 by each method, the worst layers kept in float, all measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from tqdm import tqdm

from calib.measure import Judge, Row, megabytes, milliseconds
from calib.quantize import Form, quantize
from calib.sensitivity import LayerCost, SwitchedNetwork, some_batches
from engines.engine import Engine, ModelError, open_engine
from engines.manifest import Manifest
from engines.precision import expand_float32, to_float16
from engines.quantized import signed_int8
from pipeline.types import Image
from train.datasets.pictures import Picture

SIGNED = "the same in TensorRT's form"  # which knows no uint8
SENSITIVITY_CROPS, SENSITIVITY_BATCH = 16, 8


@dataclass(frozen=True)
class Candidate:
    """A form of the network: its name in the report, its file, what it runs in, and whether its time counts."""

    name: str
    file: Path
    runtime: str = "openvino"
    precision: str = "auto"
    timed: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came out: the int8 file, its method and the layers in float, the report's rows and the layers' costs."""

    model: onnx.ModelProto
    method: str
    kept: Sequence[str]
    rows: Sequence[Row]
    layers: Sequence[LayerCost]


class Study:
    """Of one composed pose file, calibrated on one set of crops and measured on one set of people."""

    def __init__(
        self,
        model: onnx.ModelProto,
        manifest: Manifest,
        crops: Image,
        pictures: Sequence[Picture],
        annotated: bool,
        folder: Path,
    ) -> None:
        """crops: uint8 [N, h, w, 3] BGR. pictures: measured on, with people; annotated: they have joints.

        folder: for the files that are measured.
        """
        self.model, self.manifest, self.crops, self.folder = model, manifest, crops, folder
        plain = self._file("float32", expand_float32(model))
        bfloat16 = Candidate("bfloat16", plain, precision="bfloat16")
        self.floats = [
            Candidate("float32", plain, precision="float32"),
            *([bfloat16] if _runs_here(bfloat16) else []),
            Candidate("float16", self._file("float16", to_float16(model)), "onnxruntime", timed=False),
        ]
        self.judge = Judge(_open(self.floats[0]), pictures, annotated)

    def run(self, methods: Sequence[str], keep_float: int | str, form: Form, every_layer: bool) -> Outcome:
        """Quantise by the methods and take the one whose keypoints jump least; keep that many layers of it in float.

        keep_float: a number, or AUTO. every_layer: measure what each layer costs, even where none is kept.
        """
        files = {method: self._quantized(method, (), form) for method in methods}
        candidates = {method: Candidate(f"int8 {method}", file) for method, file in files.items()}
        best, rows = self._best_of(candidates)
        kept, layers = list[str](), list[LayerCost]()
        if keep_float or every_layer:
            kept, layers = self._worst(files[best], keep_float)
        file = files[best]
        if kept:
            file = self._quantized(best, kept, form)
            rows.append(self._row(Candidate(f"int8 {best}, {len(kept)} in float", file)))
        made = onnx.load(file)
        if not form.signed:
            as_signed = self._file("signed", signed_int8(made))
            rows.append(self._row(Candidate(SIGNED, as_signed)))
        return Outcome(made, best, kept, self._timed(rows), layers)

    def _quantized(self, method: str, kept: Sequence[str], form: Form) -> Path:
        inputs = [crop[None] for crop in self.crops]
        made = quantize(self.model, self.manifest, inputs, method, kept, form)
        return self._file(f"{method}_{len(kept)}", made)

    def _best_of(self, candidates: dict[str, Candidate]) -> tuple[str, list[tuple[Candidate, Row]]]:
        """The method whose keypoints' 99th percentile is least, and the rows of the float forms and all methods."""
        forms = tqdm([*self.floats, *candidates.values()], "measure", leave=False, disable=None)
        rows = [self._row(candidate) for candidate in forms]
        shifts = {row.name: row.shift.p99_share for _, row in rows if row.shift}
        return min(candidates, key=lambda method: shifts[candidates[method].name]), rows

    def _worst(self, file: Path, keep_float: int | str) -> tuple[list[str], list[LayerCost]]:
        """The layers to keep in float, and what every layer costs in int8."""
        some = some_batches([crop[None] for crop in self.crops], SENSITIVITY_CROPS, SENSITIVITY_BATCH)
        return SwitchedNetwork(self.model, onnx.load(file)).worst(some, keep_float)

    def _row(self, candidate: Candidate) -> tuple[Candidate, Row]:
        engine = self.judge.estimator.engine if candidate is self.floats[0] else _open(candidate)
        return candidate, Row(candidate.name, *self.judge(engine), None, megabytes(candidate.file))

    def _timed(self, rows: Sequence[tuple[Candidate, Row]]) -> list[Row]:
        """The rows with the time of each form that OpenVINO runs."""
        timed = [number for number, (candidate, _) in enumerate(rows) if candidate.timed]
        times = milliseconds([_open(rows[number][0]) for number in timed], self.crops)
        of_row = dict(zip(timed, times, strict=True))
        return [replace(row, ms=of_row.get(number)) for number, (_, row) in enumerate(rows)]

    def _file(self, name: str, model: onnx.ModelProto) -> Path:
        file = self.folder / f"{name}.onnx"
        onnx.save(model, file)
        return file


def _open(candidate: Candidate) -> Engine:
    return open_engine(candidate.file, candidate.runtime, candidate.precision)


def _runs_here(candidate: Candidate) -> bool:
    """Whether this machine has what the candidate asks for."""
    try:
        _open(candidate)
    except ModelError:
        return False
    return True
