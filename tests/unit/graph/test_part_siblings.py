"""Convolutions that TensorRT 8.6.0 refuses side by side get unequal activations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.graphs import Graph, run
from trtqat.graph.lint import lint
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.part_siblings import part_siblings

SHAPE = (2, 4, 6, 6)


def heads(
    scales: tuple[float, ...],
    *,
    relu: bool = True,
) -> ir.Model:
    """A convolution for each scale, all of one pair; the codes of each are the outputs."""
    made = Graph(SHAPE)
    data = made.pair("x", 0.1)
    for number, scale in enumerate(scales):
        head = made.conv(data, f"c{number}", kernel=3)
        if relu:
            head = made.node("Relu", [head], f"r{number}")
        made.pair(head, scale)
        made.node(
            "Mul", [f"{head}.dq", made.constant("one", np.array(1, np.float32))], f"y{number}"
        )
    return made.model(*(f"y{number}" for number in range(len(scales))))


def parted(model: ir.Model) -> tuple[str, ...]:
    infer_shapes(model)
    return part_siblings(model).parted


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("scales", [(0.8, 0.3), (0.3, 0.3), (0.3, 0.8, 0.3, 0.3)])
def test_all_but_the_first_have_a_clip_of_their_own(scales: tuple[float, ...], relu: bool) -> None:
    model = heads(scales, relu=relu)
    x = np.random.default_rng(0).normal(scale=8, size=SHAPE).astype(np.float32)
    expected = run(model, x)
    assert parted(model) == tuple(f"/c{number}" for number in range(1, len(scales)))
    for before, after in zip(expected, run(model, x), strict=True):
        assert np.unique(before).size > 40
        np.testing.assert_array_equal(before, after)
    clips = [node for node in model.graph if node.op_type == "Clip"]
    uppers = [float(node.inputs[2].const_value.numpy()) for node in clips]  # type: ignore[union-attr]
    assert len(set(uppers)) == len(scales) - 1
    assert operators(model)["Relu"] == int(relu)
    assert "sibling-convolutions" not in {finding.rule for finding in lint(model)}
    assert parted(model) == ()


@given(
    scale=st.floats(2.0**-126, 2.0**120, width=32),
    relu=st.booleans(),
    far=st.floats(-400, 400, width=32),
)
def test_codes_are_the_same_at_whatever_scale(scale: float, relu: bool, far: float) -> None:
    # One channel of weight 1 lets the input through; in steps of the quantizer.
    model = identities(scale, relu=relu)
    steps = np.array([0, 1, 126.4, 126.5, 127, 127.5, 128, -127.5, -128, -129, far], np.float32)
    x = np.resize(steps, SHAPE).astype(np.float32)
    expected = run(model, x)
    assert parted(model) == ("/c1",)
    for before, after in zip(expected, run(model, x), strict=True):
        np.testing.assert_array_equal(before, after)


def identities(scale: float, *, relu: bool) -> ir.Model:
    """Two convolutions that multiply what they read by a scale, which then quantizes it."""
    made = Graph(SHAPE)
    data = made.pair("x", 0.5)
    for number, factor in enumerate((1.0, scale)):
        weight = np.zeros((4, 4, 1, 1), np.float32)
        weight[range(4), range(4)] = factor
        weights = made.pair(made.constant(f"w{number}", weight), np.full(4, factor), 0)
        head = made.node("Conv", [data, weights], f"c{number}")
        head = made.node("Relu", [head], f"r{number}") if relu else head
        codes = made.pair(head, factor)
        made.node("Mul", [codes, made.constant("one", np.array(1, np.float32))], f"y{number}")
    return made.model("y0", "y1")


@pytest.mark.parametrize("relu", [True, False])
def test_names_that_the_graph_has_already(relu: bool) -> None:
    model = heads((0.8, 0.3), relu=relu)
    infer_shapes(model)
    last = "r1" if relu else "c1"
    first, second, *_ = model.graph
    first.name = f"/{last}_clipped"
    first.outputs[0].name = f"/{last}_clipped_1.upper"
    second.outputs[0].name = f"{last}_unclipped"
    x = np.random.default_rng(0).normal(scale=8, size=SHAPE).astype(np.float32)
    expected = run(model, x)
    assert part_siblings(model).parted == ("/c1",)
    nodes = list(model.graph)
    tensors = [value.name for node in nodes for value in node.outputs]
    tensors += model.graph.initializers
    assert len({node.name for node in nodes}) == len(nodes)
    assert len(set(tensors)) == len(tensors)
    (clip,) = (node for node in nodes if node.op_type == "Clip")
    assert (clip.name, clip.outputs[0].name) == (f"/{last}_clipped_2", last)
    for before, after in zip(expected, run(model, x), strict=True):
        np.testing.assert_array_equal(before, after)


def test_no_bound_beyond_float32() -> None:
    model = heads((0.1, 3e36))
    assert parted(model) == ()
    assert operators(model)["Clip"] == 0


class TestWhatIsNoSibling:
    def test_another_kernel(self) -> None:
        made = Graph(SHAPE)
        data = made.pair("x", 0.1)
        for number, kernel in enumerate((1, 3)):
            made.conv(made.pair(made.conv(data, f"c{number}", kernel=kernel), 0.1), f"y{number}")
        assert parted(made.model("y0", "y1")) == ()

    def test_another_stride(self) -> None:
        made = Graph(SHAPE)
        data = made.pair("x", 0.1)
        for number, stride in enumerate((1, 2)):
            head = made.conv(data, f"c{number}", kernel=3, strides=[stride, stride])
            made.conv(made.pair(head, 0.1), f"y{number}")
        assert parted(made.model("y0", "y1")) == ()

    def test_another_activation(self) -> None:
        made = Graph(SHAPE)
        data = made.pair("x", 0.1)
        plain = made.conv(data, "c0", kernel=3)
        made.conv(made.pair(plain, 0.1), "y0")
        active = made.node("Relu", [made.conv(data, "c1", kernel=3)], "r1")
        made.conv(made.pair(active, 0.1), "y1")
        assert parted(made.model("y0", "y1")) == ()

    def test_other_codes_of_the_same_tensor(self) -> None:
        made = Graph(SHAPE)
        for number, scale in enumerate((0.1, 0.2)):
            head = made.conv(made.pair("x", scale, name=f"x{number}"), f"c{number}", kernel=3)
            made.conv(made.pair(head, 0.1), f"y{number}")
        assert parted(made.model("y0", "y1")) == ()

    def test_a_float_reader_beside_the_quantizer(self) -> None:
        made = Graph(SHAPE)
        data = made.pair("x", 0.1)
        for number in range(2):
            head = made.conv(data, f"c{number}", kernel=3)
            made.conv(made.pair(head, 0.1), f"y{number}")
            made.node("Sigmoid", [head], f"z{number}")
        assert parted(made.model("y0", "y1", "z0", "z1")) == ()

    def test_an_output_of_the_graph(self) -> None:
        made = Graph(SHAPE)
        data = made.pair("x", 0.1)
        for number in range(2):
            made.conv(made.pair(made.conv(data, f"c{number}", kernel=3), 0.1), f"y{number}")
        assert parted(made.model("y0", "y1", "c0")) == ()


def test_pairs_of_their_own_and_a_pooling_are_looked_through() -> None:
    made = Graph(SHAPE)
    for number in range(2):
        data = made.pair("x", 0.1, name=f"x{number}")
        head = made.node("Relu", [made.conv(data, f"c{number}", kernel=3)], f"r{number}")
        head = made.node("MaxPool", [head], f"p{number}", kernel_shape=[2, 2])
        made.conv(made.pair(head, 0.02), f"y{number}")
    model = made.model("y0", "y1")
    x = np.random.default_rng(1).normal(scale=9, size=SHAPE).astype(np.float32)
    expected = run(model, x)
    assert parted(model) == ("/c1",)
    for before, after in zip(expected, run(model, x), strict=True):
        np.testing.assert_array_equal(before, after)
