"""Weights as INT8 initializers: ONNX Runtime's own codes, and the way back."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.graphs import Graph, operators, run
from trtqat.errors import ExportError
from trtqat.graph.passes.make_weights_float import make_weights_float
from trtqat.graph.passes.quantize_weights import quantize_weights
from trtqat.tensors import Array

TINY = float(np.finfo(np.float32).tiny)
NOTHING = np.zeros(1, np.float32)


def weight_graph(weight: Array, scale: Array, axis: int | None) -> Graph:
    """A weight through Q and DQ; its codes and its floats are what the graph computes."""
    graph = Graph((1,))
    made = graph.pair(graph.constant("fc.weight", weight), scale, axis)
    graph.node("Add", [graph.node("Identity", [made], "same"), "x"], "y")
    return graph


def codes_of_onnx_runtime(graph: Graph) -> Array:
    copy = Graph(graph.shape, graph.nodes[:1], graph.constants)
    copy.node("Cast", ["fc.weight.q"], "codes", to=6)
    copy.node("Identity", ["x"], "z")
    return run(copy.model("codes", "z"), NOTHING)[0]


@st.composite
def weights(draw: st.DrawFn) -> tuple[Array, Array, int | None]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (3, 4, 2, 5)
    axis = draw(st.sampled_from([None, 0, 1, 2, 3, -1, -4]))
    size = () if axis is None else (shape[axis],)
    # From scales so small that dividing by them overflows to scales that make all codes 0.
    magnitudes = draw(st.sampled_from([1.0, 0.003, 1e-20, TINY, 1e-40, 1e30]))
    scale = (random.uniform(0.5, 2, size) * magnitudes).astype(np.float32)
    steps = scale if axis is None else np.moveaxis(scale.reshape(-1, 1, 1, 1), 0, axis)
    codes = random.integers(-300, 300, shape) / 2
    with np.errstate(over="ignore"):
        weight = (codes * steps).astype(np.float32)
    nudged = np.nextafter(weight, np.float32(draw(st.sampled_from([-1e38, 1e38]))))
    weight = np.where(random.random(shape) < 0.5, weight, nudged)
    rare = draw(st.sampled_from([0.0, -0.0, 1e-45, -1e-40, 3e38, -3e38]))
    weight[random.random(shape) < 0.1] = rare
    return weight.astype(np.float32), scale, axis


@given(weights())
def test_codes_are_those_of_onnx_runtime(case: tuple[Array, Array, int | None]) -> None:
    graph = weight_graph(*case)
    expected = codes_of_onnx_runtime(graph)
    model = graph.model("y")
    (before,) = run(model, NOTHING)
    found = quantize_weights(model)
    assert (found.count, found.computed) == (1, ())
    made = model.graph.initializers["fc.weight.codes"].const_value
    assert made is not None
    assert made.dtype == ir.DataType.INT8
    np.testing.assert_array_equal(made.numpy(), expected)
    assert "fc.weight" not in model.graph.initializers
    assert run(model, NOTHING)[0].tobytes() == before.tobytes()


@given(weights())
def test_float_weights_are_the_way_back(case: tuple[Array, Array, int | None]) -> None:
    model = weight_graph(*case).model("y")
    quantize_weights(model)
    codes = model.graph.initializers["fc.weight.codes"].const_value
    assert codes is not None
    (expected,) = run(model, NOTHING)
    assert make_weights_float(model).count == 1
    assert operators(model)[:2] == ["QuantizeLinear", "DequantizeLinear"]
    assert "fc.weight.codes" not in model.graph.initializers
    assert run(model, NOTHING)[0].tobytes() == expected.tobytes()
    quantize_weights(model)
    again = model.graph.initializers["fc.weight.codes"].const_value
    assert again is not None
    np.testing.assert_array_equal(again.numpy(), codes.numpy())


def test_scale_that_overflows_is_refused() -> None:
    weight = np.full((2, 2), 3.4e38, np.float32)  # rounds up to 2 · 2.2e38
    model = weight_graph(weight, np.array(2.2e38, np.float32), None).model("y")
    quantize_weights(model)
    with pytest.raises(ExportError, match=r"'fc\.weight' .* from 2\.2e\+38") as caught:
        make_weights_float(model)
    assert "--int8-weights" in caught.value.remedy


def two_readers(scales: tuple[float, float]) -> Graph:
    graph = Graph((2, 4))
    random = np.random.default_rng(3)
    graph.constant("w", random.normal(size=(4, 4)).astype(np.float32))
    for number, scale in enumerate(scales):
        weight = graph.pair("w", scale, name=f"p{number}")
        graph.node("MatMul", ["x", weight], f"y{number}")
    return graph


@pytest.mark.parametrize("scales", [(0.01, 0.01), (0.01, 0.02)])
def test_shared_weight_with_a_pair_for_each_reader(scales: tuple[float, float]) -> None:
    model = two_readers(scales).model("y0", "y1")
    x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    expected = run(model, x)
    assert quantize_weights(model).count == 2
    assert "w" not in model.graph.initializers
    codes = [name for name in model.graph.initializers if name.startswith("w.codes")]
    assert len(codes) == len(set(scales))
    for turn in (lambda: None, lambda: make_weights_float(model)):
        turn()
        for before, after in zip(expected, run(model, x), strict=True):
            assert before.tobytes() == after.tobytes()
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)


def test_shared_pair_and_float_reader() -> None:
    graph = Graph((2, 4))
    graph.constant("w", np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32))
    pair = graph.pair("w", np.full(4, 0.01), 1)
    for number, weight in enumerate((pair, pair, "w")):
        graph.node("MatMul", ["x", weight], f"y{number}")
    model = graph.model("y0", "y1", "y2")
    x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    expected = run(model, x)
    assert quantize_weights(model).count == 1
    # The float reader keeps the float weight.
    assert "w" in model.graph.initializers
    for before, after in zip(expected, run(model, x), strict=True):
        assert before.tobytes() == after.tobytes()
    assert make_weights_float(model).count == 1
    for before, after in zip(expected, run(model, x), strict=True):
        assert before.tobytes() == after.tobytes()


def test_equal_codes_and_scales_along_different_axes_are_different_weights() -> None:
    graph = Graph((2, 4))
    codes = np.random.default_rng(2).integers(-128, 128, (4, 4)).astype(np.int8)
    scale = np.geomspace(0.01, 1, 4).astype(np.float32)
    graph.constants.update({"codes": codes, "s": scale, "z": np.zeros(4, np.int8)})
    for axis in (0, 1):
        weight = graph.node("DequantizeLinear", ["codes", "s", "z"], f"w{axis}", axis=axis)
        graph.node("MatMul", ["x", weight], f"y{axis}")
    model = graph.model("y0", "y1")
    x = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    expected = run(model, x)
    assert make_weights_float(model).count == 2
    for before, after in zip(expected, run(model, x), strict=True):
        assert before.tobytes() == after.tobytes()


def test_weight_that_the_graph_computes() -> None:
    """γ/σ times the weight, as torch.ao's ConvBn modules have it."""
    random = np.random.default_rng(5)
    graph = Graph((2, 4))
    graph.constant("w", random.normal(size=(4, 4)).astype(np.float32))
    graph.constant("gamma", random.normal(size=(4, 1)).astype(np.float32))
    graph.constant("variance", random.uniform(0.1, 2, (4, 1)).astype(np.float32))
    graph.constant("epsilon", np.array(1e-5, np.float32))
    sigma = graph.node("Sqrt", [graph.node("Add", ["variance", "epsilon"], "v")], "sigma")
    factor = graph.node("Div", ["gamma", sigma], "factor")
    scaled = graph.node("Mul", ["w", factor], "scaled")
    pair = graph.pair(scaled, np.full(4, 0.01), 0)
    graph.node("MatMul", ["x", graph.node("Transpose", [pair], "t", perm=[1, 0])], "y")
    model = graph.model("y", "sigma")
    x = random.normal(size=(2, 4)).astype(np.float32)
    expected = run(model, x)
    assert quantize_weights(model).computed == ("scaled",)
    # What else is read of the computation stays.
    assert operators(model) == ["Add", "Sqrt", "DequantizeLinear", "Transpose", "MatMul"]
    for before, after in zip(expected, run(model, x), strict=True):
        assert before.tobytes() == after.tobytes()


