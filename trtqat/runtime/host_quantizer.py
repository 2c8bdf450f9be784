"""Floats to INT8 codes on the host, before they cross the bus.

ONNX Runtime's kernel reads and writes memory once, where NumPy goes through its cache three times
and hands Python's lock on in between (figures: ``scripts/bench/quantize.py``). A host that only
runs engines need not have it. Both give the same codes, but for NaN, which has none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from trtqat.errors import first_line
from trtqat.numerics import quantize
from trtqat.tensors import Array

_LOG = logging.getLogger(__name__)

HostQuantizer = Callable[[Array, Array], None]


def open_quantizer(scale: float, *, numpy_only: bool = False) -> HostQuantizer:
    """A function that writes the codes of floats of any shape into an array of that shape.

    The codes are those of ONNX's QuantizeLinear with a zero-point of 0. Several threads
    may call it at once.

    Args:
        scale: Positive and finite.
        numpy_only: Not with ONNX Runtime, even where it is installed.

    Returns:
        ``f(x, out)``. It raises ValueError where ``out`` has another shape or type, or cannot be
        written in one go.
    """
    kernel = None if numpy_only else _open_kernel(scale)

    def run(x: Array, out: Array) -> None:
        if x.shape != out.shape:
            raise ValueError(f"shapes differ: {x.shape} and {out.shape}")
        if out.dtype != np.int8 or not (out.flags.c_contiguous and out.flags.writeable):
            raise ValueError("codes go to an INT8 array, contiguous and writeable")
        if kernel is None:
            quantize(x, scale, out=out)
            return
        floats = np.ascontiguousarray(x, np.float32)
        binding = kernel.io_binding()
        binding.bind_input("x", "cpu", 0, np.float32, (x.size,), floats.ctypes.data)
        binding.bind_output("codes", "cpu", 0, np.int8, (x.size,), out.ctypes.data)
        kernel.run_with_iobinding(binding)

    return run


def _open_kernel(scale: float) -> Any:  # noqa: ANN401
    """ONNX Runtime's QuantizeLinear, on the thread that calls it; None where there is none."""
    try:
        import onnxruntime
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            [helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["codes"])],
            "quantize",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
            [helper.make_tensor_value_info("codes", TensorProto.INT8, ["N"])],
            [
                helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
                helper.make_tensor("zero_point", TensorProto.INT8, [], [0]),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        # Several queries are in flight, each on a thread of its own.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    # What only makes it faster must not make it fail, whatever is wrong with its installation.
    except Exception as error:
        _LOG.info(
            "NumPy quantizes the inputs, at a third of the speed of ONNX Runtime (%s).",
            first_line(error),
        )
        return None
