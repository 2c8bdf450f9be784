"""Which TensorRT a graph is for, as far as its opset says so.

TensorRT 8.6 reads opsets up to 17. A graph of opset 17 must build there; a newer one says that
only 10 and later are meant. What 8.6.0 alone cannot do was seen on an H200.
"""

from __future__ import annotations

import onnx_ir as ir

NEWEST_OPSET_OF_8_6 = 17


def is_for_8_6(opset: int) -> bool:
    """Whether TensorRT 8.6 reads graphs of that opset."""
    return opset <= NEWEST_OPSET_OF_8_6


def needs_float_weight_on_8_6(consumer: ir.Node) -> bool:
    """Whether 8.6.0 fails on a node that reads an INT8 initializer through DequantizeLinear.

    MatMul goes to TensorRT's Myelin compiler, where 8.6.0 stops at "Assertion
    params.weights.type() != DataType::kINT8" (convertMyelinWeightsToFp32). Conv and Gemm
    take INT8 initializers.
    """
    return consumer.op_type == "MatMul"
