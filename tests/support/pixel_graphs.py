"""Small graphs whose input may take the bytes of images."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import GraphProto, ModelProto, TensorProto, helper

from trtqat.pixels import Pixels
from trtqat.tensors import Array


def quantizing_graph(
    scale: float, channels: int = 3, *, size: int | None = 16, opset: int = 17
) -> ir.Model:
    """``x`` of ``(N, channels, size, size)`` through QuantizeLinear and DequantizeLinear.

    Height and width are open where there is no size.
    """
    image = ["H", "W"] if size is None else [size, size]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, *image])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels, *image])
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
        helper.make_tensor("zero", TensorProto.INT8, [], [0]),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"], name="quantize"),
        helper.make_node("DequantizeLinear", ["codes", "scale", "zero"], ["y"], name="dequantize"),
    ]
    return _model(helper.make_graph(nodes, "g", [x], [y], constants), opset)


def float_graph(channels: int = 3, *, size: int = 16) -> ir.Model:
    """The same input, which is handed on as it is."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", channels, size, size])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels, size, size])
    node = helper.make_node("Identity", ["x"], ["y"], name="identity")
    return _model(helper.make_graph([node], "g", [x], [y]))


def graph_of_branches() -> ir.Model:
    """Both branches of an If hand on ``x``; nothing else reads it."""
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, 16, 16]) for name in "xy"
    )
    branches = {
        f"{which}_branch": helper.make_graph(
            [helper.make_node("Identity", ["x"], [f"{which}_y"], name=f"{which}_identity")],
            which,
            [],
            [helper.make_tensor_value_info(f"{which}_y", TensorProto.FLOAT, ["N", 3, 16, 16])],
        )
        for which in ("then", "else")
    }
    node = helper.make_node("If", ["condition"], ["y"], name="if", **branches)
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    return _model(helper.make_graph([node], "g", [x], [y], [condition]))


def handing_on() -> ir.Model:
    """``x`` is the output itself."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 16, 16])
    return _model(helper.make_graph([], "g", [x], [x]))


def every_byte(pixels: Pixels, channels: int = 3) -> Array:
    """One image in whose channels each byte is once, at another place in each; its layout."""
    generator = np.random.default_rng(0)
    planes = [generator.permutation(256).reshape(16, 16) for _ in range(channels)]
    image = np.stack(planes).astype(np.uint8)[None]
    return image.transpose(0, 2, 3, 1) if pixels.layout == "nhwc" else image


def _model(graph: GraphProto, opset: int = 17) -> ir.Model:
    proto: ModelProto = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8
    )
    return ir.from_proto(proto)
