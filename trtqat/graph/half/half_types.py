"""Which inputs and outputs of a node may be FP16, asked of the installed onnx."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from trtqat.errors import GraphError, first_line
from trtqat.graph.lenses.mac_formulas import operator_of
from trtqat.graph.lenses.pairs import QUANTIZE
from trtqat.graph_file.serialized import proto_for_onnx

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
    types = [value.type for value in (*node.inputs, *node.outputs) if value is not None]
    if any(type_ is not None and not isinstance(type_, ir.TensorType) for type_ in types):
        return f"{node.op_type} has a sequence or an optional, whose tensors are not measured"
    if node.op_type in _COUNTS_OR_COORDINATES:
        return f"{node.op_type} counts or takes coordinates, for which 11 bits are too few"
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError:
        return f"the operator {operator_of(node)} is not known"
    typed = node.op_type != QUANTIZE and _TYPED_BY_ATTRIBUTE & set(node.attributes)
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


def infer_types(model: ir.Model) -> None:
    """Gives the tensors of the main graph that have no type or shape theirs, in place.

    ``onnx_ir``'s own pass would do, but it makes a sequence of tensors a tensor.

    Raises:
        GraphError: The types of the graph contradict each other.
    """
    proto = proto_for_onnx(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise GraphError(
            f"The types of the graph contradict each other: {first_line(error)}.",
            "Check it with onnx.checker; a graph of trtqat's export passes.",
        ) from error
    known: ir.Model = ir.from_proto(inferred)
    values = {value.name: value for node in known.graph for value in node.outputs}
    for node in model.graph:
        for value in node.outputs:
            found = values.get(value.name)
            if found is not None:
                value.type = value.type or found.type
                value.shape = value.shape or found.shape


def is_float(value: ir.Value | None) -> bool:
    """Whether a value is a float32 tensor."""
    return (
        value is not None
        and value.dtype == ir.DataType.FLOAT
        and isinstance(value.type, ir.TensorType)
    )


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
