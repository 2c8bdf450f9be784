"""Scales of constants are written, and lists of one are scalars, bit for bit; others stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.graphs import Graph, run
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.passes.standard_pairs import standardize_pairs
from trtqat.graph.passes.tidy import tidy
from trtqat.tensors import Array

X = np.random.default_rng(0).normal(size=(2, 4, 6, 6)).astype(np.float32)
COMPUTED = "Scales and zero-points computed of constants alone: 1; their values are written."
LISTED = "Scales of activations in a list of one made scalars: 1."


def network(made: Graph, scale: str, zero_point: Array) -> ir.Model:
    """A layer whose input is quantized with that scale."""
    names = [scale, made.constant("zero", zero_point)]
    made.node("QuantizeLinear", ["x", *names], "q")
    made.node("DequantizeLinear", ["q", *names], "dq")
    made.conv("dq", "y")
    return made.model("y")


def empty() -> Graph:
    return Graph((2, 4, 6, 6))


def cast() -> ir.Model:
    """What a converter to FP16 leaves of a scale."""
    made = empty()
    half = made.constant("half", np.array(0.0307, np.float16))
    return network(made, made.node("Cast", [half], "scale", to=1), np.array(0, np.int8))


def divided() -> ir.Model:
    made = empty()
    names = [made.constant(name, np.array(v, np.float32)) for name, v in (("a", 3.9), ("b", 127))]
    return network(made, made.node("Div", names, "scale"), np.array(0, np.int8))


def listed(zero_point: Array) -> ir.Model:
    made = empty()
    return network(made, made.constant("scale", np.array([0.03], np.float32)), zero_point)


@pytest.mark.parametrize(
    ("model", "note"),
    [
        (cast(), COMPUTED),
        (divided(), COMPUTED),
        (listed(np.array([0], np.int8)), LISTED),
        (listed(np.array(0, np.int8)), LISTED),
    ],
    ids=["cast", "divided", "list", "list and scalar"],
)
def test_the_layer_is_int8_and_no_bit_changes(model: ir.Model, note: str) -> None:
    expected = run(model, X)[0]
    tidy(model)
    assert note in standardize_pairs(model)
    parameters = [
        value for node in model.graph if node.name in ("/q", "/dq") for value in node.inputs[1:]
    ]
    arrays = [None if value is None else constant_array(value) for value in parameters]
    assert [array.shape for array in arrays if array is not None] == [()] * 4
    assert summarize(model).int8_layers == 1
    assert run(model, X)[0].tobytes() == expected.tobytes()


def test_a_scale_that_the_graph_returns_as_well() -> None:
    made = empty()
    names = [made.constant(name, np.array(v, np.float32)) for name, v in (("a", 3.9), ("b", 127))]
    network(made, made.node("Div", names, "scale"), np.array(0, np.int8))
    model = made.model("y", "scale")
    expected = run(model, X)
    assert COMPUTED in standardize_pairs(model)
    assert summarize(model).int8_layers == 1
    assert [each.tobytes() for each in run(model, X)] == [each.tobytes() for each in expected]


def test_a_scale_of_the_input_stays() -> None:
    made = empty()
    scale = made.node("ReduceMax", [made.node("Abs", ["x"], "abs")], "scale", keepdims=0)
    model = network(made, scale, np.array(0, np.int8))
    tidy(model)
    assert standardize_pairs(model) == ()
    assert summarize(model).int8_layers == 0


def test_one_scale_for_the_one_channel_of_a_weight_stays() -> None:
    made = Graph((2, 4, 6, 6))
    weight = np.random.default_rng(1).normal(size=(1, 4, 1, 1)).astype(np.float32)
    name = made.pair(made.constant("weight", weight), np.array([0.02]), 0)
    made.node("Conv", [made.pair("x", 0.03), name], "y")
    model = made.model("y")
    assert standardize_pairs(model) == ()
    scale = constant_array(model.graph.initializers["weight.scale"])
    assert scale is not None
    assert scale.shape == (1,)
