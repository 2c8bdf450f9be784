"""Pass: what moves a constant before QuantizeLinear or DequantizeLinear is done once and for all.

    DequantizeLinear(Transpose(codes), scale)  =  DequantizeLinear(codes transposed, scale)

Only the constant is moved here: the scales are those of what comes out already.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import forms_of, is_move
from trtqat.graph.lenses.pairs import PAIR, consumers_of
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array

_CODES_SUFFIX = ".codes"


def fold_constant_moves(model: ir.Model) -> Changed:
    """Moves the constants that QuantizeLinear and DequantizeLinear read, in place.

    Counts the nodes that read another constant now.
    """
    graph = model.graph
    count = 0
    for value in _moved_constants(graph):
        array = constant_array(value)
        if array is None:
            continue
        for form in forms_of(value, (array,), graph):
            readers = [
                node
                for node in consumers_of(form.value)
                if node.op_type in PAIR and node.graph is graph and node.inputs[0] is form.value
            ]
            if not readers or form.value is value:
                continue
            made = add_array(graph, moved_name(value), form.arrays[0])
            for node in readers:
                node.replace_input_with(0, made)
            count += len(readers)
    if count:
        remove_unused(graph)
    return Changed(count)


def _moved_constants(graph: ir.Graph) -> list[ir.Value]:
    """Initializers that are moved before a half of a pair reads them."""
    found: dict[ir.Value, None] = {}
    seen: set[ir.Node] = set()
    for node in graph:
        value = node.inputs[0] if node.op_type in PAIR else None
        while value is not None:
            mover = value.producer()
            if mover is None or mover in seen or not is_move(mover):
                break
            seen.add(mover)
            value = mover.inputs[0]
            if value is not None and value.is_initializer():
                found[value] = None
    return list(found)


def moved_name(source: ir.Value) -> str:
    """The name of a constant that was moved; codes are known by the end of theirs."""
    name = str(source.name)
    stem = name.removesuffix(_CODES_SUFFIX)
    return f"{stem}.moved{_CODES_SUFFIX}" if name != stem else f"{stem}.moved"


def add_array(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """An initializer of a moved array."""
    # Not ascontiguousarray, which makes a scale of shape () one of shape (1,).
    return add_initializer(graph, name, np.asarray(array, order="C"))
