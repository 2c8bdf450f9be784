"""Graphs of any number of nodes, with Q/DQ in the forms that exporters write.

Each family is a function of the number of nodes, within a few per cent. Channels are few and images
small: what is tested is how the cost grows with the graph, not with its tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trtqat.tensors import Array

CHANNELS = 4
_BATCH_NORM = ("scale", "bias", "mean", "var")


@dataclass
class Builder:
    """A graph with the input ``x``, ``(batch, 4, 4, 4)``.

    Attributes:
        form: How weights are quantized: ``"float"`` through Q and DQ, ``"int8"`` through DQ alone,
            ``"shared"`` with one float weight, scale and zero-point for all.
        is_named: Whether nodes have names.
    """

    form: str = "float"
    is_named: bool = True
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def node(self, op_type: str, inputs: list[str], **attributes: Any) -> str:
        """Adds a node; returns its output."""
        number = len(self.nodes)
        name = f"/{op_type}_{number}" if self.is_named else ""
        output = f"t{number}"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, array: Array) -> str:
        """Adds an initializer."""
        self.constants[name] = array
        return name

    def pair(self, value: str, scale: float = 0.05) -> str:
        """Q and DQ of an activation."""
        shared = self.form == "shared"
        stem = "shared" if shared else f"p{len(self.nodes)}"
        parameters = [
            self.constant(f"{stem}.scale", np.float32(scale)),
            self.constant(f"{stem}.zero", np.int8(0)),
        ]
        return self._pair(value, parameters)

    def conv(self, value: str) -> str:
        """A 1x1 convolution with a quantized weight."""
        stem = "w" if self.form == "shared" else f"w{len(self.nodes)}"
        rng = np.random.default_rng(len(self.nodes))
        shape = (CHANNELS, CHANNELS, 1, 1)
        parameters = [
            self.constant(f"{stem}.scale", np.full(CHANNELS, 0.01, np.float32)),
            self.constant(f"{stem}.zero", np.zeros(CHANNELS, np.int8)),
        ]
        if self.form == "int8":
            codes = rng.integers(-127, 128, shape, np.int8)
            stored = self.constant(f"{stem}.codes", codes)
            weight = self.node("DequantizeLinear", [stored, *parameters], axis=0)
        else:
            values = rng.standard_normal(shape).astype(np.float32)
            weight = self._pair(self.constant(stem, values), parameters, axis=0)
        return self.node("Conv", [value, weight])

    def layer(self, value: str, *, batch_norm: bool = False, relu: bool = True) -> str:
        """Convolution, perhaps BatchNorm and Relu."""
        value = self.conv(value)
        if batch_norm:
            stem = f"bn{len(self.nodes)}"
            arrays = [np.full(CHANNELS, number, np.float32) for number in (1.1, 0.1, 0.2, 0.9)]
            names = [
                self.constant(f"{stem}.{name}", array)
                for name, array in zip(_BATCH_NORM, arrays, strict=True)
            ]
            value = self.node("BatchNormalization", [value, *names])
        return self.node("Relu", [value]) if relu else value

    def model(self, outputs: list[str]) -> onnx.ModelProto:
        """The graph, opset 17."""
        shape: list[str | int | None] = ["batch", CHANNELS, 4, 4]
        graph = helper.make_graph(
            self.nodes,
            "large",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info(each, TensorProto.FLOAT, [None] * 4)
                for each in outputs
            ],
            [numpy_helper.from_array(np.asarray(a), name) for name, a in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _pair(self, value: str, parameters: list[str], **attributes: Any) -> str:
        codes = self.node("QuantizeLinear", [value, *parameters], **attributes)
        return self.node("DequantizeLinear", [codes, *parameters], **attributes)


def chain(count: int, form: str = "float", *, batch_norm: bool = False) -> onnx.ModelProto:
    """Pair, convolution, BatchNorm and Relu in a row."""
    made, value = Builder(form), "x"
    while len(made.nodes) < count - 2:
        value = made.layer(made.pair(value), batch_norm=batch_norm)
    return made.model([made.pair(value)])


def pools(count: int) -> onnx.ModelProto:
    """MaxPools in a row without names, one pair before and one behind."""
    made = Builder("shared", is_named=False)
    value = made.pair("x")
    for _ in range(count - 4):
        value = made.node("MaxPool", [value], kernel_shape=[1, 1])
    return made.model([made.pair(value)])


def pairs(count: int) -> onnx.ModelProto:
    """A convolution, then MaxPools and pairs of one scale in turn."""
    made = Builder()
    value = made.layer(made.pair("x"))
    while len(made.nodes) < count:
        value = made.pair(made.node("MaxPool", [value], kernel_shape=[1, 1]))
    return made.model([value])


def activations(count: int) -> onnx.ModelProto:
    """A convolution with activations in a row, each of which a pair and a pool read.

    Each is an output: onnx_ir copies all inputs of a node for each one that is replaced, so one Sum
    of them all would cost the square of their number.
    """
    made = Builder()
    value, outputs = made.layer(made.pair("x")), list[str]()
    while len(made.nodes) < count:
        value = made.node("Relu", [value])
        outputs.append(made.pair(made.node("MaxPool", [value], kernel_shape=[1, 1])))
    return made.model([value, *outputs])


def fan_out(
    count: int, form: str = "float", *, own: bool = True, join: str = ""
) -> onnx.ModelProto:
    """One tensor that many layers read.

    Args:
        count: Number of nodes.
        form: Of weights.
        own: Whether each reader has its pair, with scales that differ.
        join: The operator that joins the branches; each is an output without one.
    """
    made = Builder(form)
    value = made.layer(made.pair("x"), batch_norm=True)
    quantized = value if own else made.pair(value)
    outputs: list[str] = []
    while len(made.nodes) < count - 1:
        scale = 0.01 * (1 + len(outputs) // 2)
        read = made.pair(value, scale) if own else quantized
        outputs.append(made.layer(read, batch_norm=True, relu=not join))
    if join:
        attributes = {"axis": 1} if join == "Concat" else {}
        outputs = [made.pair(made.node(join, outputs, **attributes))]
    return made.model(outputs)


def shared_output(count: int) -> onnx.ModelProto:
    """BatchNorms that all read the output of one layer."""
    made, outputs = Builder(), []
    value = made.conv(made.pair("x"))
    arrays = [made.constant(name, np.ones(CHANNELS, np.float32)) for name in _BATCH_NORM]
    while len(made.nodes) < count:
        outputs.append(made.pair(made.node("BatchNormalization", [value, *arrays])))
    return made.model(outputs)


def residual(count: int, form: str = "float", *, skip: bool = True) -> onnx.ModelProto:
    """Blocks of two layers whose input is added to their output.

    Args:
        count: Number of nodes.
        form: Of weights.
        skip: Whether a pair stands on the skip connection.
    """
    made = Builder(form)
    value = made.layer(made.pair("x"), batch_norm=True)
    while len(made.nodes) < count:
        quantized = made.pair(value)
        inner = made.layer(quantized, batch_norm=True)
        inner = made.layer(made.pair(inner), batch_norm=True, relu=False)
        total = made.node("Add", [inner, quantized if skip else value])
        # A residual stream that nothing quantizes has no activation either.
        value = made.node("Relu", [total]) if skip else total
    return made.model([made.pair(value)])


def ladder(count: int, form: str = "float", *, layers: bool = True) -> onnx.ModelProto:
    """Two chains, each step of which reads both.

    Args:
        count: Number of nodes.
        form: Of weights.
        layers: Whether the steps are layers; else they are sums of floats.
    """
    made = Builder(form)
    left, right = made.layer(made.pair("x")), made.layer(made.pair("x"))
    while len(made.nodes) < count:
        sides = (made.pair(left), made.pair(right)) if layers else (left, right)
        a = made.node("Add", [sides[0], sides[1]])
        b = made.node("Mul", [sides[0], sides[1]])
        left, right = (made.layer(made.pair(a)), made.layer(made.pair(b))) if layers else (a, b)
    last = made.pair(made.node("Add", [left, right]))
    return made.model([made.layer(last)])


def concats(count: int, *, branches: int = 2) -> onnx.ModelProto:
    """Branches from one tensor, joined and made narrow again, in a row."""
    made, value = Builder(), "x"
    narrow = made.constant("narrow", np.arange(CHANNELS, dtype=np.int64))
    while len(made.nodes) < count:
        read = made.pair(value)
        parts = [made.layer(read) for _ in range(branches)]
        parts += [made.pair(made.node("MaxPool", [read], kernel_shape=[1, 1]))]
        value = made.node("Gather", [made.node("Concat", parts, axis=1), narrow], axis=1)
    return made.model([made.pair(value)])


def reshapes(count: int) -> onnx.ModelProto:
    """Products whose rows are folded into the batch, so that inference loses its name."""
    made, value = Builder(), "x"
    weight = np.random.default_rng(0).integers(-127, 128, (64, 64), np.int8)
    folded = made.constant("folded", np.array([-1, 64], np.int64))
    opened = made.constant("opened", np.array([-1, 1, 8, 8], np.int64))
    while len(made.nodes) < count:
        rows = made.node("Reshape", [made.pair(value), folded])
        stem = f"w{len(made.nodes)}"
        stored = made.constant(f"{stem}.codes", weight)
        scale = made.constant(f"{stem}.scale", np.full(64, 0.01, np.float32))
        zero = made.constant(f"{stem}.zero", np.zeros(64, np.int8))
        dequantized = made.node("DequantizeLinear", [stored, scale, zero], axis=1)
        product = made.node("Gemm", [rows, dequantized])
        value = made.node("Reshape", [product, opened])
    return made.model([made.pair(value)])


def transposes(count: int) -> onnx.ModelProto:
    """A weight behind very many Transposes, and a scale that FP16 cannot hold."""
    made = Builder("int8")
    shape = (CHANNELS, CHANNELS)
    stored = made.constant("codes", np.arange(16, dtype=np.int8).reshape(shape))
    parameters = [made.constant("s", np.float32(1e-9)), made.constant("z", np.int8(0))]
    weight = made.node("DequantizeLinear", [stored, *parameters])
    for _ in range(2 * ((count - 6) // 2)):
        weight = made.node("Transpose", [weight])
    return made.model([made.pair(made.node("MatMul", [made.pair("x"), weight]))])


FAMILIES: dict[str, Callable[[int], onnx.ModelProto]] = {
    "chain": chain,
    "chain, one weight and scale": lambda n: chain(n, "shared", batch_norm=True),
    "chain of MaxPools": pools,
    "chain of MaxPools and pairs": pairs,
    "chain of activations": activations,
    "chain of Reshapes and Gemms": reshapes,
    "chain of Transposes": transposes,
    "fan-out of one pair": lambda n: fan_out(n, own=False),
    "fan-out into an addition": lambda n: fan_out(n, "shared", join="Sum"),
    "fan-out of BatchNorms": shared_output,
    "residual, INT8 weights": lambda n: residual(n, "int8"),
    "residual stream of floats": lambda n: residual(n, skip=False),
    "ladder": ladder,
    "ladder of floats": lambda n: ladder(n, layers=False),
    "Concat of many branches": lambda n: fan_out(n, join="Concat"),
    "Concats in a row": concats,
}
