"""Regions of graphs that nobody would draw: none is lost, and each is switched alone.

A graph is made node by node: layers with pairs of their own or shared ones, sums, moves that
several nodes read, weights behind a Transpose, several inputs and outputs, outputs in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.graphs import Graph, run
from trtqat.graph.editing import remove_unused
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.remove_quantization import remove_quantization

SIZE = 4
pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass
class Drawn:
    """A graph that grows at random, on tensors of ``(SIZE, SIZE)``."""

    draw: st.DrawFn
    graph: Graph = field(default_factory=lambda: Graph((SIZE, SIZE)))
    tensors: list[str] = field(default_factory=lambda: ["x"])
    dequantized: dict[str, str] = field(default_factory=dict)
    weights: list[str] = field(default_factory=list)

    def new(self) -> str:
        return f"n{len(self.graph.nodes)}"

    def pick(self) -> str:
        """A tensor, most often a late one."""
        back: int = self.draw(st.sampled_from([0, 0, 0, 1, 2, 5]))
        return self.tensors[max(len(self.tensors) - 1 - back, 0)]

    def read(self, tensor: str, is_quantized: bool) -> str:
        """What a node reads of a tensor: itself, or what comes out of a pair that all share."""
        if not is_quantized:
            return tensor
        if tensor not in self.dequantized or self.draw(st.booleans()):
            name = self.new()
            self.dequantized[tensor] = self.graph.pair(tensor, 0.05, name=name)
        return self.dequantized[tensor]

    def weight(self, is_quantized: bool) -> str:
        if self.draw(st.booleans()) and self.weights:
            return self.draw(st.sampled_from(self.weights))
        name = self.new()
        array = np.random.default_rng(len(self.weights)).normal(size=(SIZE, SIZE)) / 2
        made = self.graph.constant(f"{name}.weight", array.astype(np.float32))
        if is_quantized:
            made = self.graph.pair(made, 0.01)
        if self.draw(st.booleans()):
            made = self.graph.node("Transpose", [made], f"{name}.t", perm=[1, 0])
        self.weights.append(made)
        return made

    def grow(self) -> None:
        kind = self.draw(
            st.sampled_from(["layer", "layer", "product", "add", "move", "relu", "shape"])
        )
        is_quantized = self.draw(st.sampled_from([True, True, True, False]))
        data = self.read(self.pick(), is_quantized)
        if kind == "layer":
            made = self.graph.node("MatMul", [data, self.weight(is_quantized)], self.new())
        elif kind == "product":
            other = self.read(self.pick(), is_quantized)
            made = self.graph.node("MatMul", [data, other], self.new())
        elif kind == "add":
            other = self.read(self.pick(), is_quantized)
            made = self.graph.node("Add", [data, other], self.new())
        elif kind == "move":
            made = self.graph.node("Transpose", [data], self.new(), perm=[1, 0])
        elif kind == "activation":
            made = self.graph.node("Tanh", [data], self.new())
        else:
            shape = self.graph.node("Shape", [self.pick()], self.new())
            made = self.graph.node("Reshape", [data, shape], self.new())
        self.tensors.append(made)


@st.composite
def graphs(draw: st.DrawFn) -> ir.Model:
    drawn = Drawn(draw)
    if draw(st.booleans()):
        drawn.graph.inputs["x2"] = (SIZE, SIZE)
        drawn.tensors.append("x2")
    for _ in range(draw(st.integers(1, 12))):
        drawn.grow()
    middle = draw(st.lists(st.sampled_from(drawn.tensors), max_size=2))
    outputs = dict.fromkeys([drawn.tensors[-1], *middle])
    model = drawn.graph.model(*(name for name in outputs if name not in ("x", "x2")))
    remove_unused(model.graph)
    infer_shapes(model)
    return model


def copy(model: ir.Model) -> ir.Model:
    copied: ir.Model = ir.from_proto(ir.to_proto(model))
    return copied


def int8_layers(model: ir.Model) -> set[str]:
    return {layer.name for layer in summarize(model).layers if layer.is_int8}


def values_of(model: ir.Model) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    inputs = {
        str(value.name): random.normal(size=(SIZE, SIZE)).astype(np.float32)
        for value in model.graph.inputs
    }
    return run(model, inputs)


@settings(deadline=None, max_examples=40)
@given(graphs(), st.data())
def test_regions_are_switched_alone(model: ir.Model, data: st.DataObject) -> None:
    regions = regions_of(model)
    computing = [name_of(node) for node in model.graph if node.op_type not in (*PAIR, "Constant")]
    operators = {name_of(node): node.op_type for node in model.graph}
    named = [node for each in regions for node in each.nodes if operators[node] not in PAIR]
    if not regions:
        assert not summarize(model).layers
        return
    assert sorted(named) == sorted(computing)
    everything = int8_layers(model)
    assert {layer for each in regions for layer in each.layers} == everything
    chosen = data.draw(st.sets(st.sampled_from(regions)))
    switched = copy(model)
    keep_float(switched, {node for each in chosen for node in each.nodes})
    kept = {layer for each in chosen for layer in each.layers}
    assert int8_layers(switched) == everything - kept
    values_of(switched)
    for each in regions:
        assert each.is_quantized or not keep_float(copy(model), each.nodes).count, each.name


@settings(deadline=None, max_examples=40)
@given(graphs())
def test_all_regions_in_float_are_the_float_graph(model: ir.Model) -> None:
    regions = regions_of(model)
    if not regions:
        return
    switched, plain = copy(model), copy(model)
    # Those that the search switches are enough.
    keep_float(switched, {node for each in regions if each.is_quantized for node in each.nodes})
    remove_quantization(plain)
    assert DEQUANTIZE not in {node.op_type for node in switched.graph}
    for found, expected in zip(values_of(switched), values_of(plain), strict=True):
        assert np.array_equal(found, expected)


@settings(deadline=None, max_examples=40)
@given(graphs(), st.data())
def test_the_other_pairs_stay_what_they_are(model: ir.Model, data: st.DataObject) -> None:
    """In two steps or in one, the same regions in floating point are the same graph."""
    regions = regions_of(model)
    if len(regions) < 2:
        return
    first = data.draw(st.sets(st.sampled_from(regions)))
    second = data.draw(st.sets(st.sampled_from(regions)))
    together, apart = copy(model), copy(model)
    keep_float(together, {node for each in first | second for node in each.nodes})
    for some in (first, second):
        keep_float(apart, {node for each in some for node in each.nodes})
    assert int8_layers(apart) == int8_layers(together)
    for found, expected in zip(values_of(apart), values_of(together), strict=True):
        assert np.array_equal(found, expected)
