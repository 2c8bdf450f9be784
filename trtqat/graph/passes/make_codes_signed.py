"""Pass: codes of another type that mean the same as INT8 with zero-point 0 become that.

TensorRT's INT8 has no zero-point, and no UINT8. A number is (code - zero-point) · scale, so:

1. Constant codes of whatever integer type: if every code less its zero-point is within -128
   and 127, those differences are the INT8 codes. A weight that QuantizeLinear makes is computed
   first.
2. UINT8 with zero-point 128 on an activation: QuantizeLinear saturates to 0 and 255, which is
   -128 and 127 from 128. What moves the codes inside the pair moves INT8 ones then. Only where
   every half that reads the codes has that zero-point, and no code leaves the graph.
3. INT8 codes without a zero-point, as opset 21 writes them (``output_dtype``): it is written.

What is left, as UINT8 with another zero-point, has no equal in INT8; lint names it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.equal_codes import middle_codes, signed_codes
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    PAIR,
    QUANTIZE,
    parameters_of,
)


@dataclass(frozen=True)
class SignedCodes:
    """What the pass did.

    Attributes:
        constants: Constants whose codes are INT8 with zero-point 0 now.
        activations: QuantizeLinear nodes on computed tensors that make INT8 now.
        zero_points: Nodes that write their zero-point now.
    """

    constants: int
    activations: int
    zero_points: int

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        notes = []
        if self.activations or self.constants:
            notes.append(
                f"Codes of {self.activations} activations and {self.constants} weights became "
                "INT8 with zero-point 0, which are the same numbers: UINT8 with zero-point 128, or "
                "constants within -128 and 127 of their zero-point."
            )
        if self.zero_points:
            notes.append(f"{self.zero_points} nodes had no zero-point: INT8's, 0, is written.")
        return tuple(notes)


def make_codes_signed(model: ir.Model) -> SignedCodes:
    """Rewrites codes as INT8 with zero-point 0 where that is the same, in place."""
    graph = model.graph
    constants = activations = 0
    for node in list(graph):
        if node.op_type == DEQUANTIZE:
            constants += _sign_constant(graph, node)
        elif node.op_type == QUANTIZE:
            activations += _sign_activation(graph, node)
    zero_points = sum(_write_zero_point(graph, node) for node in list(graph))
    if constants:
        remove_unused(graph)
    return SignedCodes(constants, activations, zero_points)


def _sign_constant(graph: ir.Graph, node: ir.Node) -> bool:
    signed, source = signed_codes(node), node.inputs[0]
    if signed is None or source is None:
        return False
    node.replace_input_with(0, add_initializer(graph, f"{source.name}.signed", signed))
    _set_zero_point(graph, node)
    return True


def _sign_activation(graph: ir.Graph, quantize: ir.Node) -> bool:
    codes = middle_codes(quantize)
    if codes is None:
        return False
    for node in (quantize, *codes.halves):
        _set_zero_point(graph, node)
    for value in codes.values:
        value.type = ir.TensorType(ir.DataType.INT8)
    return True


def _write_zero_point(graph: ir.Graph, node: ir.Node) -> bool:
    """Writes the zero-point that a node of INT8 codes leaves out."""
    if node.op_type not in PAIR:
        return False
    has_zero_point = len(node.inputs) > 2 and node.inputs[2] is not None
    is_int8 = parameters_of(node).is_int8
    if is_int8 and "output_dtype" in node.attributes and node.op_type == QUANTIZE:
        del node.attributes["output_dtype"]
    # The zero-point of a scale that is computed has a shape that nobody knows.
    if has_zero_point or not is_int8 or parameters_of(node).scale is None:
        return False
    _set_zero_point(graph, node)
    return True


def _set_zero_point(graph: ir.Graph, node: ir.Node) -> None:
    scale = node.inputs[1]
    array = None if scale is None else constant_array(scale)
    shape = () if array is None else array.shape
    stem = name_of(node) if scale is None else str(scale.name).removesuffix(".scale")
    value = add_initializer(graph, f"{stem}.zero_point", np.zeros(shape, np.int8))
    node.resize_inputs(3)
    node.replace_input_with(2, value)
