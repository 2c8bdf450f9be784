"""Cases of the rules on scales, zero-points, axes, and on operators that TensorRT does not read."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.support.graphs import Graph
from tests.support.linting import Case, block, graph, layer_with_weight
from trtqat.tensors import Array

SQUARE = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
SPREAD = (SQUARE * np.array([[1], [1], [0.02], [1]])).astype(np.float32)


def activation(scale: Array | float = 0.1, zero_point: Array | None = None) -> ir.Model:
    """One layer whose input has the given pair."""
    made = graph()
    made.conv(made.pair("x", scale, zero_point=zero_point), "y")
    return made.model("y")


def halves(quantize: dict[str, Array], dequantize: dict[str, Array]) -> ir.Model:
    """The pair of a layer's input with the inputs of each half by name; an empty one has none."""
    made = graph()
    names = []
    for half, arrays in enumerate((quantize, dequantize)):
        names.append([made.constant(f"{k}{half}", np.asarray(v)) for k, v in arrays.items()])
    made.node("QuantizeLinear", ["x", *names[0]], "q")
    made.node("DequantizeLinear", ["q", *names[1]], "dq")
    made.conv("dq", "y")
    return made.model("y")


SCALE: dict[str, Array] = {"s": np.array(0.1, np.float32)}
ZERO: dict[str, Array] = {"z": np.array(0, np.int8)}


def both() -> ir.Model:
    return halves({**SCALE, **ZERO}, {**SCALE, **ZERO})


def int8_weight(zero_point: list[str]) -> ir.Model:
    """Codes as they are in the file, through DequantizeLinear with and without a zero-point."""
    made = Graph((2, 4))
    made.constants.update({"codes": np.full((4, 4), 7, np.int8), "s": np.array(0.1, np.float32)})
    made.constant("z", np.array(0, np.int8))
    weight = made.node("DequantizeLinear", ["codes", "s", *zero_point], "w")
    made.node("Gemm", [made.pair("x", 0.1), weight], "y")
    return made.model("y")


def product_with_transpose(axis: int) -> ir.Model:
    """A MatMul with a weight through a Transpose that reverses the axes by default."""
    made = Graph((2, 4))
    weight = made.pair(made.constant("w", SQUARE), np.full(4, 0.1), axis)
    made.node("MatMul", [made.pair("x", 0.1), made.node("Transpose", [weight], "t")], "y")
    return made.model("y")


def computed_scale() -> ir.Model:
    made = graph()
    scale = made.node("ReduceMax", [made.node("Abs", ["x"], "abs")], "scale", keepdims=0)
    made.constant("zero", np.array(0, np.int8))
    made.node("QuantizeLinear", ["x", scale, "zero"], "q")
    made.node("DequantizeLinear", ["q", scale, "zero"], "dq")
    made.conv("dq", "y")
    return made.model("y")


def scale_that_is_a_constant_node() -> ir.Model:
    made = graph()
    made.node("Constant", [], "scale", value_float=0.1)
    made.constant("zero", np.array(0, np.int8))
    made.node("QuantizeLinear", ["x", "scale", "zero"], "q")
    made.node("DequantizeLinear", ["q", "scale", "zero"], "dq")
    made.conv("dq", "y")
    return made.model("y")


def shared_scale(scale: float) -> ir.Model:
    """Two pairs with one scale tensor: one fault, if it is one."""
    made = graph()
    names = [made.constant("s", np.array(scale, np.float32)), made.constant("z", ZERO["z"])]
    value = "x"
    for name in ("a", "y"):
        made.node("QuantizeLinear", [value, *names], f"{name}.q")
        made.node("DequantizeLinear", [f"{name}.q", *names], f"{name}.dq")
        value = block(made, f"{name}.dq", name)
    return made.model("y")


def dead_channel(scale: float) -> ir.Model:
    return layer_with_weight(SQUARE, np.array([0.1, 0.1, scale, 0.1]), 1)


def dynamic_quantization() -> ir.Model:
    made = graph()
    made.node("DynamicQuantizeLinear", ["x"], "q", "s", "z")
    made.node("DequantizeLinear", ["q", "s", "z"], "dq")
    made.node("Relu", ["dq"], "y")
    return made.model("y")


