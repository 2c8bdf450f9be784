"""Cases of the rules on operators, opsets and types that TensorRT does not read."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.support.graphs import Graph
from tests.support.lint_parameters import SQUARE, activation, both
from tests.support.linting import Case, graph
from trtqat.graph.passes.quantize_weights import quantize_weights
from trtqat.graph.passes.write_kernel_shapes import write_kernel_shapes


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


def grouped(groups: int, made: int, *, opset: int = 17, quantized: bool = True) -> ir.Model:
    """A convolution of four channels in groups, and one behind it.

    Args:
        groups: How many.
        made: Output channels of each.
        opset: Of the graph.
        quantized: Whether the one behind has a pair on its data, so that the output is INT8.
    """
    made_graph = graph()
    data = made_graph.pair("x", 0.1)
    shape = (groups * made, 4 // groups)
    output = made_graph.conv(data, "c", shape, kernel=3, group=groups)
    output = made_graph.pair(output, 0.2) if quantized else output
    made_graph.conv(output, "y", (4, shape[0]), quantized=quantized)
    model = made_graph.model("y", opset=opset)
    write_kernel_shapes(model)
    return model


def two_heads(
    *, kernels: tuple[int, int] = (3, 3), opset: int = 17, floats: int = 0, stored: bool = True
) -> ir.Model:
    """Two quantized convolutions with Relu of one pair, and a layer behind each.

    Args:
        kernels: Of the two.
        opset: Of the graph.
        floats: So many of the layers behind have no pair on their data.
        stored: Whether weights are INT8 initializers.
    """
    made = graph()
    data = made.pair("x", 0.1)
    for number, kernel in enumerate(kernels):
        head = made.conv(data, f"c{number}", kernel=kernel)
        head = made.node("Relu", [head], f"r{number}")
        is_float = number < floats
        head = head if is_float else made.pair(head, 0.1 + 0.1 * number)
        made.conv(head, f"y{number}", quantized=not is_float)
    model = made.model("y0", "y1", opset=opset)
    # Without it TensorRT 8.6 reads no convolution whose weight is dequantized.
    write_kernel_shapes(model)
    if stored:
        quantize_weights(model)
    return model


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


def ending_in(product: str, *, of_bytes: bool = True, opset: int = 17) -> ir.Model:
    """An image, a convolution, its mean, and a linear layer; or the mean alone."""
    made = graph()
    floats = made.node("Cast", ["x"], "floats", to=TensorProto.FLOAT)
    head = made.conv(made.pair(floats, 0.1), "conv")
    if product == "ReduceMean":
        made.node(product, [head], "y", axes=[2, 3])
    else:
        flat = made.node("Flatten", [made.node("GlobalAveragePool", [head], "pooled")], "flat")
        weight = made.pair(made.constant("w", np.ones((4, 4), np.float32)), np.full(4, 0.1), 1)
        made.node(product, [made.pair(flat, 0.1), weight], "y")
    model = made.model_of_bytes if of_bytes else made.model
    return model("y", opset=opset)


def moved_bytes(*, cast_first: bool) -> ir.Model:
    """A layer that reads images in NHWC as bytes."""
    made = Graph((2, 6, 6, 4))
    image = made.node("Cast", ["x"], "floats", to=TensorProto.FLOAT) if cast_first else "x"
    image = made.node("Transpose", [image], "moved", perm=[0, 3, 1, 2])
    if not cast_first:
        image = made.node("Cast", [image], "floats", to=TensorProto.FLOAT)
    made.conv(made.pair(image, 0.1), "y")
    return made.model_of_bytes("y")


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


def moved_codes(operator: str) -> ir.Model:
    """Constant codes of a weight that a Reshape or Transpose brings into its shape."""
    made = Graph((2, 4))
    made.constants["codes"] = np.full((16,) if operator == "Reshape" else (4, 4), 7, np.int8)
    made.constant("s", np.array(0.1, np.float32))
    if operator == "Reshape":
        moved = made.node(operator, ["codes", made.constant("shape", np.array([4, 4]))], "moved")
    else:
        moved = made.node(operator, ["codes"], "moved", perm=[1, 0])
    weight = made.node("DequantizeLinear", [moved, "s", made.constant("z", np.int8(0))], "w")
    made.node("Gemm", [made.pair("x", 0.1), weight], "y")
    return made.model("y")


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
        "bytes-not-cast-first",
        "/moved",
        lambda: moved_bytes(cast_first=False),
        lambda: moved_bytes(cast_first=True),
        "(Transpose) moves the bytes of input 'x'",
    ),
    Case(
        "linear-behind-bytes",
        "/y",
        lambda: ending_in("Gemm"),
        lambda: ending_in("Gemm", of_bytes=False),
        "'/y' (Gemm) is in a network that casts the bytes of input 'x'",
    ),
    Case(
        "linear-behind-bytes",
        "/y",
        lambda: ending_in("ReduceMean"),
        lambda: ending_in("ReduceMean", of_bytes=False),
    ),
    Case(
        "linear-behind-bytes",
        "/y",
        lambda: ending_in("Gemm"),
        lambda: ending_in("MatMul"),
        for_="8.6",
    ),
    Case(
        "linear-behind-bytes", "/y", lambda: ending_in("Gemm"), lambda: ending_in("Gemm", opset=19)
    ),
    Case(
        "quantized-conv-transpose",
        "/y",
        lambda: transposed_convolution(quantized=True),
        lambda: transposed_convolution(quantized=False),
    ),
    Case(
        "int8-weights-of-siblings",
        "/c0",
        two_heads,
        lambda: two_heads(kernels=(3, 1)),
        "'/c1' reads the same codes",
    ),
    Case("int8-weights-of-siblings", "/c0", two_heads, lambda: two_heads(opset=19)),
    Case("int8-weights-of-siblings", "/c0", two_heads, lambda: two_heads(floats=1)),
    Case("int8-weights-of-siblings", "/c0", two_heads, lambda: two_heads(stored=False)),
    Case(
        "groups-of-few-channels",
        "/c",
        lambda: grouped(4, 2),
        lambda: grouped(4, 1),
        "4 groups, each of which makes 2 channels of 1",
    ),
    Case("groups-of-few-channels", "/c", lambda: grouped(2, 4), lambda: grouped(1, 8)),
    Case("groups-of-few-channels", "/c", lambda: grouped(4, 3), lambda: grouped(2, 2)),
    Case("groups-of-few-channels", "/c", lambda: grouped(4, 2), lambda: grouped(4, 2, opset=19)),
    Case(
        "groups-of-few-channels",
        "/c",
        lambda: grouped(4, 2),
        lambda: grouped(4, 2, quantized=False),
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
    Case("node-inside-pair", "/w", lambda: moved_codes("Reshape"), both, "'/moved' (Reshape)"),
    Case("node-inside-pair", "/w", lambda: moved_codes("Transpose"), both, "(Transpose)"),
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
]
