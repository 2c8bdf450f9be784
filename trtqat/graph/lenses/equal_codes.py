"""Codes of another type that mean what TensorRT reads: which INT8 codes, or floats, equal them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import commutes, is_move
from trtqat.graph.lenses.pairs import (
    CODE_TYPES,
    DEQUANTIZE,
    QUANTIZE,
    along_axis,
    consumers_of,
    parameters_of,
    values_of,
    weight_codes,
)
from trtqat.tensors import Array

_MIDDLE = 128


@dataclass(frozen=True)
class MiddleCodes:
    """UINT8 codes of a computed tensor, which INT8 ones with zero-point 0 can take the place of.

    Attributes:
        values: The codes, moved ones among them.
        halves: The DequantizeLinear nodes that read them.
    """

    values: tuple[ir.Value, ...]
    halves: tuple[ir.Node, ...]


def middle_codes(quantize: ir.Node) -> MiddleCodes | None:
    """What a QuantizeLinear makes, if its zero-point is 128, and all that reads its codes has it.

    Args:
        quantize: A QuantizeLinear.

    Returns:
        None where something else reads the codes than what moves or dequantizes them, or where they
        are the graph's output.
    """
    source = quantize.inputs[0]
    if not _is_middle(quantize) or source is None or constant_array(source) is not None:
        return None
    values = [quantize.outputs[0]]
    halves: list[ir.Node] = []
    for value in values:
        if value.is_graph_output():
            return None
        for node in consumers_of(value):
            if node.graph is not quantize.graph or node.inputs[0] is not value:
                return None
            if node.op_type == DEQUANTIZE and _is_middle(node):
                halves.append(node)
            elif _moves_codes(node):
                values.append(node.outputs[0])
            else:
                return None
    return MiddleCodes(tuple(values), tuple(halves))


def _moves_codes(node: ir.Node) -> bool:
    return is_move(node) or (commutes(node) and len(node.outputs) == 1)


def _is_middle(node: ir.Node) -> bool:
    zero_point = parameters_of(node).zero_point
    return (
        zero_point is not None
        and zero_point.dtype == np.uint8
        and zero_point.size > 0
        and bool((zero_point == _MIDDLE).all())
    )


def signed_codes(node: ir.Node) -> Array | None:
    """The INT8 codes with zero-point 0 that mean the same as the constant codes of another type.

    Args:
        node: A DequantizeLinear.

    Returns:
        None if there are none, or the codes are INT8 with zero-point 0 already.
    """
    parameters = parameters_of(node)
    if parameters.is_int8 or parameters.dtype not in CODE_TYPES:
        return None
    codes = weight_codes(node)
    zero_point = parameters.zero_point
    if codes is None or codes.dtype != parameters.dtype or not parameters.fits(codes):
        return None
    assert parameters.scale is not None
    if zero_point is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        return None  # computed
    zeros = np.zeros((), codes.dtype) if zero_point is None else zero_point
    if zeros.size not in (1, parameters.scale.size):
        return None
    offset = along_axis(zeros.astype(np.int32), parameters.axis, codes.ndim)
    signed = codes.astype(np.int32) - offset
    if signed.size and not -_MIDDLE <= signed.min() <= signed.max() < _MIDDLE:
        return None
    result: Array = signed.astype(np.int8)
    return result


def values_of_int32(node: ir.Node) -> Array | None:
    """What DequantizeLinear makes of INT32 constants with zero-point 0, as biases are stored.

    Args:
        node: A DequantizeLinear.

    Returns:
        Float32 of the codes' shape; None of others, or where the node is the graph's output.
    """
    source = node.inputs[0]
    codes = None if source is None else constant_array(source)
    if codes is None or codes.dtype != np.int32 or node.outputs[0].is_graph_output():
        return None
    parameters = parameters_of(node)
    scale, zero_point = parameters.scale, parameters.zero_point
    if scale is None or not parameters.fits(codes):
        return None
    if zero_point is not None and zero_point.any():
        return None
    values: Array = codes.astype(np.float32) * along_axis(scale, parameters.axis, codes.ndim)
    return values


def value_of_number(node: ir.Node) -> Array | None:
    """What DequantizeLinear makes of a constant without a dimension, as a graph's single numbers.

    Args:
        node: A DequantizeLinear.

    Returns:
        Float32 without a dimension; None of others, or where the node is the graph's output.
    """
    codes = weight_codes(node)
    if codes is None or codes.ndim or codes.dtype not in CODE_TYPES:
        return None
    parameters = parameters_of(node)
    if parameters.scale is None or not parameters.fits(codes):
        return None
    if node.outputs[0].is_graph_output():
        return None
    # A zero-point in a list would make it one.
    return values_of(codes, parameters).reshape(())


def is_rewritten(node: ir.Node) -> bool:
    """Whether ``trtqat export`` writes a pair of other codes as TensorRT reads it.

    Args:
        node: A DequantizeLinear of constants, or either half of a pair.
    """
    # QuantizeLinear of a constant is computed, where every half that reads its codes has an equal.
    readers = [node] if node.op_type == DEQUANTIZE else consumers_of(node.outputs[0])
    halves = [each for each in readers if each.op_type == DEQUANTIZE]
    ways = (signed_codes, values_of_int32, value_of_number)
    if halves and all(any(way(half) is not None for way in ways) for half in halves):
        return True
    maker: ir.Node | None = node
    while maker is not None and maker.op_type != QUANTIZE:
        is_on_way = maker is node or _moves_codes(maker)
        before = maker.inputs[0] if is_on_way else None
        maker = None if before is None else before.producer()
    return maker is not None and middle_codes(maker) is not None
