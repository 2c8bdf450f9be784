"""A single number with a pair becomes a float, bit for bit; lists, weights and outputs stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.graphs import Graph, operators, run
from trtqat.graph.passes.standard_pairs import standardize_pairs
from trtqat.tensors import Array

X = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
KEPT = ["DequantizeLinear", "Div"]


def in_codes(codes: Array, zero_point: Array, *, is_output: bool = False) -> ir.Model:
    made = Graph((2, 4))
    made.constants.update({"codes": codes, "s": np.array(0.0123, np.float32), "z": zero_point})
    number = made.node("DequantizeLinear", ["codes", "s", "z"], "number")
    made.node("Div", ["x", number], "y")
    return made.model("y", *([number] if is_output else []))


def in_floats() -> ir.Model:
    """As quantize_static leaves it where weights keep their QuantizeLinear."""
    made = Graph((2, 4))
    made.node("Div", ["x", made.pair(made.constant("number", np.float32(2.83)), 0.0223)], "y")
    return made.model("y")


@pytest.mark.parametrize(
    "model",
    [
        in_floats(),
        in_codes(np.array(100, np.int8), np.array(0, np.int8)),
        in_codes(np.array(100, np.int8), np.array([-100], np.int8)),
        in_codes(np.array(200, np.uint8), np.array(0, np.uint8)),
    ],
    ids=["float", "int8", "zero-point in a list", "uint8"],
)
def test_no_bit_changes(model: ir.Model) -> None:
    expected = run(model, X)[0]
    notes = standardize_pairs(model)
    assert operators(model) == ["Div"]
    assert run(model, X)[0].tobytes() == expected.tobytes()
    assert "Single numbers with a pair made float: 1; none has another value." in notes


@pytest.mark.parametrize(
    "model",
    [
        in_codes(np.array([100], np.int8), np.array(0, np.int8)),
        in_codes(np.array(100, np.int8), np.array(0, np.int8), is_output=True),
    ],
    ids=["list", "output"],
)
def test_others_stay(model: ir.Model) -> None:
    assert not any("Single" in note for note in standardize_pairs(model))
    assert operators(model) == KEPT
