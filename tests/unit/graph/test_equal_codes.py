"""Lint sends codes to ``export`` where that rewrites them, and to another calibration elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import trtqat as package
from tests.support.graphs import Graph
from tests.support.lint_parameters import activation, stored
from trtqat.graph.lint import lint

COMMAND = "trtqat export model.onnx -o mended.onnx"


def number(dtype: type[np.integer], value: int) -> ir.Model:
    """A layer whose output is divided by a number that is kept in codes."""
    made = Graph((2, 4, 6, 6))
    made.constants.update({"k": np.array(value, dtype), "s": np.array(0.02, np.float32)})
    made.constant("z", np.array(0, dtype))
    divisor = made.node("DequantizeLinear", ["k", "s", "z"], "divisor")
    made.node("Div", [made.conv(made.pair("x", 0.1), "c"), divisor], "y")
    return made.model("y")


def bias_of_norm() -> ir.Model:
    """As quantize_static writes the bias of a LayerNormalization."""
    made = Graph((2, 4))
    made.constants.update({"b": np.arange(4, dtype=np.int32), "s": np.array(1e-3, np.float32)})
    bias = made.node("DequantizeLinear", ["b", "s"], "b.dq")
    made.node("LayerNormalization", ["x", made.constant("g", np.ones(4, np.float32)), bias], "n")
    weight = made.constant("w", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    made.node("MatMul", [made.pair("n", 0.1), made.pair(weight, 0.02)], "y")
    return made.model("y")


def asymmetric_weight() -> ir.Model:
    """As quantize_static writes it where weights keep their QuantizeLinear."""
    made = Graph((2, 4))
    weight = made.constant("w", np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4))
    pair = made.pair(weight, 0.01, zero_point=np.array(5, np.int8))
    made.node("Gemm", [made.pair("x", 0.1), pair], "y")
    return made.model("y")


def read_by(operator: str, *others: str, **attributes: object) -> ir.Model:
    """A layer behind codes around 128, which something reads besides or on the way."""
    made = Graph((2, 4))
    made.constants.update({"s": np.array(0.05, np.float32), "z": np.array(128, np.uint8)})
    made.constants["other"] = np.array(127, np.uint8)
    made.node("QuantizeLinear", ["x", "s", "z"], "q")
    read = made.node(operator, ["q", *others], "read", **attributes)
    half = ["q" if operator in ("DequantizeLinear", "Cast") else read, "s", "z"]
    data = made.node("DequantizeLinear", half, "dq")
    if operator in ("DequantizeLinear", "Cast"):
        data = made.node("Add", [data, read], "sum")
    weight = made.constant("w", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    made.node("Gemm", [data, made.pair(weight, 0.02)], "y")
    return made.model("y")


REWRITTEN = {
    "a weight with a zero-point": asymmetric_weight(),
    "uint8 around 128": activation(zero_point=np.array(128, np.uint8)),
    "constants in uint8": stored(np.uint8, 128),
    "constants in int8": stored(np.int8, -20),
    "a number in uint8": number(np.uint8, 200),
    "int32": bias_of_norm(),
}
LEFT = {
    "uint8 from 0": activation(zero_point=np.array(0, np.uint8)),
    "int8": activation(zero_point=np.array(-3, np.int8)),
    "another zero-point": read_by("DequantizeLinear", "s", "other"),
    "codes as numbers": read_by("Cast", to=1),
    "codes that are joined": read_by("Concat", axis=0),
    "codes that are compared": read_by("Max", "q"),
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_the_way_out_is_export_which_rewrites_it(name: str, tmp_path: Path) -> None:
    findings = [each for each in lint(REWRITTEN[name]) if "-not-" in each.rule]
    assert [each.example for each in findings] == [COMMAND]
    ir.save(REWRITTEN[name], tmp_path / "model.onnx")
    package.export(tmp_path / "model.onnx", tmp_path / "mended.onnx")
    assert not [each for each in lint(ir.load(tmp_path / "mended.onnx")) if "-not-" in each.rule]


def test_codes_that_are_moved_are_rewritten_too(tmp_path: Path) -> None:
    model = read_by("Transpose", perm=[0, 1])
    findings = [each for each in lint(model) if each.rule == "codes-not-int8"]
    assert [each.example for each in findings] == [COMMAND, COMMAND]
    ir.save(model, tmp_path / "model.onnx")
    package.export(tmp_path / "model.onnx", tmp_path / "mended.onnx")
    mended = lint(ir.load(tmp_path / "mended.onnx"))
    assert not [each for each in mended if each.rule == "codes-not-int8"]


@pytest.mark.parametrize("name", LEFT)
def test_the_way_out_is_another_calibration(name: str) -> None:
    findings = [each for each in lint(LEFT[name]) if "-not-" in each.rule]
    assert findings
    assert COMMAND not in [each.example for each in findings]
