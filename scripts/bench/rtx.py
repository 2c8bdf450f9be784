"""Builds every kind of model in every form of graph with TensorRT for RTX, on the CPU.

Every family of tests/support/families.py and the models of scripts/models, each in every form that
`trtqat export` writes: both exporters, FP32 at opset 17 and 24, FP16, repaired, INT8 initializers,
INT8 codes as input. Says of each how many quantized layers have INT8 inputs and weights in the
built plan. Needs neither a GPU nor a driver; writes one JSON file.

    python -m scripts.bench.rtx --output scripts/results/rtx.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from scripts.bench.record import describe_run
from scripts.models import mobilenet, resnet, vit
from tests.support.families import FAMILIES, FORMS
from trtqat.building.builder import build
from trtqat.errors import GraphError, TrtqatError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.tensors import TensorSpec

IMAGES = (TensorSpec("images", (1, 3, 224, 224)),)
MODELS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-50": resnet.qat,
    "MobileNetV2": mobilenet.qat,
    "ViT-S/16": vit.qat,
}


@dataclass(frozen=True)
class Row:
    """One engine.

    Attributes:
        model: What was built.
        form: Of its graph.
        quantized: How many of its layers are quantized.
        int8: How many of those have INT8 inputs and weights in the built plan.
        others: The rest, by name, with the reason.
        layers: How many layers the plan has, those that multiply nothing included.
        plan_bytes: Size of the plan.
        export_s: How long the export took.
        build_s: How long the builder took.
        costs: Bytes or multiply-accumulates a sample by kind, as the plan has them and at least.
    """

    model: str
    form: str
    quantized: int
    int8: int
    others: dict[str, str]
    layers: int
    plan_bytes: int
    export_s: float
    build_s: float
    costs: dict[str, tuple[int, int]]


def main() -> None:
    """Builds all, prints a line for each, and writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=[*FAMILIES, *MODELS])
    parser.add_argument("--forms", nargs="*", default=[*FORMS])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, refused = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for model, form, result in _results(arguments.models, arguments.forms, Path(folder)):
            if isinstance(result, Row):
                rows.append(result)
                print(
                    f"{model:16} {form:12} {result.int8} of {result.quantized} INT8, "
                    f"{result.plan_bytes / 1e6:.1f} MB, export {result.export_s:.1f} s, "
                    f"build {result.build_s:.1f} s {' '.join(result.others)}",
                    flush=True,
                )
            else:
                refused[f"{model} {form}"] = str(result)
                print(f"{model:16} {form:12} {result}", flush=True)
    record = {
        **describe_run("rtx"),
        "tensorrt_rtx": _version(),
        "engines": len(rows),
        "not_built": refused,
        "rows": [asdict(row) for row in rows],
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


def _results(
    models: list[str], forms: list[str], folder: Path
) -> Iterator[tuple[str, str, Row | TrtqatError]]:
    for name in models:
        family = FAMILIES.get(name)
        model = MODELS[name]() if family is None else family.example.qat()
        inputs = IMAGES if family is None else family.example.inputs
        for form in forms:
            if form == "codes" and family is not None and not family.takes_codes:
                continue
            try:
                yield name, form, _build(name, model, inputs, form, folder)
            except TrtqatError as error:
                yield name, form, error


def _build(
    name: str, model: nn.Module, inputs: tuple[TensorSpec, ...], form: str, folder: Path
) -> Row:
    start = time.perf_counter()
    export_onnx(model, folder / "m.onnx", ExportOptions(inputs, **FORMS[form]))
    export_s = time.perf_counter() - start
    built = build(folder / "m.onnx", folder / "m.engine", for_="rtx")
    if built.coverage is None:
        raise built.coverage_error or GraphError(f"Nothing is known of '{name}'.")
    coverage = built.coverage
    layers: list[Any] = (built.layers or {})["Layers"]
    return Row(
        model=name,
        form=form,
        quantized=len(coverage.wanted),
        int8=len(coverage.wanted) - len(coverage.missed),
        others={layer.name: layer.reason for layer in coverage.missed},
        layers=len(layers),
        plan_bytes=built.manifest.plan_bytes,
        export_s=round(export_s, 2),
        build_s=built.manifest.build_seconds,
        costs={cost.kind: (cost.amount, cost.least) for cost in coverage.costs},
    )


def _version() -> str:
    from trtqat.host.flavours import find_flavours

    found, _ = find_flavours("rtx")
    return found[0].version if found else ""


if __name__ == "__main__":
    main()
