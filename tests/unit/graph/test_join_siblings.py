"""A Clip that parts siblings goes where floats are read behind it."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.graphs import Graph, nodes_of, operators, run
from trtqat.graph.lenses.siblings import parts_siblings
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.join_siblings import join_siblings
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.part_siblings import part_siblings
from trtqat.graph.passes.remove_quantization import remove_quantization

SHAPE = (2, 4, 6, 6)
X = np.random.default_rng(0).normal(scale=8, size=SHAPE).astype(np.float32)


def heads(*, relu: bool) -> ir.Model:
    """Three equal convolutions, and behind the pair of each another one."""
    made = Graph(SHAPE)
    data = made.pair("x", 0.1)
    for number in range(3):
        head = made.conv(data, f"c{number}", kernel=3)
        head = made.node("Relu", [head], f"r{number}") if relu else head
        made.conv(made.pair(head, 0.1), f"y{number}")
    model = made.model("y0", "y1", "y2")
    infer_shapes(model)
    return model


def parted(*, relu: bool) -> ir.Model:
    model = heads(relu=relu)
    assert len(part_siblings(model).parted) == 2
    return model


@pytest.mark.parametrize("relu", [True, False])
def test_the_float_graph_is_that_of_the_model(relu: bool) -> None:
    model, plain, with_pairs = parted(relu=relu), heads(relu=relu), heads(relu=relu)
    saturated = run(model, X)
    for each in (model, plain):
        remove_quantization(each)
    assert nodes_of(model) == nodes_of(plain)
    assert {node.name for node in model.graph} == {node.name for node in plain.graph}
    for found, expected in zip(run(model, X), run(plain, X), strict=True):
        np.testing.assert_array_equal(found, expected)
    # As with pairs many floats are beyond the last code.
    assert np.abs(saturated[1] - run(plain, X)[1]).max() > 1
    np.testing.assert_array_equal(saturated[1], run(with_pairs, X)[1])


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(
    ("floats", "clips"), [(("/y1",), 1), (("/y0",), 2), (("/c1",), 2), (("/y1", "/y2"), 0)]
)
def test_where_some_layers_are_float(relu: bool, floats: tuple[str, ...], clips: int) -> None:
    model, plain = parted(relu=relu), heads(relu=relu)
    for each in (model, plain):
        keep_float(each, floats)
    assert operators(model).count("Clip") == clips
    for found, expected in zip(run(model, X), run(plain, X), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("relu", [True, False])
def test_nothing_goes_where_quantizers_read(relu: bool) -> None:
    model = parted(relu=relu)
    assert join_siblings(model).count == 0
    # Also in the file, where names alone tell.
    again = ir.from_proto(ir.to_proto(model))
    assert sum(parts_siblings(node) for node in again.graph) == 2


def test_a_clip_of_the_model_stays() -> None:
    made = Graph(SHAPE)
    bounds = [made.constant(f"b{each}", np.array(each, np.float32)) for each in (0, 6)]
    made.pair(made.node("Clip", ["x", *bounds], "r_clipped"), 6 / 127)
    made.node("Neg", ["r_clipped.dq"], "y")
    model = made.model("y")
    remove_quantization(model)
    assert operators(model) == ["Clip", "Neg"]
