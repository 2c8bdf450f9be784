"""Which places of a graph share a quantizer, and so a range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.mac_formulas import shape_of


@dataclass(frozen=True, eq=False)
class Mark:
    """An input of a node that is quantized.

    Attributes:
        node: Reads it.
        index: Which of its inputs it is.
        value: The tensor.
        operand: What to call the input, as ``"weight"``.
        axis: The channel axis of a weight; None for one range.
        is_weight: Whether the tensor depends on initializers alone.
    """

    node: ir.Node
    index: int
    value: ir.Value
    operand: str
    axis: int | None = None
    is_weight: bool = False

    @property
    def place(self) -> str:
        """The place in words, as ``"layer1.0.conv1.Conv.input"``."""
        return f"{name_of(self.node).strip('/').replace('/', '.')}.{self.operand}"


@dataclass(frozen=True)
class PlannedPair:
    """A quantizer, and all of its places.

    Attributes:
        name: That of its first place.
        places: In words, in the order of the graph.
        readers: Name of a node and which of its inputs, for each place.
        tensors: Names of the tensors that are quantized, each once.
        axis: The channel axis of a weight; None for one range.
        dim: Number of dimensions of the first tensor.
        is_weight: Whether it stands on a weight.
    """

    name: str
    places: tuple[str, ...]
    readers: tuple[tuple[str, int], ...]
    tensors: tuple[str, ...]
    axis: int | None
    dim: int
    is_weight: bool


def planned(
    marks: Sequence[Mark], joins: Iterable[ir.Node], moves: Iterable[ir.Node]
) -> tuple[PlannedPair, ...]:
    """The quantizers for marked inputs.

    Args:
        marks: In the order of the graph.
        joins: The graph's Concat nodes: parts and result have one range where all are read.
        moves: Its nodes that only rearrange values.

    Returns:
        In the order of their first places; their names differ.
    """
    groups = _Groups()
    read = {mark.value for mark in marks}
    at_joins = {mark.node for mark in marks}
    for node in joins:
        if node in at_joins:
            made = [node.outputs[0]] if node.outputs[0] in read else []
            groups.join([*(value for value in node.inputs if value is not None), *made])
    computed = {mark.value for mark in marks if not mark.is_weight}
    for node in moves:
        source = node.inputs[0]
        if source is not None and source in computed and node.outputs[0] in read:
            groups.join([source, node.outputs[0]])
    found: dict[tuple[ir.Value, int | None], list[Mark]] = {}
    for mark in marks:
        found.setdefault((groups.of(mark.value), mark.axis), []).append(mark)
    names: dict[str, int] = {}
    return tuple(_pair(each, names) for each in found.values())


def _pair(marks: Sequence[Mark], names: dict[str, int]) -> PlannedPair:
    first = marks[0]
    number = names.get(first.place, 0)
    names[first.place] = number + 1
    return PlannedPair(
        name=f"{first.place}_{number}" if number else first.place,
        places=tuple(mark.place for mark in marks),
        readers=tuple((name_of(mark.node), mark.index) for mark in marks),
        tensors=tuple(dict.fromkeys(str(mark.value.name) for mark in marks)),
        axis=first.axis,
        dim=len(shape_of(first.value)),
        is_weight=first.is_weight,
    )


class _Groups:
    """Tensors that one quantizer is for: a forest of them, each with its representative."""

    def __init__(self) -> None:
        self._parents: dict[ir.Value, ir.Value] = {}

    def of(self, value: ir.Value) -> ir.Value:
        while (parent := self._parents.get(value, value)) is not value:
            self._parents[value] = self._parents.get(parent, parent)
            value = parent
        return value

    def join(self, values: Iterable[ir.Value]) -> None:
        first, *others = map(self.of, values)
        for other in others:
            self._parents[self.of(other)] = self.of(first)