def integer_convolution() -> ir.Model:
    made = graph()
    made.constants.update({"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)})
    made.constant("w", np.ones((4, 4, 1, 1), np.int8))
    made.node("QuantizeLinear", ["x", "s", "z"], "q")
    made.node("QLinearConv", ["q", "s", "z", "w", "s", "z", "s", "z"], "c")
    made.node("DequantizeLinear", ["c", "s", "z"], "y")
    return made.model("y")


def foreign_addition() -> ir.Model:
    made = graph()
    made.constants.update({"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)})
    made.node("QuantizeLinear", ["x", "s", "z"], "q")
    made.node("QLinearAdd", ["q", "s", "z", "q", "s", "z", "s", "z"], "sum", domain="com.microsoft")
    made.node("DequantizeLinear", ["sum", "s", "z"], "y")
    return made.model("y")


def bias(dtype: type | None, *, product: str = "Gemm") -> ir.Model:
    """A bias of that type of codes, or in floating point."""
    made = Graph((2, 4))
    data, weight = made.pair("x", 0.1), made.pair(made.constant("w", SQUARE), np.full(4, 0.1), 1)
    if dtype is None:
        value = made.constant("b", np.ones(4, np.float32))
    elif dtype is np.int8:
        value = made.pair(made.constant("b", np.ones(4, np.float32)), 0.01)
    else:
        made.constants.update({"b": np.ones(4, np.int32), "s": np.full(4, 0.01, np.float32)})
        value = made.node("DequantizeLinear", ["b", "s"], "b.dq", axis=0)
    if product == "Gemm":
        made.node("Gemm", [data, weight, value], "y")
    else:
        made.node("Add", [made.node("MatMul", [data, weight], "m"), value], "y")
    return made.model("y")


def transposed_convolution(*, quantized: bool) -> ir.Model:
    made = graph()
    weight = made.constant("w", np.ones((4, 3, 2, 2), np.float32))
    if quantized:
        weight = made.pair(weight, 0.1)
    made.node("ConvTranspose", [made.pair("x", 0.1) if quantized else "x", weight], "y")
    return made.model("y")


def product(operator: str, opset: int = 17) -> ir.Model:
    """A product with an INT8 initializer for its weight."""
    made = Graph((2, 4))
    codes = made.constant("w", np.arange(16, dtype=np.int8).reshape(4, 4))
    names = [
        made.constant("s", np.full(4, 0.1, np.float32)),
        made.constant("z", np.zeros(4, np.int8)),
    ]
    weight = made.node("DequantizeLinear", [codes, *names], "wd", axis=1)
    made.node(operator, [made.pair("x", 0.1), weight], "y")
    model = made.model("y")
    model.graph.opset_imports[""] = opset
    return model


def behind_bytes(*, int8_weight: bool, opset: int = 17) -> ir.Model:
    """An input of bytes that is cast, quantized and read by a layer."""
    made = graph()
    if int8_weight:
        names = [
            made.constant("w", np.ones((4, 4, 1, 1), np.int8)),
            made.constant("s", np.full(4, 0.1, np.float32)),
            made.constant("z", np.zeros(4, np.int8)),
        ]
        floats = made.node("Cast", ["x"], "floats", to=TensorProto.FLOAT)
        weight = made.node("DequantizeLinear", names, "wd", axis=0)
        made.node("Conv", [made.pair(floats, 0.1), weight], "y")
    else:
        floats = made.node("Cast", ["x"], "floats", to=TensorProto.FLOAT)
        made.conv(made.pair(floats, 0.1), "y")
    proto = made.proto("y", opset=opset)
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return ir.from_proto(proto)


def in_domain(domain: str, count: int) -> ir.Model:
    """The first halves of pairs in that domain."""
    made = graph()
    made.conv(made.pair("x", 0.1), "y")
    for node in made.nodes:
        if node.op_type == "QuantizeLinear" and count:
            node.domain, count = domain, count - 1
    return made.model("y")


def codes_through(operator: str) -> ir.Model:
    """A node between the halves of the pair of a layer's input."""
    made = graph()
    made.conv(made.pair("x", 0.1), "y")
    made.nodes.insert(1, helper.make_node(operator, ["x.q"], ["inside"], name="/inside"))
    made.nodes[2].input[0] = "inside"
    return made.model("y")


def blocks(dtype: type) -> ir.Model:
    """A weight with two scales along each of its output channels."""
    made = Graph((2, 4))
    made.constants.update({"w": np.ones((4, 4), dtype), "s": np.full((2, 4), 0.1, np.float32)})
    made.constant("z", np.zeros((2, 4), dtype))
    weight = made.node("DequantizeLinear", ["w", "s", "z"], "w.dq", axis=0, block_size=2)
    made.node("Gemm", [made.pair("x", 0.1), weight], "y")
    return made.model("y", opset=21)


def codes_of_weight(name: str) -> ir.Model:
    """A product of INT8 and of a weight with codes of that ONNX type."""
    made = Graph((2, 4))
    made.constant("s", np.array(0.1, np.float32))
    weight = made.node("DequantizeLinear", ["codes", "s"], "w")
    made.node("Gemm", [made.pair("x", 0.1), weight], "y")
    proto = made.proto("y", opset=21)
    codes = helper.make_tensor("codes", getattr(TensorProto, name), [4, 4], [1] * 16)
    proto.graph.initializer.append(codes)
    return ir.from_proto(proto)


def half_input(tensor: str) -> ir.Model:
    """A layer whose input has an FP16 scale, and whose weight has FP32 ones."""
    made = graph()
    made.conv(made.pair(tensor, 0.1), "y")
    made.constants[f"{tensor}.scale"] = np.array(0.1, np.float16)
    return made.model("y", opset=19)


CASES = [
    Case("scale-computed", "/q", computed_scale, scale_that_is_a_constant_node),
    Case("scale-not-positive", "x.scale", lambda: activation(0.0), activation, "is 0."),
    Case("scale-not-positive", "x.scale", lambda: activation(-0.1), activation, "-0.1"),
    Case("scale-not-positive", "x.scale", lambda: activation(np.inf), activation, "inf"),
    Case("scale-not-positive", "x.scale", lambda: activation(np.nan), activation, "nan"),
    Case(
        "scale-not-positive",
        "w.scale",
        lambda: dead_channel(0.0),
        lambda: dead_channel(1e-6),
        "in 1 of 4 channels",
    ),
    Case("scale-not-positive", "s", lambda: shared_scale(0.0), lambda: shared_scale(0.1)),
    Case("scale-denormal", "x.scale", lambda: activation(1e-39), lambda: activation(1.2e-38)),
    Case("scale-denormal", "w.scale", lambda: dead_channel(1e-45), lambda: dead_channel(2e-38)),
    Case("scale-denormal", "s", lambda: shared_scale(1e-39), lambda: shared_scale(0.1)),
    Case(
        "zero-point-not-zero",
        "/x.q",
        lambda: activation(zero_point=np.array(-3, np.int8)),
        activation,
        "is -3",
    ),
    Case(
        "codes-not-int8",
        "/x.q",
        lambda: activation(zero_point=np.array(128, np.uint8)),
        activation,
        "are uint8.",
    ),
    Case("codes-not-int8", "/x.q", lambda: activation(zero_point=ZERO["z"].view(np.uint8)), both),
    Case("codes-not-int8", "/q", lambda: halves(SCALE, SCALE), both, "without a zero-point"),
    Case("zero-point-missing", "/w", lambda: int8_weight([]), lambda: int8_weight(["z"]), "8.6"),
    Case("scale-in-list", "/x.q", lambda: activation(np.full(1, 0.1)), activation, "list of one"),
    Case(
        "pair-unequal",
        "/dq",
        lambda: halves({**SCALE, **ZERO}, {"s": np.array(0.2, np.float32), **ZERO}),
        both,
        "other parameters than '/q'",
    ),
    Case(
        "per-channel-activation",
        "/x.q",
        lambda: activation(np.full(4, 0.1)),
        # One scale in a list is one scale.
        lambda: activation(np.full(1, 0.1)),
    ),
    Case(
        "wrong-axis",
        "/w.q",
        lambda: layer_with_weight(SQUARE, np.full(4, 0.1), 0),
        lambda: layer_with_weight(SQUARE, np.full(4, 0.1), 1),
        "the output channels are axis 1",
    ),
    Case(
        "wrong-axis",
        "/w.q",
        lambda: layer_with_weight(SQUARE, np.full(4, 0.1), -1, transB=1),
        lambda: layer_with_weight(SQUARE, np.full(4, 0.1), -2, transB=1),
        "the output channels are axis 0",
    ),
    Case(
        "wrong-axis",
        "/w.q",
        lambda: layer_with_weight(SQUARE, np.full(4, 0.1)),
        lambda: layer_with_weight(SQUARE, 0.1),
        "writes no axis",
    ),
    Case(
        "wrong-axis",
        "/w.q",
        lambda: layer_with_weight(SQUARE, np.full(3, 0.1), 1),
        lambda: layer_with_weight(SQUARE[:, :3], np.full(3, 0.1), 1),
        "3 scales along axis 1",
    ),
    Case(
        "wrong-axis",
        "/w.q",
        lambda: product_with_transpose(1),
        lambda: product_with_transpose(0),
        "the output channels are axis 0",
    ),
    Case(
        "per-tensor-weight",
        "/y",
        lambda: layer_with_weight(SPREAD, np.abs(SPREAD).max() / 127, transB=1),
        # All channels are of one size; and one scale for each of them.
        lambda: layer_with_weight(SQUARE, np.abs(SQUARE).max() / 127, transB=1),
        "1 of 4 use codes up to",
    ),
    Case(
        "per-tensor-weight",
        "/y",
        lambda: layer_with_weight(SPREAD, np.abs(SPREAD).max() / 127, transB=1),
        lambda: layer_with_weight(SPREAD, np.abs(SPREAD).max(1) / 127, 0, transB=1),
    ),
    Case("integer-operator", "/q", dynamic_quantization, activation, "is DynamicQuantizeLinear"),
    Case("integer-operator", "/c", integer_convolution, activation),
    Case("integer-operator", "/sum", foreign_addition, activation),
    Case("bias-dequantized", "/y", lambda: bias(np.int32), lambda: bias(None), "'/b.dq'"),
    Case("bias-dequantized", "/y", lambda: bias(np.int8), lambda: bias(None)),
    Case(
        "bias-dequantized",
        "/m",
        lambda: bias(np.int32, product="MatMul"),
        lambda: bias(None, product="MatMul"),
    ),
    Case(
        "int8-weight-of-matmul",
        "/y",
        lambda: product("MatMul"),
        lambda: product("Gemm"),
    ),
    Case("int8-weight-of-matmul", "/y", lambda: product("MatMul"), lambda: product("MatMul", 19)),
    Case(
        "int8-weight-behind-bytes",
        "x",
        lambda: behind_bytes(int8_weight=True),
        lambda: behind_bytes(int8_weight=False),
        "of layers (1), as of '/y'",
    ),
    Case(
        "int8-weight-behind-bytes",
        "x",
        lambda: behind_bytes(int8_weight=True),
        lambda: behind_bytes(int8_weight=True, opset=19),
    ),
    Case(
        "quantized-conv-transpose",
        "/y",
        lambda: transposed_convolution(quantized=True),
        lambda: transposed_convolution(quantized=False),
    ),
    Case(
        "foreign-quantizer",
        "/x.q",
        lambda: in_domain("com.microsoft", 1),
        lambda: in_domain("", 1),
        "com.microsoft",
    ),
    Case("node-inside-pair", "/x.dq", lambda: codes_through("Clip"), both, "'/inside' (Clip)"),
    Case("node-inside-pair", "/x.dq", lambda: codes_through("Neg"), both, "'/x.dq'"),
    Case(
        "operands-of-two-types",
        "/y",
        lambda: codes_of_weight("INT4"),
        lambda: codes_of_weight("INT8"),
        "int8 and of int4",
    ),
    Case("operands-of-two-types", "/y", lambda: half_input("x"), both, "FLOAT16"),
    Case(
        "opset-not-read", "opset", lambda: codes_of_weight("INT8"), both, "of opset 21", for_="8.6"
    ),
    Case("scale-per-block", "/x.q", lambda: activation(np.full((1, 4, 1, 1), 0.1)), both, "block"),
    Case("scale-per-block", "/w.dq", lambda: blocks(np.int8), both, "each block"),
]
