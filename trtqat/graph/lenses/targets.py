"""Which TensorRT a graph is for, as far as its opset says so.

TensorRT 8.6 reads opsets up to 17. A graph of opset 17 must build there; a newer one says that
only 10 and later are meant. What 8.6.0 alone cannot do was seen on an H200.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # whoever needs the opsets alone need not have it
    import onnx_ir as ir

NEWEST_OPSET_OF_8_6 = 17
# Of 10.15 and of 11.5 (older ones of 10 and 11 read less), as NVIDIA's documentation has them; with
# TensorRT for RTX 1.7 a graph of opset 25 was built.
NEWEST_OPSETS = {"8.6": NEWEST_OPSET_OF_8_6, "10": 24, "11": 25, "rtx": 25}
# The first opset whose QuantizeLinear and DequantizeLinear take FP16.
HALF_OPSET = 19
# The way out where a graph begins or ends with what TensorRT does not take.
CUT = "Cut the graph there: onnx.utils.extract_model"


def is_for_8_6(opset: int) -> bool:
    """Whether TensorRT 8.6 reads graphs of that opset."""
    return opset <= NEWEST_OPSET_OF_8_6


def needs_float_weight_on_8_6(graph: ir.Graph) -> Callable[[ir.Node], bool]:
    """Tells of a node whether 8.6.0 may fail on an INT8 initializer as its weight.

    What goes to TensorRT's Myelin compiler stops at "Assertion params.weights.type() !=
    DataType::kINT8" (convertMyelinWeightsToFp32): every MatMul, and the Gemm of a network
    with MatMuls, such as the head of a transformer. Conv, and Gemm in a convolutional network,
    take INT8 initializers.

    Args:
        graph: The graph of the nodes that will be asked for.
    """
    has_product = any(node.op_type == "MatMul" for node in graph.all_nodes())
    operators = ("Gemm", "MatMul") if has_product else ()
    return lambda consumer: consumer.op_type in operators


def inputs_of_bytes(graph: ir.Graph) -> tuple[str, ...]:
    """The inputs that arrive as bytes and are cast, behind which 8.6.0 stops at INT8 weights.

    Args:
        graph: Written by ``trtqat export --pixels``, or by whoever casts images in the model.
    """
    return tuple(
        str(value.name)
        for value in graph.inputs
        if value.dtype is not None
        and value.dtype.name == "UINT8"
        and any(use.node.op_type == "Cast" for use in value.uses())
    )


def not_taken(graph: ir.Graph) -> str:
    """What no TensorRT takes where a graph begins or ends, as a sentence; empty if it takes all.

    Args:
        graph: Any; an input may be a sequence or an optional one, and strings go in and out.
    """
    for role, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            kind = type(value.type).__name__
            if value.dtype is not None and value.dtype.name == "STRING":
                what = "holds strings"
            elif role == "input" and kind in ("SequenceType", "OptionalType"):
                what = "is no tensor"
            else:
                continue
            return f"The {role} '{value.name}' {what}, which TensorRT does not take."
    return ""
