"""Weights behind what only moves them: codes and scales arrive at the same place, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.graphs import Graph, batch_norm, operators, run
from trtqat.graph.lenses.layers import layers_of
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.pairs import parameters_of
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.lint import lint
from trtqat.graph.passes.fold_constant_moves import fold_constant_moves
from trtqat.graph.passes.fold_weight_moves import fold_weight_moves
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.tensors import Array

Step = tuple[str, list[Array], dict[str, Any]]


def integers(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def weighted(
    codes: Array, scale: Array, axis: int | None, steps: list[Step], shape: tuple[int, ...]
) -> Graph:
    """DequantizeLinear of codes, then the steps; the result is ``wN``."""
    made = Graph(shape)
    names = [
        made.constant("w", codes),
        made.constant("s", scale.astype(np.float32)),
        made.constant("z", np.zeros(scale.shape, np.int8)),
    ]
    value = made.node("DequantizeLinear", names, "w0", **({} if axis is None else {"axis": axis}))
    for number, (operator, others, attributes) in enumerate(steps, 1):
        inputs = [made.constant(f"c{number}.{at}", other) for at, other in enumerate(others)]
        value = made.node(operator, [value, *inputs], f"w{number}", **attributes)
    return made


def random_codes(shape: tuple[int, ...], seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def random_scales(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed + 1).uniform(0.01, 0.1, count).astype(np.float32)


# Name, shape of the codes, axis of the scales, steps, group of the Conv, shape of its input.
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], int, list[Step], int, tuple[int, ...]]] = {
    "tf2onnx depthwise": (
        (3, 3, 8, 1),
        2,
        [("Reshape", [integers(3, 3, 1, 8)], {}), ("Transpose", [], {"perm": [3, 2, 0, 1]})],
        8,
        (2, 8, 6, 6),
    ),
    "tf2onnx": ((3, 3, 4, 8), 3, [("Transpose", [], {"perm": [3, 2, 0, 1]})], 1, (2, 4, 6, 6)),
    "flat": ((8, 36), 0, [("Reshape", [integers(0, 4, 3, -1)], {})], 1, (2, 4, 6, 6)),
    "cut": (
        (12, 4, 3, 3),
        0,
        [("Slice", [integers(9), integers(-99), integers(0), integers(-1)], {})],
        1,
        (2, 4, 6, 6),
    ),
    "gathered": ((8, 4, 3, 3), 0, [("Gather", [integers(3, 3, -1, 0)], {})], 1, (2, 4, 6, 6)),
    "1d to 2d": ((8, 4, 3), 0, [("Unsqueeze", [integers(2)], {})], 1, (2, 4, 6, 6)),
    "2d to 1d": ((8, 4, 1, 3), 0, [("Squeeze", [integers(-2)], {})], 1, (2, 4, 6)),
    "one kernel for all": (
        (8, 1, 3, 3),
        0,
        [("Expand", [integers(8, 4, 3, 3)], {})],
        1,
        (2, 4, 6, 6),
    ),
    "flattened": (
        (8, 4, 3, 3),
        0,
        [("Flatten", [], {"axis": 1}), ("Reshape", [integers(8, 4, 3, 3)], {})],
        1,
        (2, 4, 6, 6),
    ),
}


def convolution(name: str, *, norm: bool = False) -> ir.Model:
    shape, axis, steps, group, data = CONVOLUTIONS[name]
    made = weighted(random_codes(shape), random_scales(shape[axis]), axis, steps, data)
    value = made.node("Conv", [made.pair("x", 0.05), last_weight(made)], "conv", group=group)
    if norm:
        channels = layers_of(made.model(value).graph, Weights())[0].node.outputs[0].shape
        assert channels is not None
        value = made.batch_norm(value, batch_norm(int(str(channels[1]))), "y")
    return made.model(value)


def last_weight(made: Graph) -> str:
    return next(str(n.output[0]) for n in reversed(made.nodes) if str(n.output[0])[:1] == "w")


def data_for(model: ir.Model) -> Array:
    shape = model.graph.inputs[0].shape
    assert shape is not None
    size = [int(str(dim)) for dim in shape]
    return np.random.default_rng(7).normal(size=size).astype(np.float32)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_layer_reads_its_codes_directly_and_computes_the_same_bits(name: str) -> None:
    model = convolution(name)
    x = data_for(model)
    (expected,) = run(model, x)
    assert "weight-behind-moves" in {each.rule for each in lint(model)}
    found = fold_weight_moves(model)
    assert (found.layers, found.kept) == (("/conv",), ())
    assert set(operators(model)) == {"QuantizeLinear", "DequantizeLinear", "Conv"}
    np.testing.assert_array_equal(expected, run(model, x)[0])
    (layer,) = layers_of(model.graph, Weights())
    assert layer.dequantize_weight is not None
    assert parameters_of(layer.dequantize_weight).axis == 0
    assert summarize(model).int8_share == 1
    assert [each.rule for each in lint(model) if each.severity == "warning"] == []


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_batch_norm_behind_it_folds_with_the_same_codes(name: str) -> None:
    model = convolution(name, norm=True)
    x = data_for(model)
    (expected,) = run(model, x)
    improved = improve(model, ImproveOptions(), opset=17)
    assert improved.moves.layers == ("/conv",)
    assert improved.batch_norms is not None
    assert (improved.batch_norms.count, improved.batch_norms.codes_changed) == (1, 0)
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-4, atol=1e-4)


@given(data=st.data())
def test_any_permutation_and_reshape(data: st.DataObject) -> None:
    rank = data.draw(st.integers(2, 4))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank)))
    axis = data.draw(st.one_of(st.none(), st.integers(0, rank - 1)))
    steps: list[Step] = []
    size = shape
    for _ in range(data.draw(st.integers(1, 3))):
        if data.draw(st.booleans()):
            order = data.draw(st.permutations(range(len(size))))
            steps.append(("Transpose", [], {"perm": list(order)}))
            size = tuple(size[at] for at in order)
        else:
            size = data.draw(st.sampled_from(reshapes(size)))
            steps.append(("Reshape", [integers(*size)], {}))
    size = size if len(size) == 2 else (size[0], int(np.prod(size[1:])))
    steps.append(("Reshape", [integers(*size)], {}))
    scale = random_scales(1 if axis is None else shape[axis])
    made = weighted(
        random_codes(shape), scale if axis is not None else scale[0], axis, steps, (2, size[0])
    )
    made.node("MatMul", [made.pair("x", 0.05), last_weight(made)], "y")
    model = made.model("y")
    x = data_for(model)
    (expected,) = run(model, x)
    found = fold_weight_moves(model)
    np.testing.assert_array_equal(expected, run(model, x)[0])
    assert len(found.layers) + len(found.kept) == 1
    # Where one scale is everywhere, or its axis was only moved, there is always a place for it.
    if axis is None or (all(step[0] == "Transpose" for step in steps[:-1]) and rank == 2):
        assert found.kept == ()


def reshapes(size: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Some shapes of as many elements."""
    count = int(np.prod(size))
    return [
        size,
        (count,),
        (1, *size),
        (*size, 1),
        *((each, count // each) for each in range(1, count + 1) if count % each == 0),
    ]


def test_scales_that_follow_no_axis_keep_the_weight_where_it_is() -> None:
    made = weighted(
        random_codes((4, 6)), random_scales(4), 0, [("Reshape", [integers(3, 8)], {})], (2, 3)
    )
    made.node("MatMul", [made.pair("x", 0.05), "w1"], "y")
    model = made.model("y")
    assert fold_weight_moves(model).kept == ("/y",)
    assert "Reshape" in operators(model)
    (finding,) = [each for each in lint(model) if each.rule == "weight-behind-moves"]
    assert finding.where == "/y"


def test_one_transpose_of_a_linear_stays() -> None:
    made = weighted(random_codes((4, 3)), random_scales(4), 0, [("Transpose", [], {})], (2, 3))
    made.node("MatMul", [made.pair("x", 0.05), "w1"], "y")
    model = made.model("y")
    assert fold_weight_moves(model).layers == ()
    assert operators(model).count("Transpose") == 1


def test_each_layer_that_reads_one_weight_gets_its_own_form() -> None:
    steps: list[Step] = [
        ("Reshape", [integers(4, 4, 1, 1)], {}),
        ("Transpose", [], {"perm": [1, 0, 2, 3]}),
    ]
    made = weighted(random_codes((4, 4)), random_scales(4), 0, steps, (2, 4, 5, 5))
    data = made.pair("x", 0.05)
    one = made.node("Conv", [data, "w1"], "one")
    made.node("Add", [one, made.node("ConvTranspose", [data, "w2"], "two")], "y")
    model = made.model("y")
    x = data_for(model)
    (expected,) = run(model, x)
    assert sorted(fold_weight_moves(model).layers) == ["/one", "/two"]
    np.testing.assert_array_equal(expected, run(model, x)[0])
    axes = [
        parameters_of(layer.dequantize_weight).axis
        for layer in layers_of(model.graph, Weights())
        if layer.dequantize_weight is not None
    ]
    assert axes == [0, 1]


def test_wrong_axis_would_be_seen() -> None:
    """The weight is square, so that only the numbers can tell."""
    model = convolution("tf2onnx")
    x = data_for(model)
    (expected,) = run(model, x)
    fold_weight_moves(model)
    (layer,) = layers_of(model.graph, Weights())
    assert layer.dequantize_weight is not None
    scale = layer.dequantize_weight.inputs[1]
    assert scale is not None
    assert scale.const_value is not None
    scale.const_value = ir.tensor(scale.const_value.numpy()[::-1].copy(), name=scale.name)
    assert not np.array_equal(expected, run(model, x)[0])


@pytest.mark.parametrize("operator", ["Reshape", "Transpose"])
def test_float_weight_that_moves_before_its_quantizer(operator: str) -> None:
    made = Graph((2, 4))
    made.constant("w", np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))
    others = [made.constant("shape", integers(4, 4))] if operator == "Reshape" else []
    made.node(operator, ["w", *others], "moved")
    weight = made.pair("moved", random_scales(4), 1)
    made.node("MatMul", [made.pair("x", 0.05), weight], "y")
    model = made.model("y")
    x = data_for(model)
    (expected,) = run(model, x)
    assert fold_constant_moves(model).count == 1
    assert operator not in operators(model)
    np.testing.assert_array_equal(expected, run(model, x)[0])


def test_huge_expansion_is_left_alone() -> None:
    steps: list[Step] = [("Expand", [integers(4, 2**20, 2**10)], {})]
    made = weighted(random_codes((4, 1, 1)), random_scales(4), 0, steps, (2, 4))
    made.node("MatMul", [made.pair("x", 0.05), "w1"], "y")
    assert fold_weight_moves(made.model("y")).layers == ()
