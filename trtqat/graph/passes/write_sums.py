"""Pass: a Sum of two tensors becomes the Add that it is.

Rules, and TensorRT's kernels of a convolution with its sum, know the one; some converters write
the other. A Sum of one tensor or of more than two stays.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.passes.protocol import Changed


def write_sums(model: ir.Model) -> Changed:
    """Renames the operator of every such Sum, in place; counts them."""
    count = 0
    for node in model.graph:
        if node.op_type == "Sum" and node.domain in ONNX_DOMAINS and len(node.inputs) == 2:
            node.op_type = "Add"
            count += 1
    return Changed(count)
