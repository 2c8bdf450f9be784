"""Cases of the rules on scales, zero-points, axes and the codes of pairs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

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


LIMIT = np.array(127, np.float32)
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


def stored(dtype: type[np.integer], zero_point: int) -> ir.Model:
    """A weight whose codes are in the file, 7 more than their zero-point."""
    made = Graph((2, 4))
    made.constants.update({"codes": np.full((4, 4), zero_point + 7, dtype), **SCALE})
    names = ["codes", "s", made.constant("z", np.array(zero_point, dtype))]
    made.node("Gemm", [made.pair("x", 0.1), made.node("DequantizeLinear", names, "w")], "y")
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


def divided_scale() -> ir.Model:
    made = graph()
    limits = [made.constant("amax", np.array(12.7, np.float32)), made.constant("codes", LIMIT)]
    scale = made.node("Div", limits, "scale")
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


def blocks(dtype: type) -> ir.Model:
    """A weight with two scales along each of its output channels."""
    made = Graph((2, 4))
    made.constants.update({"w": np.ones((4, 4), dtype), "s": np.full((2, 4), 0.1, np.float32)})
    made.constant("z", np.zeros((2, 4), dtype))
    weight = made.node("DequantizeLinear", ["w", "s", "z"], "w.dq", axis=0, block_size=2)
    made.node("Gemm", [made.pair("x", 0.1), weight], "y")
    return made.model("y", opset=21)


def divided(shape: tuple[int, ...]) -> ir.Model:
    """A layer whose output is divided by a number, or a list of one, that is kept in codes."""
    made = graph()
    made.constants.update({"codes": np.full(shape, 20, np.int8), **SCALE, **ZERO})
    number = made.node("DequantizeLinear", ["codes", "s", "z"], "number")
    made.node("Div", [made.conv(made.pair("x", 0.1), "c"), number], "y")
    return made.model("y")


CASES = [
    Case("scale-computed", "/q", computed_scale, scale_that_is_a_constant_node, "graph runs"),
    Case("scale-computed", "/q", divided_scale, scale_that_is_a_constant_node, "of constants"),
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
    Case(
        "codes-not-int8", "/w", lambda: stored(np.uint8, 128), lambda: stored(np.int8, 0), "uint8"
    ),
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
    Case("codes-of-number", "/number", lambda: divided(()), lambda: divided((1,)), "single"),
    Case("scale-per-block", "/x.q", lambda: activation(np.full((1, 4, 1, 1), 0.1)), both, "block"),
    Case("scale-per-block", "/w.dq", lambda: blocks(np.int8), both, "each block"),
]
