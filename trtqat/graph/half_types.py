"""Which inputs and outputs of a node may be FP16, asked of the installed onnx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

_HALF = "tensor(float16)"
# Their schemas allow FP16; what they compute does not. Range and CumSum count, and FP16 counts
# to 2048; RoiAlign's boxes and Resize's region are coordinates in pixels.
_COUNTS_OR_COORDINATES = {"CumSum", "CumProd", "MaxRoiPool", "Range", "RoiAlign"}
_FLOAT_INPUTS = {"Resize": {1, 2}}
# An attribute of these names gives the output a type of its own.
_TYPED_BY_ATTRIBUTE = {"dtype", "output_datatype", "output_dtype"}


@dataclass(frozen=True)
class HalfPositions:
    """Which positions of a node may be FP16.

    Attributes:
        inputs: One flag for each input of the node.
        outputs: One flag for each output of the node.
    """

    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]


def half_positions(node: ir.Node, opset: int) -> HalfPositions | str:
    """Asks the operator's schema.

    Args:
        node: Any node of a graph.
        opset: The graph's opset of the operator's domain.

    Returns:
        The positions, or in words why the node cannot be in FP16 at all.
    """
    if any(attribute.type in _GRAPHS for attribute in node.attributes.values()):
        return f"{node.op_type} has a graph of its own, whose tensors are not measured"
    if node.op_type in _COUNTS_OR_COORDINATES:
        return f"{node.op_type} counts or takes coordinates, for which 11 bits are too few"
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return f"the operator {node.domain}::{node.op_type} is not known"
    typed = node.op_type != "QuantizeLinear" and _TYPED_BY_ATTRIBUTE & set(node.attributes)
    if typed or node.op_type in _WINDOWS:
        return f"{node.op_type} gives its output a type of its own"
    variables = {
        constraint.type_param_str
        for constraint in schema.type_constraints
        if _HALF in constraint.allowed_type_strs
    }
    kept = _FLOAT_INPUTS.get(node.op_type, set())
    inputs = _flags([formal.type_str for formal in schema.inputs], variables, len(node.inputs))
    outputs = _flags([formal.type_str for formal in schema.outputs], variables, len(node.outputs))
    return HalfPositions(
        tuple(flag and index not in kept for index, flag in enumerate(inputs)), tuple(outputs)
    )


def is_float(value: ir.Value | None) -> bool:
    """Whether a value is a float32 tensor."""
    return value is not None and value.dtype == ir.DataType.FLOAT


_GRAPHS = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
_WINDOWS = {
    "BlackmanWindow",
    "EyeLike",
    "HammingWindow",
    "HannWindow",
    "MelWeightMatrix",
    "RandomNormal",
    "RandomUniform",
}


def _flags(formals: Sequence[str], variables: set[str], count: int) -> list[bool]:
    """The last formal parameter stands for all that follow it (Concat has only one)."""
    return [formals[min(index, len(formals) - 1)] in {*variables, _HALF} for index in range(count)]