def test_weight_behind_codes_that_are_transposed() -> None:
    """Codes, DequantizeLinear, Transpose, a pair: what onnxruntime.quantization writes."""
    random = np.random.default_rng(6)
    graph = Graph((2, 4))
    graph.constant("codes", random.integers(-128, 128, (4, 4)).astype(np.int8))
    graph.constant("scale", np.array(0.02, np.float32))
    weight = graph.node("DequantizeLinear", ["codes", "scale"], "w")
    pair = graph.pair(graph.node("Transpose", [weight], "t", perm=[1, 0]), 0.02)
    graph.node("MatMul", ["x", pair], "y")
    model = graph.model("y")
    x = random.normal(size=(2, 4)).astype(np.float32)
    expected = run(model, x)
    assert quantize_weights(model).computed == ("t",)
    assert operators(model) == ["DequantizeLinear", "MatMul"]
    assert run(model, x)[0].tobytes() == expected[0].tobytes()


@pytest.mark.parametrize(
    ("scale", "zero_point"),
    [
        (0.1, np.array(3, np.int8)),
        (0.1, np.array(0, np.uint8)),
        (0.1, np.array(128, np.uint8)),
        (np.full(4, 0.1), np.array([0, 0, 1, 0], np.int8)),
        (0.0, np.array(0, np.int8)),
        (-0.1, np.array(0, np.int8)),
        (np.array([0.1, 0.1, np.nan, 0.1]), np.zeros(4, np.int8)),
        (np.full(3, 0.1), np.zeros(3, np.int8)),
    ],
)
def test_what_is_not_symmetric_int8_is_left_alone(scale: Array | float, zero_point: Array) -> None:
    graph = Graph((2, 4))
    graph.constant("w", np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32))
    pair = graph.pair("w", scale, 1 if zero_point.ndim else None, zero_point=zero_point)
    graph.node("MatMul", ["x", pair], "y")
    model = graph.model("y")
    before = ir.to_proto(model).SerializeToString()
    assert quantize_weights(model).count == 0
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("zero_point", [np.array(3, np.int8), None])
def test_codes_with_other_zero_points_have_no_float_form_here(zero_point: Array | None) -> None:
    graph = Graph((2, 4))
    graph.constants.update(
        {"codes": np.arange(16, dtype=np.int8).reshape(4, 4), "s": np.array(0.1, np.float32)}
    )
    inputs = ["codes", "s"]
    if zero_point is not None:
        inputs.append(graph.constant("z", zero_point))
    graph.node("MatMul", ["x", graph.node("DequantizeLinear", inputs, "w")], "y")
    model = graph.model("y")
    before = ir.to_proto(model).SerializeToString()
    assert make_weights_float(model).count == 0
    assert ir.to_proto(model).SerializeToString() == before


def test_activations_and_outputs_of_codes_are_left_alone() -> None:
    graph = Graph((2, 4))
    graph.constant("w", np.ones((4, 4), np.float32))
    graph.node("MatMul", [graph.pair("x", 0.1), graph.pair("w", 0.1)], "y")
    model = graph.model("y", "w.q")
    assert quantize_weights(model).count == 0
    assert operators(model).count("QuantizeLinear") == 2
