"""Large graphs in the forms of other tools, and with what multiplies besides layers.

As ``large_graphs``: each family is a function of the number of nodes, within a few per cent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.large_graphs import CHANNELS, FAMILIES, Builder

_MICROSOFT = "com.microsoft"
_PLUGINS = "example.plugins"


class ForeignBuilder(Builder):
    """Pairs with UINT8 and zero-point 128 in ONNX Runtime's domain, with a Clip inside."""

    def foreign_pair(self, value: str, lowest: int) -> str:
        """A pair of an activation, whose codes go no lower than that."""
        stem = f"p{len(self.nodes)}"
        parameters = [
            self.constant(f"{stem}.scale", np.float32(0.05)),
            self.constant(f"{stem}.zero", np.uint8(128)),
        ]
        bounds = [
            self.constant(f"{stem}.lower", np.uint8(lowest)),
            self.constant(f"{stem}.upper", np.uint8(255)),
        ]
        codes = self.node("QuantizeLinear", [value, *parameters], domain=_MICROSOFT)
        clipped = self.node("Clip", [codes, *bounds])
        return self.node("DequantizeLinear", [clipped, *parameters], domain=_MICROSOFT)

    def moved_weight(self) -> str:
        """A weight that stands behind Reshape and Transpose, as a converter writes it."""
        stem = f"w{len(self.nodes)}"
        codes = np.random.default_rng(len(self.nodes)).integers(-9, 9, (1, 1, CHANNELS, CHANNELS))
        parameters = [
            self.constant(f"{stem}.scale", np.full(CHANNELS, 0.01, np.float32)),
            self.constant(f"{stem}.zero", np.zeros(CHANNELS, np.int8)),
        ]
        stored = self.constant(f"{stem}.codes", codes.astype(np.int8))
        weight = self.node("DequantizeLinear", [stored, *parameters], axis=3)
        return self.node("Transpose", [weight], perm=[3, 2, 0, 1])

    def moved_constant(self) -> str:
        """A float weight that is moved before its pair, whose codes go through a Clip."""
        stem = f"w{len(self.nodes)}"
        rng = np.random.default_rng(len(self.nodes))
        values = rng.standard_normal((CHANNELS, CHANNELS)).astype(np.float32)
        shape = self.constant("shape", np.array([CHANNELS, CHANNELS, 1, 1]))
        moved = self.node("Reshape", [self.constant(stem, values), shape])
        scale = self.constant(f"{stem}.scale", np.full(CHANNELS, 0.05, np.float32))
        zero = self.constant(f"{stem}.zero", np.zeros(CHANNELS, np.int8))
        low = self.constant("lower", np.int8(-127))
        codes = self.node("QuantizeLinear", [moved, scale, zero], axis=0)
        return self.node("DequantizeLinear", [self.node("Clip", [codes, low]), scale, zero], axis=0)

    def foreign_model(self, outputs: list[str]) -> onnx.ModelProto:
        """The graph, with the opsets of the other domains, and outputs of any shape."""
        proto = self.model(outputs)
        for each in proto.graph.output:
            each.type.tensor_type.ClearField("shape")
        proto.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
        proto.opset_import.append(helper.make_opsetid(_PLUGINS, 1))
        return proto


def foreign_pairs(count: int) -> onnx.ModelProto:
    """Convolutions and BatchNorms behind pairs as other tools write them."""
    made, value = ForeignBuilder(), "x"
    arrays = [made.constant(name, np.ones(CHANNELS, np.float32)) for name in ("s", "b", "m", "v")]
    while len(made.nodes) < count - 16:
        # Of positive numbers no code is below 128; below 100 none is of others.
        value = made.node("Conv", [made.foreign_pair(value, 100), made.moved_weight()])
        value = made.node("Relu", [made.node("BatchNormalization", [value, *arrays])])
        value = made.node("Conv", [made.foreign_pair(value, 128), made.moved_constant()])
    return made.foreign_model([made.pair(value)])


