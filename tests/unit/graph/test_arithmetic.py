"""Whatever multiplies is in the share of INT8, or takes the share away and is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.counted_graphs import LAYER_MACS, beside_a_layer, floats, summary_of
from tests.support.graphs import Graph
from trtqat.graph.lenses.macs import GraphSummary, LayerSummary, summarize
from trtqat.graph.lint import lint
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import EngineLayer, EngineTensor
from trtqat.inspection.words import describe_coverage, describe_summary


def recurrence(
    operator: str,
    *,
    directions: int = 1,
    steps: int | str = 7,
    batch: int | str = "batch",
    **more: Any,
) -> tuple[Graph, int]:
    """A recurrence of 5 inputs and 6 hidden units, and its multiply-accumulates a step."""
    made = beside_a_layer()
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    shape = (batch, steps, 5) if more.get("layout") else (steps, batch, 5)
    made.inputs["sequence"] = shape
    made.constant("w", np.zeros((directions, gates * 6, 5), np.float32))
    made.constant("r", np.zeros((directions, gates * 6, 6), np.float32))
    if directions == 2:
        more["direction"] = "bidirectional"
    made.node(operator, ["sequence", "w", "r"], "hidden", hidden_size=6, **more)
    return made, directions * gates * 6 * (5 + 6)


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("batch", ["batch", 1])
def test_recurrences(operator: str, directions: int, batch: int | str) -> None:
    made, each = recurrence(operator, directions=directions, batch=batch)
    summary = summary_of(made, "layer", "hidden")
    assert [(s.operator, s.is_int8, s.macs) for s in summary.layers] == [
        ("Conv", True, LAYER_MACS),
        (operator, False, 7 * each),
    ]
    assert summary.int8_share == LAYER_MACS / (LAYER_MACS + 7 * each)


def test_recurrence_with_the_batch_first() -> None:
    made, each = recurrence("LSTM", layout=1)
    assert summary_of(made, "layer", "hidden").layers[1].macs == 7 * each


def test_recurrence_of_open_length_takes_the_share_away() -> None:
    made, _ = recurrence("LSTM", steps="steps")
    summary = summary_of(made, "layer", "hidden")
    assert summary.int8_share is None
    words = describe_summary(summary)
    assert "%" not in words
    assert "\narithmetic not counted: '/hidden' (LSTM)" in words


EINSUMS = [
    ("bij,bjk->bik", (("batch", 5, 8), ("batch", 8, 6)), 5 * 8 * 6),
    ("bij,bjk", (("batch", 5, 8), ("batch", 8, 6)), 5 * 8 * 6),
    ("bhqd, bhkd -> bhqk", (("batch", 2, 5, 8), ("batch", 2, 7, 8)), 2 * 5 * 7 * 8),
    ("...ij,...jk->...ik", (("batch", 2, 5, 8), ("batch", 2, 8, 6)), 2 * 5 * 8 * 6),
    ("bi,bi->b", (("batch", 5), ("batch", 5)), 5),
    ("bi,ij,bj->b", (("batch", 5), (5, 6), ("batch", 6)), 5 * 6),
]


@pytest.mark.parametrize(("equation", "shapes", "macs"), EINSUMS, ids=lambda v: str(v)[:20])
def test_einsum(equation: str, shapes: tuple[tuple[int | str, ...], ...], macs: int) -> None:
    made = beside_a_layer()
    names = []
    for number, shape in enumerate(shapes):
        names.append(f"e{number}")
        if isinstance(shape[0], str):
            made.inputs[names[-1]] = shape
        else:
            made.constant(names[-1], np.ones(shape, np.float32))  # type: ignore[arg-type]
    made.node("Einsum", names, "z", equation=equation)
    assert summary_of(made, "layer", "z").layers[1].macs == macs


def test_einsum_of_one_tensor_multiplies_nothing() -> None:
    made = beside_a_layer()
    made.node("Einsum", ["x"], "z", equation="bchw->bhwc")
    assert summary_of(made, "layer", "z").int8_share == 1


def test_sum_of_a_product_is_a_product_and_a_norm_is_not() -> None:
    made = beside_a_layer()
    made.constant("w", np.ones((4, 6, 6), np.float32))
    made.node("ReduceSum", [made.node("Mul", ["x", "w"], "m")], "z")
    assert summary_of(made, "layer", "z").layers[1].macs == 4 * 36
    for other in ("x", "two"):
        made = beside_a_layer()
        made.constant("two", np.array(2, np.float32))
        made.node("ReduceSum", [made.node("Mul", ["x", other], "m")], "z")
        assert summary_of(made, "layer", "z").int8_share == 1


def test_attention_of_onnx() -> None:
    made = beside_a_layer()
    made.inputs.update(q=("batch", 2, 5, 8), k=("batch", 2, 7, 8), v=("batch", 2, 7, 8))
    made.node("Attention", ["q", "k", "v"], "z")
    summary = summary_of(made, "layer", "z", opset=23)
    assert summary.layers[1].macs == 2 * 2 * 5 * 7 * 8


def microsoft(operator: str, inputs: dict[str, Any], **attributes: Any) -> GraphSummary:
    made = beside_a_layer()
    for name, given_input in inputs.items():
        if isinstance(given_input, tuple):
            made.inputs[name] = given_input
        else:
            made.constant(name, given_input)
    made.node(operator, list(inputs), "z", domain="com.microsoft", **attributes)
    return summary_of(made, "layer", "z")


def test_operators_of_onnx_runtime() -> None:
    tokens = ("batch", 5, 8)
    attention = microsoft(
        "Attention", {"a": tokens, "w": floats(8, 24), "b": floats(24)}, num_heads=2
    )
    assert attention.layers[1].macs == 5 * 8 * 24 + 2 * 5 * 5 * 8
    heads = microsoft(
        "MultiHeadAttention", {"q": tokens, "k": ("batch", 7, 8), "v": ("batch", 7, 6)}
    )
    assert heads.layers[1].macs == 5 * 7 * (8 + 6)
    matrix = microsoft("FusedMatMul", {"a": tokens, "b": floats(6, 8)}, transB=1)
    assert matrix.layers[1].macs == 5 * 8 * 6
    packed = microsoft("MatMulNBits", {"a": tokens, "b": floats(1)}, K=8, N=6)
    assert packed.layers[1].macs == 5 * 8 * 6
    # Its output has no shape, as onnx does not know the operator.
    fused = microsoft("FusedConv", {"a": ("batch", 4, 6, 6), "w": floats(4, 4, 1, 1)})
    assert (fused.layers[1].macs, fused.int8_share) == (None, None)


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("my.plugins", "Whatever"),
        ("", "Plugin_TRT"),
        ("com.microsoft", "MoE"),
        ("ai.onnx.ml", "SVMRegressor"),
    ],
)
def test_what_nobody_knows_takes_the_share_away(domain: str, operator: str) -> None:
    made = beside_a_layer()
    made.node(operator, ["x"], "z", domain=domain)
    model = made.model("layer", "z")
    summary = summarize(model)
    assert (summary.int8_share, summary.int8_layers, summary.understood_layers) == (None, 1, 1)
    assert f"not counted: '/z' ({f'{domain}::' if domain else ''}{operator})" in describe_summary(
        summary
    )
    assert "/z" in [each.where for each in lint(model) if each.rule == "not-counted"]


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("com.microsoft", "QuickGelu"),
        ("", "EfficientNMS_TRT"),
        ("ai.onnx.ml", "Scaler"),
        ("", "Relu"),
    ],
)
def test_what_is_known_to_multiply_nothing_takes_nothing_away(domain: str, operator: str) -> None:
    made = beside_a_layer()
    made.node(operator, ["x"], "z", domain=domain)
    assert summary_of(made, "layer", "z").int8_share == 1


@pytest.mark.parametrize("operator", ["QLinearConv", "ConvInteger"])
def test_integer_operators_count_as_not_int8(operator: str) -> None:
    made = beside_a_layer()
    made.constants.update({"s": np.array(0.1, np.float32), "w8": np.ones((4, 4, 1, 1), np.int8)})
    made.constant("z0", np.array(0, np.int8))
    made.constant("zu", np.array(0, np.uint8))
    data = made.node("QuantizeLinear", ["x", "s", "zu"], "q")
    if operator == "QLinearConv":
        inputs = [data, "s", "zu", "w8", "s", "z0", "s", "zu"]
    else:
        inputs = [data, "w8"]
    made.node(operator, inputs, "z")
    summary = summary_of(made, "layer", "z")
    assert summary.layers[1].macs == LAYER_MACS
    assert summary.int8_share == 0.5


def test_layers_of_other_codes_count_as_not_int8() -> None:
    def share(zero_point: Any, axis: int | None = None) -> float | None:
        made = Graph((1, 4, 6, 6), inputs={"x": ("batch", 4, 6, 6)})
        scale = np.full(zero_point.shape, 0.1, np.float32)
        made.conv(made.pair("x", scale, axis, zero_point=zero_point), "y")
        return summary_of(made, "y").int8_share

    assert share(np.array(0, np.int8)) == 1
    assert share(np.array(3, np.int8)) == 0
    assert share(np.array(128, np.uint8)) == 0
    assert share(np.zeros(4, np.int8), axis=1) == 0


@given(float_macs=st.integers(1, 10), int8_macs=st.integers(0, 10**9))
def test_all_of_it_is_said_only_of_all_of_it(float_macs: int, int8_macs: int) -> None:
    layers = (
        LayerSummary("a", "Conv", True, int8_macs),
        LayerSummary("b", "LSTM", False, float_macs),
    )
    assert "100.0%" not in describe_summary(GraphSummary(17, 1, 0, layers))
    assert "100.0%" in describe_summary(
        GraphSummary(17, 1, 0, (LayerSummary("a", "Conv", True, 9),))
    )


def engine_layer(name: str, dtype: str) -> EngineLayer:
    tensors = (EngineTensor("t", dtype, dtype, (1, 4)),)
    return EngineLayer(name, "kind", (name,), tensors, tensors, dtype, "kernel")


def test_engine_with_a_float_recurrence_is_not_all_int8() -> None:
    made, _ = recurrence("LSTM")
    layers = summary_of(made, "layer", "hidden").layers
    # The engine layers of a recurrence move INT8 tensors too, which makes it no INT8 layer.
    engine = [engine_layer("/layer", "int8"), engine_layer("/hidden", "int8")]
    for seen in (engine, engine[:1]):
        coverage = cover(layers, seen)
        assert coverage.int8_share is not None
        assert coverage.int8_share < 1
        words = describe_coverage(coverage)
        assert "100.0%" not in words
        assert "not quantized: 1 (LSTM), first /hidden" in words


def test_engine_with_arithmetic_that_is_not_known_has_no_share() -> None:
    made = beside_a_layer()
    made.node("Whatever", ["x"], "z", domain="my.plugins")
    coverage = cover(summary_of(made, "layer", "z").layers, [engine_layer("/layer", "int8")])
    assert coverage.int8_share is None
    assert "not counted: '/z' (my.plugins::Whatever)" in describe_coverage(coverage)


def test_what_is_counted_is_not_all_where_something_is_not() -> None:
    # As convolutions whose height and width are open, before a linear layer.
    layers = tuple(
        LayerSummary(name, operator, is_int8, macs)
        for name, operator, is_int8, macs in (
            ("/c", "Conv", True, None),
            ("/l", "Gemm", True, 30),
            ("/m", "MatMul", False, 10),
        )
    )
    mixed, all_int8 = GraphSummary(17, 3, 0, layers), GraphSummary(17, 3, 0, layers[:2])
    assert describe_summary(mixed).splitlines()[0] == (
        "INT8: 2 of 3 layers, at least 75.0% of the multiply-accumulates a sample, of which 40 are "
        "counted"
    )
    assert describe_summary(all_int8).splitlines()[0] == (
        "INT8: 2 of 2 layers, 100.0% of the multiply-accumulates a sample, of which 30 are counted"
    )
