"""Pass: scales and zero-points stand as TensorRT reads them, which changes none of them.

1. What the graph computes of constants alone, as a Cast from FP16 or a division by 127, becomes an
   initializer: TensorRT for RTX builds INT8 of it, but nobody who looks at the graph sees its
   numbers. What depends on an input stays, and lint names it.
2. A list of one scale on a computed tensor becomes a scalar. TensorRT for RTX 1.7 takes a list for
   a scale for each channel, and runs a convolution behind it in floating point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.pairs import PAIR, QUANTIZE, quantized_tensor
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.evaluate_weight import evaluate_constants


@dataclass(frozen=True)
class WrittenScales:
    """What the pass did.

    Attributes:
        computed: Scales and zero-points that the graph computed of constants.
        lists: Activations whose scale was a list of one.
    """

    computed: int
    lists: int

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        notes = []
        if self.computed:
            notes.append(
                f"Scales and zero-points computed of constants alone: {self.computed}; their "
                "values are written."
            )
        if self.lists:
            notes.append(f"Scales of activations in a list of one made scalars: {self.lists}.")
        return tuple(notes)


def write_scales(model: ir.Model) -> WrittenScales:
    """Writes them, in place.

    Args:
        model: A graph with Q/DQ, constants as initializers (``tidy``).
    """
    graph, weights = model.graph, Weights()
    computed = _compute(graph, weights)
    lists = 0
    scalars: dict[ir.Value, ir.Value] = {}
    for node, tensor in _quantized(graph):
        if tensor is None or tensor in weights or not _is_list_of_one(node.inputs[1]):
            continue
        for index, value in _parameters(node):
            if _is_list_of_one(value) and value not in scalars:
                array = constant_array(value)
                assert array is not None
                scalars[value] = add_initializer(graph, f"{value.name}.scalar", array.reshape(()))
            node.replace_input_with(index, scalars.get(value, value))
        lists += node.op_type == QUANTIZE
    if computed or scalars:
        remove_unused(graph)
    return WrittenScales(computed, lists)


def _compute(graph: ir.Graph, weights: Weights) -> int:
    wanted = dict.fromkeys(
        value
        for node, _ in _quantized(graph)
        for _, value in _parameters(node)
        if constant_array(value) is None and value in weights
    )
    if not wanted:
        return 0
    written = {
        value: add_initializer(graph, f"{value.name}.value", array)
        for value, array in evaluate_constants(graph, list(wanted)).items()
    }
    for node, _ in _quantized(graph):
        # What else reads a scale, or returns it, keeps it.
        for place, value in _parameters(node):
            node.replace_input_with(place, written.get(value, value))
    return len(wanted)


def _quantized(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value | None]]:
    """The nodes of pairs, and what each quantizes."""
    for node in graph:
        if node.op_type in PAIR:
            yield node, node.inputs[0] if node.op_type == QUANTIZE else quantized_tensor(node)


def _parameters(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """Scale and zero-point, each with its place."""
    return [(place, value) for place, value in enumerate(node.inputs) if place and value]


def _is_list_of_one(value: ir.Value | None) -> bool:
    array = None if value is None else constant_array(value)
    return array is not None and array.shape == (1,)
