"""Pass: layers that compute on constants alone are done once and for all, with what follows.

Swin V2 makes the bias of its attention by a small network of a table of positions. To a builder
that is a constant. Counted by its nodes it is arithmetic in floating point, and a sum with it one
of two activations. What only moves constants stays: a builder does that by itself.

1. From a layer on, or from what is computed in double, a type that TensorRT has not, the last
   tensors that depend on no input become initializers.
2. What is larger than all constants that it is made of stays, where it is more than a few
   kilobytes; what it reads becomes one.
3. Nothing is done across a pair: that is the quantizer of a layer, which a user asked for. Only
   where the layer's weight is also that of one that reads data, as a projection of words runs on
   a table of positions as well, the user asked for the other run.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.arithmetic import is_layer
from trtqat.graph.lenses.basics import nodes_inside
from trtqat.graph.lenses.mac_formulas import is_counted
from trtqat.graph.lenses.moves import ONNX_DOMAINS, is_move
from trtqat.graph.lenses.pairs import PAIR
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.evaluate_weight import evaluate_constants
from trtqat.graph.passes.protocol import Changed

_MAX_GROWN_BYTES = 2**14
_NUMPY_TYPES = frozenset(
    [ir.DataType.BOOL, ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE]
    + [ir.DataType[f"{sign}INT{bits}"] for sign in ("", "U") for bits in (8, 16, 32, 64)]
)
# What makes other numbers each time.
_RANDOM = ("Bernoulli", "Dropout", "Multinomial", "Random")


@dataclass(frozen=True)
class _Origin:
    """What a constant tensor is made of.

    Attributes:
        of_layer: Whether a layer is among it, or what was computed in double.
        most_bytes: Size of the largest constant.
        in_pair: Whether a pair made it, or a move of that: of it a layer alone may be computed.
    """

    of_layer: bool
    most_bytes: int
    in_pair: bool = False


def fold_constant_layers(model: ir.Model) -> Changed:
    """Computes them, in place; counts the tensors that became initializers."""
    graph = model.graph
    made = {
        value: origin
        for value, origin in _origins(graph).items()
        if origin.of_layer and not origin.in_pair and (value.uses() or value.is_graph_output())
    }
    if not made:
        return Changed(0)
    arrays = evaluate_constants(graph, list(made))
    staying: set[ir.Node] = set()
    count = 0
    for value, origin in reversed(made.items()):
        node = value.producer()
        assert node is not None
        readers = {use.node for use in value.uses()}
        array = arrays[value]
        if value.is_graph_output():
            staying.add(node)
        elif all(each.outputs[0] in made and each not in staying for each in readers):
            continue
        elif array.nbytes > max(origin.most_bytes, _MAX_GROWN_BYTES):
            staying.add(node)
        else:
            # By the tensor's own name, which nothing else has once its node is gone.
            name = str(value.name)
            value.name = f"{name}.folded"
            value.replace_all_uses_with(add_initializer(graph, name, array))
            count += 1
    remove_unused(graph)
    return Changed(count)


def _origins(graph: ir.Graph) -> dict[ir.Value, _Origin]:
    """What each tensor is made of that depends on no input, and on no pair."""
    found: dict[ir.Value, _Origin] = {}
    weights = Weights()
    for node in graph:
        given = [_origin(value, found) for value in node.inputs if value is not None]
        known = [each for each in given if each is not None]
        if not known or len(known) < len(given) or not _is_computable(node):
            continue
        in_pair = node.op_type in PAIR or any(each.in_pair for each in known)
        if in_pair and node.op_type not in PAIR and not is_move(node):
            if not _runs_on_data(node, weights):
                continue
            in_pair = False
        is_folded = is_layer(node) or is_counted(node) or is_in_double(node.outputs[0])
        of_layer = is_folded or any(each.of_layer for each in known)
        origin = _Origin(of_layer, max(each.most_bytes for each in known), in_pair)
        found.update(dict.fromkeys(node.outputs, origin))
    return found


def is_in_double(value: ir.Value) -> bool:
    """Whether a tensor is of 64 bits, as positions are that a model makes of NumPy's numbers."""
    return value.dtype == ir.DataType.DOUBLE


def _runs_on_data(node: ir.Node, weights: Weights) -> bool:
    """Whether another layer reads a layer's weight, and an input of the graph besides."""
    weight = node.inputs[1] if is_layer(node) else None
    readers = () if weight is None else weight.uses()
    return any(
        use.node.op_type == node.op_type
        and use.idx == 1
        and (data := use.node.inputs[0]) is not None
        and data not in weights
        for use in readers
    )


def _origin(value: ir.Value, found: dict[ir.Value, _Origin]) -> _Origin | None:
    # A default that a caller may replace is no constant.
    if value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return found.get(value) if tensor is None else _Origin(False, tensor.nbytes)


def _is_computable(node: ir.Node) -> bool:
    return (
        node.domain in ONNX_DOMAINS
        and onnx.defs.has(node.op_type)  # some plugins of TensorRT stand in that domain
        and not node.op_type.startswith(_RANDOM)
        and not any(nodes_inside(node))
        and all(map(_is_array, node.outputs))
    )


def _is_array(value: ir.Value) -> bool:
    """Whether NumPy may hold it: no sequence, and none of the types that are ONNX's alone."""
    if value.type is None:
        return True
    return isinstance(value.type, ir.TensorType) and value.type.dtype in _NUMPY_TYPES
