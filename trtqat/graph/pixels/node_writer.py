"""What writes the nodes between an input's bytes and what reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, written_axes
from trtqat.pixels import prefix_of_nodes
from trtqat.tensors import Array

# The first opset in which Split is told into how many parts.
_SPLIT_COUNTS = 18


class NodeWriter:
    """Writes nodes of one input, one behind the other, each with a name of its own.

    Attributes:
        graph: The graph, which gets the initializers.
        name: Of the input.
        prefix: What the names of nodes and initializers begin with.
        axis: Of the channels, in what is computed now.
        nodes: What was written.
    """

    def __init__(self, graph: ir.Graph, name: str, axis: int) -> None:
        self.graph = graph
        self.axis = axis
        self.nodes: list[ir.Node] = []
        self.name = name
        self.prefix = prefix_of_nodes(name)

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        dtype: ir.DataType,
        outputs: int = 1,
        **attributes: Any,  # noqa: ANN401
    ) -> ir.Value:
        """Writes a node, and returns the first of what it makes."""
        name = f"{self.prefix}{op_type}_{len(self.nodes)}"
        made = ir.node(op_type, list(inputs), attributes=attributes, num_outputs=outputs, name=name)
        for number, each in enumerate(made.outputs):
            each.name = f"{name}_output{f'_{number}' if number else ''}"
            each.type = ir.TensorType(dtype)
        self.nodes.append(made)
        return made.outputs[0]

    def constant(self, what: str, array: Array) -> ir.Value:
        """An initializer."""
        return add_initializer(self.graph, f"{self.prefix}{what}", array)

    def per_channel(self, what: str, numbers: Array) -> ir.Value:
        """A number for each channel, of the rank of the image; one alone where all are equal."""
        if (numbers == numbers[0]).all():
            return self.constant(what, numbers[:1].reshape(()))
        shape = [1, 1, 1, 1]
        shape[self.axis] = len(numbers)
        return self.constant(what, numbers.reshape(shape))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Writes a Cast."""
        return self.node("Cast", [value], dtype, to=dtype)

    def as_floats(self, value: ir.Value) -> ir.Value:
        """Writes a Cast of bytes; floats stay as they are."""
        return value if value.dtype is ir.DataType.FLOAT else self.cast(value, ir.DataType.FLOAT)

    def as_index(self, value: ir.Value) -> ir.Value:
        """Writes what makes INT32 of bytes."""
        # By way of floats: TensorRT 8.6 casts bytes to nothing else.
        return self.cast(self.as_floats(value), ir.DataType.INT32)

    def floats(self, op_type: str, left: ir.Value, right: ir.Value) -> ir.Value:
        """Writes a node of two floats."""
        return self.node(op_type, [left, right], ir.DataType.FLOAT)

    def along(self, op_type: str, value: ir.Value, axis: int) -> ir.Value:
        """Writes a Squeeze or an Unsqueeze of floats."""
        name = f"{self.prefix}axis_{axis}"
        inputs, attributes = written_axes(self.graph, name, [axis])
        return self.node(op_type, [value, *inputs], ir.DataType.FLOAT, **attributes)

    def planes(self, value: ir.Value, channels: int) -> list[ir.Value]:
        """Writes what takes floats apart into images of one channel, each ``(N, 1, H, W)``."""
        if self.axis != 1:
            return [self.along("Unsqueeze", self.pick(value, k), 1) for k in range(channels)]
        if channels == 1:
            return [value]
        counted = self.graph.opset_imports[""] >= _SPLIT_COUNTS
        attributes = {"num_outputs": channels} if counted else {}
        self.node("Split", [value], ir.DataType.FLOAT, channels, axis=self.axis, **attributes)
        return list(self.nodes[-1].outputs)

    def pick(self, value: ir.Value, channel: int) -> ir.Value:
        """Writes a Gather of one channel, whose axis is gone."""
        # One place, not a list of one: so no Squeeze is needed.
        place = self.constant(f"channel_{channel}", np.array(channel, np.int64))
        assert value.dtype is not None
        return self.node("Gather", [value, place], value.dtype, axis=self.axis)
