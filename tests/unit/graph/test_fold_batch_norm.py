"""Folding a BatchNorm: the trained codes stay, the outputs stay, and what cannot fold says why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.graphs import BatchNorm, Graph, batch_norm, run
from trtqat.graph.lenses.pairs import along_axis
from trtqat.graph.passes.fold_batch_norm import FoldedBatchNorms, fold_batch_norm
from trtqat.graph.passes.make_weights_float import make_weights_float
from trtqat.graph.passes.quantize_weights import quantize_weights
from trtqat.tensors import Array


def codes_of(model: ir.Model) -> list[Array]:
    return [
        value.const_value.numpy()
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and value.dtype == ir.DataType.INT8
        and value.const_value.numpy().any()
    ]


def fold(model: ir.Model) -> FoldedBatchNorms:
    quantize_weights(model)
    return fold_batch_norm(model)


KINDS = ("Conv1d", "Conv2d", "Conv3d", "depthwise", "grouped", "ConvTranspose", "Gemm", "MatMul")


@dataclass
class Case:
    """A layer of some kind with a BatchNorm behind it."""

    kind: str
    weight: Array
    scale: Array
    axis: int
    norm: BatchNorm
    bias: Array | None
    x: Array

    def graph(self) -> tuple[Graph, ir.Model]:
        graph = Graph(self.x.shape)
        data = graph.pair("x", np.array(0.05))
        graph.constant("fc.weight", self.weight)
        weight = graph.pair("fc.weight", self.scale, self.axis if self.scale.ndim else None)
        inputs = [data, weight]
        if self.bias is not None:
            inputs.append(graph.constant("fc.bias", self.bias))
        if self.kind == "MatMul":
            transposed = graph.node("Transpose", [weight], "wt", perm=[1, 0])
            layer = graph.node("MatMul", [data, transposed], "layer")
            if self.bias is not None:
                layer = graph.node("Add", [layer, "fc.bias"], "biased")
        elif self.kind == "Gemm":
            layer = graph.node("Gemm", inputs, "layer", transB=1)
        elif self.kind == "ConvTranspose":
            layer = graph.node("ConvTranspose", inputs, "layer", strides=[2, 2])
        else:
            group = {"depthwise": self.weight.shape[0], "grouped": 2}.get(self.kind, 1)
            layer = graph.node("Conv", inputs, "layer", group=group)
        graph.batch_norm(layer, self.norm)
        return graph, graph.model("y")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kind = draw(st.sampled_from(KINDS))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, inputs = 6, {"depthwise": 6}.get(kind, 4)
    spatial = {"Conv1d": 1, "Conv3d": 3, "Gemm": 0, "MatMul": 0}.get(kind, 2)
    kernel = (2,) * spatial
    per_group = {"depthwise": 1, "grouped": 2}.get(kind, inputs)
    shape: tuple[int, ...] = (channels, per_group, *kernel)
    axis = 0
    if kind == "ConvTranspose":
        shape, axis = (inputs, channels, *kernel), 1
    weight = random.normal(size=shape).astype(np.float32)
    per_channel = draw(st.booleans())
    others = tuple(i for i in range(weight.ndim) if i != axis)
    amax = np.abs(weight).max(axis=others) if per_channel else np.array(np.abs(weight).max())
    # A range that is smaller than the weights makes codes saturate, as a learned one does.
    scale = (amax * draw(st.sampled_from([1.0, 0.7])) / 127).astype(np.float32)
    norm = batch_norm(channels, draw(st.integers(0, 1000)))
    norm.gamma = np.array(
        draw(st.lists(st.sampled_from([0.0, -1.5, -0.3, 0.01, 0.8, 4.0]), min_size=6, max_size=6)),
        np.float32,
    )
    norm.variance = np.array(
        draw(st.lists(st.sampled_from([0.0, 1e-8, 0.1, 1.0, 1e6]), min_size=6, max_size=6)),
        np.float32,
    )
    # Without the code -128, which cannot be negated; it has a test of its own.
    steps = along_axis(scale, axis, weight.ndim)
    weight = np.maximum(weight, -127 * steps).astype(np.float32)
    bias = random.normal(size=channels).astype(np.float32) if draw(st.booleans()) else None
    x = random.normal(size=(3, inputs, *(5,) * spatial)).astype(np.float32)
    return Case(kind, weight, scale, axis, norm, bias, x)


@given(cases())
def test_codes_stay_and_outputs_are_equal_to_fp32_rounding(case: Case) -> None:
    _, model = case.graph()
    (expected,) = run(model, case.x)
    quantize_weights(model)
    (before,) = codes_of(model)
    found = fold_batch_norm(model)
    operator = {"ConvTranspose": "ConvTranspose", "Gemm": "Gemm", "MatMul": "MatMul"}
    assert found.folded == {operator.get(case.kind, "Conv"): 1}
    assert found.kept == ()
    assert found.codes_changed == 0
    assert not any(node.op_type == "BatchNormalization" for node in model.graph)

    zero = case.norm.gamma == 0
    signs = np.where(zero, 0, np.sign(case.norm.gamma)).astype(np.int8)
    along = signs.reshape([-1 if i == case.axis else 1 for i in range(before.ndim)])
    after = codes_of(model)
    assert [array.shape for array in after] == ([before.shape] if (~zero).any() else [])
    for array in after:
        np.testing.assert_array_equal(array, before * along)
    assert found.constant_channels == zero.sum()
    assert found.negated_channels == (case.norm.gamma < 0).sum()

    (actual,) = run(model, case.x)
    # The sums before the BatchNorm are of this size; both graphs round them to FP32.
    size = _magnitude(case) * np.abs(case.norm.multiplier) + np.abs(
        case.norm.mean * case.norm.multiplier
    )
    tolerance = 32 * np.finfo(np.float32).eps * (size + np.abs(case.norm.beta))
    shape = [1, -1] + [1] * (expected.ndim - 2)
    assert (np.abs(actual - expected) <= tolerance.reshape(shape)).all()

    make_weights_float(model)
    (as_float,) = run(model, case.x)
    np.testing.assert_array_equal(as_float, actual)


def _magnitude(case: Case) -> Array:
    """An upper bound of the sums of absolute products, per output channel."""
    others = tuple(i for i in range(case.weight.ndim) if i != case.axis)
    weights = np.abs(case.weight).sum(axis=others) + 1
    bias = 0 if case.bias is None else np.abs(case.bias)
    bound: Array = weights * np.abs(case.x).max() + bias
    return bound


def conv_graph(scale: Array | None = None, axis: int = 0) -> tuple[Graph, str]:
    random = np.random.default_rng(1)
    graph = Graph((2, 4, 6, 6))
    data = graph.pair("x", np.array(0.05))
    graph.constant("conv.weight", random.normal(size=(4, 4, 3, 3)).astype(np.float32))
    weight = graph.pair("conv.weight", np.full(4, 0.03) if scale is None else scale, axis)
    return graph, graph.node("Conv", [data, weight], "layer", pads=[1, 1, 1, 1])


def kept_reason(graph: Graph, *outputs: str) -> str:
    model = graph.model(*outputs)
    x = np.random.default_rng(2).normal(size=graph.shape).astype(np.float32)
    expected = run(model, x)
    found = fold(model)
    assert found.count == 0
    (kept,) = found.kept
    for one, other in zip(expected, run(model, x), strict=True):
        np.testing.assert_array_equal(one, other)
    return kept.reason


def test_output_that_is_used_elsewhere_stays() -> None:
    graph, layer = conv_graph()
    graph.batch_norm(layer, batch_norm(4))
    graph.node("Relu", [layer], "z")
    assert "also read by /z" in kept_reason(graph, "y", "z")


def test_output_of_the_graph_stays() -> None:
    graph, layer = conv_graph()
    graph.batch_norm(layer, batch_norm(4))
    assert "output of the graph" in kept_reason(graph, "y", layer)


def test_pair_in_between_stays() -> None:
    graph, layer = conv_graph()
    graph.batch_norm(graph.pair(layer, np.array(0.1)), batch_norm(4))
    assert "a Q/DQ pair stands before it" in kept_reason(graph, "y")


def test_activation_in_between_stays() -> None:
    graph, layer = conv_graph()
    graph.batch_norm(graph.node("Relu", [layer], "r"), batch_norm(4))
    assert "behind Relu" in kept_reason(graph, "y")


def test_batch_norm_before_the_convolution_stays() -> None:
    graph = Graph((2, 4, 6, 6))
    graph.batch_norm("x", batch_norm(4))
    assert "before any layer" in kept_reason(graph, "y")


def test_scales_along_the_input_channels_stay() -> None:
    graph, layer = conv_graph(axis=1)
    graph.batch_norm(layer, batch_norm(4))
    assert "per input channel (axis 1)" in kept_reason(graph, "y")


def test_float_layer_stays() -> None:
    graph = Graph((2, 4, 6, 6))
    graph.constant("w", np.ones((4, 4, 1, 1), np.float32))
    graph.batch_norm(graph.node("Conv", ["x", "w"], "layer"), batch_norm(4))
    assert "not quantized" in kept_reason(graph, "y")


def test_code_that_cannot_be_negated_stays() -> None:
    graph, layer = conv_graph(np.full(4, 0.001))  # everything saturates, to -128 as well
    norm = batch_norm(4)
    norm.gamma = np.array([1, 1, -1, 1], np.float32)
    graph.batch_norm(layer, norm)
    assert "-128" in kept_reason(graph, "y")


def test_scale_out_of_range_stays() -> None:
    graph, layer = conv_graph()
    norm = batch_norm(4)
    norm.gamma = np.full(4, 1e-38, np.float32)
    norm.variance = np.full(4, 1e6, np.float32)
    graph.batch_norm(layer, norm)
    assert "normal range" in kept_reason(graph, "y")


def test_grouped_transposed_convolution_stays() -> None:
    graph = Graph((2, 4, 6, 6))
    data = graph.pair("x", np.array(0.05))
    graph.constant("w", np.random.default_rng(1).normal(size=(4, 2, 2, 2)).astype(np.float32))
    layer = graph.node("ConvTranspose", [data, graph.pair("w", np.array(0.03))], "l", group=2)
    graph.batch_norm(layer, batch_norm(4))
    assert "not one axis" in kept_reason(graph, "y")


def test_shared_weight_is_copied_for_each_batch_norm() -> None:
    graph, first = conv_graph()
    second = graph.node("Conv", ["x.dq", "conv.weight.dq"], "layer2")
    graph.batch_norm(first, batch_norm(4, 1), "y")
    graph.batch_norm(second, batch_norm(4, 2), "z")
    third = graph.node("Conv", ["x.dq", "conv.weight.dq"], "unnormalized")
    model = graph.model("y", "z", third)
    x = np.random.default_rng(2).normal(size=graph.shape).astype(np.float32)
    expected = run(model, x)
    found = fold(model)
    assert (found.folded, found.copied_weights) == ({"Conv": 2}, 2)
    for one, other in zip(expected, run(model, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_chain_of_constants_and_batch_norms() -> None:
    # As torch.ao's ConvBn writes it: divided by γ/σ, biased, then normalized.
    graph, layer = conv_graph()
    norm = batch_norm(4)
    shape = (1, 4, 1, 1)
    graph.constant("factor", norm.multiplier.astype(np.float32).reshape(shape))
    graph.constant("shift", np.arange(4, dtype=np.float32).reshape(shape))
    divided = graph.node("Div", [layer, "factor"], "divided")
    shifted = graph.node("Sub", ["shift", divided], "shifted")
    graph.batch_norm(shifted, norm)
    model = graph.model("y")
    x = np.random.default_rng(2).normal(size=graph.shape).astype(np.float32)
    (expected,) = run(model, x)
    assert fold(model).folded == {"Conv": 1}
    (actual,) = run(model, x)
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert [node.op_type for node in model.graph].count("Sub") == 0


@pytest.mark.parametrize("name", ["gamma", "variance"])
def test_statistics_that_are_no_numbers_stay(name: str) -> None:
    graph, layer = conv_graph()
    norm = batch_norm(4)
    getattr(norm, name)[1] = np.nan
    graph.batch_norm(layer, norm)
    model = graph.model("y")
    (kept,) = fold(model).kept
    assert "not finite" in kept.reason


def test_transpose_that_does_not_write_its_order_reverses_the_axes() -> None:
    graph = Graph((2, 4))
    random = np.random.default_rng(3)
    graph.constant("w", random.normal(size=(4, 4)).astype(np.float32))
    weight = graph.pair("w", np.array(0.03))
    transposed = graph.node("Transpose", [weight], "t")
    layer = graph.node("MatMul", [graph.pair("x", np.array(0.05)), transposed], "l")
    graph.batch_norm(layer, batch_norm(4))
    model = graph.model("y")
    x = random.normal(size=(2, 4)).astype(np.float32)
    (expected,) = run(model, x)
    assert fold(model).folded == {"MatMul": 1}
    np.testing.assert_allclose(run(model, x)[0], expected, atol=1e-4)


def test_bias_of_each_row_is_none_of_each_channel() -> None:
    """A Gemm may add (N, 1); where N equals C only its shape tells."""
    random = np.random.default_rng(11)
    graph = Graph((4, 4))
    weight = random.normal(size=(4, 4)).astype(np.float32)
    graph.constant("fc.weight", weight)
    pair = graph.pair("fc.weight", np.abs(weight).max(axis=1) / 127, 0)
    graph.constant("fc.bias", random.normal(size=(4, 1)).astype(np.float32))
    graph.batch_norm(graph.node("Gemm", ["x", pair, "fc.bias"], "fc", transB=1), batch_norm(4))
    (kept,) = fold(graph.model("y")).kept
    assert kept.reason == "the bias of /fc is no constant per channel"
