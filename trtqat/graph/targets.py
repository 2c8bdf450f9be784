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
    """Whether 8.6.0 may fail on a node that reads an INT8 initializer through DequantizeLinear.

    What goes to TensorRT's Myelin compiler stops at "Assertion params.weights.type() !=
    DataType::kINT8" (convertMyelinWeightsToFp32): every MatMul, and the Gemm of a network
    with MatMuls, such as the head of a transformer. Conv, and Gemm in a convolutional network,
    take INT8 initializers.
    """
    if consumer.op_type == "Gemm" and consumer.graph is not None:
        return any(node.op_type == "MatMul" for node in consumer.graph)
    return consumer.op_type == "MatMul"
