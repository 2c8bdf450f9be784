"""Real engines on the CPU: TensorRT for RTX builds what ``export`` writes, and tells what is INT8.

Nothing is run here: the library needs an RTX card for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from torch import nn

import trtqat
from tests.support.families import FAMILIES, FORMS
from trtqat.building.builder import BuildResult
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.plan.header import read_plan
from trtqat.plan.manifest import read_manifest

# What takes seconds to export is built in a few forms; scripts/bench/rtx.py builds all of them.
LARGE = {
    "vgg16": ("fp16", "codes"),
    "resnet26": ("repaired",),
    "mobilenet": ("opset24",),
    "transformer": ("int8_weights", "dynamo_fp16"),
}


def _pairs() -> Iterator[tuple[str, str]]:
    by_dynamo = [name for name in FORMS if name.startswith("dynamo")]
    small = [name for name in FAMILIES if name not in LARGE]
    for number, family in enumerate(small):
        opset = ("opset17", "opset24")[number % 2]
        passes = ("int8_weights", "repaired")[number % 2]
        codes = ["codes"] if FAMILIES[family].takes_codes else []
        by_exporter = by_dynamo[number % len(by_dynamo)]
        yield from ((family, form) for form in (opset, passes, "fp16", *codes, by_exporter))
    for family, forms in LARGE.items():
        yield from ((family, form) for form in forms)


PAIRS = list(_pairs())


@cache
def model_of(family: str) -> nn.Module:
    return FAMILIES[family].example.qat()


def built(folder: Path, family: str, form: str) -> BuildResult:
    graph = folder / "model.onnx"
    options = ExportOptions(FAMILIES[family].example.inputs, **FORMS[form])
    export_onnx(model_of(family), graph, options)
    return trtqat.build(graph, folder / "model.engine", for_="rtx")


def test_there_are_enough() -> None:
    assert len(PAIRS) >= 55
    assert {family for family, _ in PAIRS} == set(FAMILIES)
    assert {form for _, form in PAIRS} == set(FORMS)


@pytest.mark.parametrize(("family", "form"), PAIRS)
def test_inputs_and_weights_are_int8_in_the_built_plan(
    family: str, form: str, tmp_path: Path
) -> None:
    result = built(tmp_path, family, form)
    assert result.coverage_error is None
    coverage = result.coverage
    assert coverage is not None
    expected = FAMILIES[family]
    assert len(coverage.wanted) == expected.layers
    assert tuple(layer.name for layer in coverage.missed) == expected.float_layers
    for layer in coverage.wanted:
        if layer.name in expected.float_layers:
            assert "transposed" in layer.reason
            continue
        assert set(layer.input_dtypes) == {"int8"}
        assert layer.weight_dtype in ("int8", "")
        # The products of attention read two activations; everything else has weights.
        assert layer.weight_dtype or layer.operator == "MatMul"
    assert not coverage.has_kernels
    content, header = read_plan(result.path)
    assert (header.library, header.version[0]) == ("rtx", 1)
    manifest = read_manifest(result.path)
    assert manifest == result.manifest
    assert manifest.coverage == coverage
    assert manifest.plan_bytes == len(content)