def moved_weight_of_all(count: int) -> onnx.ModelProto:
    """One weight behind many Transposes that as many layers read, with a BatchNorm each."""
    made, outputs = ForeignBuilder(), []
    arrays = [made.constant(name, np.ones(CHANNELS, np.float32)) for name in ("s", "b", "m", "v")]
    data, weight = made.pair("x"), made.moved_weight()
    for _ in range(2 * (count // 6)):
        weight = made.node("Transpose", [weight])
    while len(made.nodes) < count:
        layer = made.node("Conv", [data, weight])
        outputs.append(made.node("BatchNormalization", [layer, *arrays]))
    return made.foreign_model(outputs)


def clips(count: int) -> onnx.ModelProto:
    """One QuantizeLinear with many Clips in a row, each of which a DequantizeLinear reads."""
    made, outputs = ForeignBuilder(), []
    parameters = [made.constant("s", np.float32(0.05)), made.constant("z", np.uint8(128))]
    value = made.node("QuantizeLinear", ["x", *parameters])
    while len(made.nodes) < count:
        low = made.constant(f"low{len(made.nodes)}", np.uint8(2 * (len(made.nodes) % 9)))
        value = made.node("Clip", [value, low])
        outputs.append(made.node("DequantizeLinear", [value, *parameters]))
    return made.foreign_model(outputs)


def products(count: int) -> onnx.ModelProto:
    """Einsums of open dimensions, and beside them fused products and plugins."""
    made = ForeignBuilder()
    square = made.constant("square", np.ones((16, 16), np.float32))
    rows = made.constant("rows", np.array([-1, CHANNELS, 16]))
    flat = made.node("Reshape", [made.pair("x"), rows])
    small = made.constant("small", np.array([-1, CHANNELS, CHANNELS]))
    outputs, value = [], flat
    while len(made.nodes) < count - 8:
        value = made.node("Einsum", [value, square], equation="bij,jk->bik")
        value = made.node("Einsum", [value, flat], equation="bij,bkj->bik")
        value = made.node("Reshape", [value, small])
        value = made.node("MatMul", [value, flat])
        outputs.append(made.node("FusedMatMul", [value, square], domain=_MICROSOFT))
        outputs.append(made.node("Swish", [value], domain=_PLUGINS))
        value = made.node("Reshape", [value, rows])
    return made.foreign_model([*outputs, made.pair(value)])


def sums(count: int) -> onnx.ModelProto:
    """Sums of one product of two tensors."""
    made = ForeignBuilder()
    value = made.pair("x")
    both = made.node("Mul", [value, made.node("Sigmoid", [value])])
    axes = made.constant("axes", np.array([2, 3]))
    outputs = [made.node("ReduceSum", [both, axes]) for _ in range(count - 4)]
    return made.foreign_model(outputs)


def recurrences(count: int) -> onnx.ModelProto:
    """LSTMs in a row, and a Loop with layers inside behind every one."""
    made = ForeignBuilder()
    weight = made.constant("w", np.ones((1, 64, 16), np.float32))
    hidden = made.constant("r", np.ones((1, 64, 16), np.float32))
    trips = made.constant("trips", np.array(3))
    rows = made.constant("rows", np.array([-1, CHANNELS, 16]))
    one = made.constant("one", np.array([1]))
    value = made.node("Reshape", [made.pair("x"), rows])
    value = made.node("Transpose", [value], perm=[1, 0, 2])
    while len(made.nodes) < 4 * count // 7 - 4:  # four nodes beside three in each Loop
        value = made.node("LSTM", [value, weight, hidden], hidden_size=16)
        value = made.node("Squeeze", [value, one])
        value = made.node("Loop", [trips, "", value], body=_body(f"b{len(made.nodes)}", hidden))
        value = made.node("Relu", [value])
    return made.foreign_model([made.pair(value)])


def _body(stem: str, weight: str) -> onnx.GraphProto:
    """A product and an activation; the weight is one of the graph around it."""
    cond = helper.make_tensor_value_info(f"{stem}.go", TensorProto.BOOL, [])
    state = helper.make_tensor_value_info(f"{stem}.in", TensorProto.FLOAT, [CHANNELS, None, 16])
    index = helper.make_tensor_value_info(f"{stem}.at", TensorProto.INT64, [])
    result = helper.make_tensor_value_info(f"{stem}.out", TensorProto.FLOAT, [CHANNELS, None, 16])
    still = helper.make_tensor_value_info(f"{stem}.still", TensorProto.BOOL, [])
    square = numpy_helper.from_array(np.ones((16, 16), np.float32), f"{stem}.w")
    nodes = [
        helper.make_node("Identity", [f"{stem}.go"], [f"{stem}.still"], f"{stem}/Identity"),
        helper.make_node("MatMul", [f"{stem}.in", f"{stem}.w"], [f"{stem}.p"], f"{stem}/MatMul"),
        helper.make_node("Relu", [f"{stem}.p"], [f"{stem}.out"], f"{stem}/Relu"),
    ]
    return helper.make_graph(nodes, stem, [index, cond, state], [still, result], [square])


FOREIGN_FAMILIES: dict[str, Callable[[int], onnx.ModelProto]] = {
    "chain of foreign pairs": foreign_pairs,
    "layers of one moved weight": moved_weight_of_all,
    "Clips within a pair": clips,
    "products of other operators": products,
    "sums of one product": sums,
    "recurrences and loops": recurrences,
}
ALL_FAMILIES = {**FAMILIES, **FOREIGN_FAMILIES}
