"""Writes FP16 into a graph whose nodes are decided: types, constants, Casts at the borders.

1. A tensor has the type of the node that computes it; inputs and outputs of the graph keep
   theirs, and their names.
2. Readers of the other type share one Cast. A Cast of the FP32 graph stays, also where it changes
   nothing any more: TensorRT for RTX builds the same layers with it.
3. Behind a DequantizeLinear there is no Cast but a second DequantizeLinear with a scale of the
   other type: TensorRT sees INT8 only where a layer reads from one directly.
4. A constant that both types read becomes two initializers.
5. One quantizer, one number: where an FP16 node reads a scale, its FP32 readers get the
   rounded value too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer
from trtqat.graph.half.half_types import half_positions, is_float
from trtqat.graph.half.scales import RoundedScale, round_scale, used_channels
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR
from trtqat.tensors import Array

# A node and the number of its input.
_Use: TypeAlias = tuple[ir.Node, int]


@dataclass
class Written:
    """What was written.

    Attributes:
        casts: Number of Casts put in.
        dequantizers: Number of second DequantizeLinear nodes put in.
        scales: Each scale in FP16, by the name of the FP32 one.
    """

    casts: int = 0
    dequantizers: int = 0
    scales: dict[str, RoundedScale] = field(default_factory=dict)


def write_half(model: ir.Model, half: Collection[ir.Node]) -> Written:
    """Makes a graph FP16 where it was decided, in place.

    Args:
        model: Constants lifted to initializers, every float tensor with its dtype.
        half: The nodes of the main graph that compute in FP16.
    """
    graph, written = model.graph, Written()
    wanted = _Wanted(model, half)
    computed = [value for node in graph for value in node.outputs if is_float(value)]
    inputs = [value for value in graph.inputs if is_float(value)]
    initializers = [value for value in graph.initializers.values() if is_float(value)]
    for node in half:
        _retype(node)
    for value in [*inputs, *computed]:
        _write_tensor(graph, value, wanted, written)
    for value in initializers:
        if not value.is_graph_input():
            _write_constant(graph, value, wanted, written)
    return written


class _Wanted:
    """Which uses and results are FP16, asked before the graph changes.

    Attributes:
        outputs: At which places of the graph's outputs a tensor stands.
    """

    def __init__(self, model: ir.Model, half: Collection[ir.Node]) -> None:
        opsets = model.graph.opset_imports
        self._positions = {}
        self.outputs: dict[ir.Value, list[int]] = {}
        for index, value in enumerate(model.graph.outputs):
            self.outputs.setdefault(value, []).append(index)
        for node in half:
            positions = half_positions(node, opsets.get(node.domain, 0))
            assert not isinstance(positions, str)
            self._positions[node] = positions

    def is_half_result(self, value: ir.Value) -> bool:
        producer = value.producer()
        positions = None if producer is None else self._positions.get(producer)
        index = value.index()
        return positions is not None and index is not None and positions.outputs[index]

    def split(self, value: ir.Value) -> tuple[list[_Use], list[_Use]]:
        """The uses that read FP16, and those that read FP32."""
        sides: tuple[list[_Use], list[_Use]] = ([], [])
        for node, index in value.uses():
            positions = self._positions.get(node)
            sides[positions is None or not positions.inputs[index]].append((node, index))
        return sides


def _write_tensor(graph: ir.Graph, value: ir.Value, wanted: _Wanted, written: Written) -> None:
    half, full = wanted.split(value)
    if not wanted.is_half_result(value):
        if half:
            _redirect(half, _converted(graph, value, ir.DataType.FLOAT16, written))
        return
    value.dtype = ir.DataType.FLOAT16
    if value.is_graph_output():
        name = value.name
        value.name = f"{name}_fp16"
        result = _converted(graph, value, ir.DataType.FLOAT, written)
        result.name = name
        for index in wanted.outputs[value]:
            graph.outputs[index] = result
        _redirect(full, result)
    elif full:
        _redirect(full, _converted(graph, value, ir.DataType.FLOAT, written))


def _converted(graph: ir.Graph, value: ir.Value, dtype: ir.DataType, written: Written) -> ir.Value:
    """The value in another type: a second DequantizeLinear, or a Cast."""
    producer = value.producer()
    suffix = "fp16" if dtype == ir.DataType.FLOAT16 else "fp32"
    if producer is not None and producer.op_type == DEQUANTIZE:
        written.dequantizers += 1
        node = ir.Node(
            "",
            DEQUANTIZE,
            producer.inputs,
            producer.attributes.values(),
            name=f"{producer.name}_{suffix}",
        )
        node.version = producer.version
    else:
        written.casts += 1
        attribute = ir.AttrInt64("to", int(dtype))
        name = f"/{str(value.name).lstrip('/')}/Cast_{suffix}"
        node = ir.Node("", "Cast", [value], [attribute], name=name)
    result = node.outputs[0]
    result.name = f"{node.name}_output_0"
    result.dtype, result.shape = dtype, value.shape
    if producer is not None:
        graph.insert_after(producer, node)
    else:
        first = next(iter(graph))
        graph.insert_before(first, node)
    return result


def _redirect(uses: list[_Use], value: ir.Value) -> None:
    for node, index in uses:
        node.replace_input_with(index, value)


def _write_constant(graph: ir.Graph, value: ir.Value, wanted: _Wanted, written: Written) -> None:
    half, full = wanted.split(value)
    # A second DequantizeLinear was made after the decisions, so it counts as FP32 here: right,
    # unless it is the FP16 one.
    doubled = {
        (node, index): None
        for node, index in full
        if node.op_type == DEQUANTIZE
        and index == 1
        and node.outputs[0].dtype == ir.DataType.FLOAT16
    }
    half += doubled
    full = [use for use in full if use not in doubled]
    if not half:
        return
    assert value.const_value is not None
    array = value.const_value.numpy()
    scales = [node for node, index in half if index == 1 and node.op_type in PAIR]
    if scales:
        rounded = round_scale(array, used_by_all(scales))
        written.scales[str(value.name)] = rounded
        converted = rounded.array
    else:
        # Sums of subnormals may be lost here, overflows not: such nodes stay FP32.
        converted = array.astype(np.float16)
    if full or value.is_graph_output():
        if scales:
            value.const_value = ir.tensor(converted.astype(np.float32), name=value.name)
        _redirect(half, add_initializer(graph, f"{value.name}.fp16", converted))
    else:
        value.const_value = ir.tensor(converted, name=value.name)
        value.dtype = ir.DataType.FLOAT16


def used_by_all(nodes: list[ir.Node]) -> Array | None:
    """Channels with a code other than 0 in any of the Q/DQ nodes that share a scale.

    Returns:
        Boolean, the shape of the scale; None if a node's codes are computed.
    """
    used: Array | None = None
    for node in nodes:
        channels = used_channels(node) if node.op_type == DEQUANTIZE else None
        if channels is None:
            return None
        used = channels if used is None else used | channels
    return used


def _retype(node: ir.Node) -> None:
    """Attributes that hold a float type."""
    if node.op_type == "Cast" and node.attributes["to"].as_int() == ir.DataType.FLOAT:
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT16))
    if node.op_type == "ConstantOfShape":
        value = node.attributes.get("value")
        array = np.zeros(1, np.float32) if value is None else value.as_tensor().numpy()
        if array.dtype == np.float32:
            half = ir.tensor(array.astype(np.float16))
            node.attributes["value"] = ir.AttrTensor("value", half)
