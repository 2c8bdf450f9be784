"""Graphs in which layers read one quantized tensor side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from tests.support.graphs import Graph
from trtqat.graph.passes.write_kernel_shapes import write_kernel_shapes

SHAPE = (2, 4, 6, 6)


def pair_of(kernels: tuple[int, int] = (3, 3), relus: tuple[bool, bool] = (True, True)) -> Graph:
    """Two convolutions of one pair, ``h0`` and ``h1``."""
    made = Graph(SHAPE)
    data = made.pair("x", 0.1)
    for number, (kernel, relu) in enumerate(zip(kernels, relus, strict=True)):
        head = made.conv(data, f"c{number}", kernel=kernel)
        made.node("Relu" if relu else "Identity", [head], f"h{number}")
    return made


def finished(made: Graph, *outputs: str) -> ir.Model:
    model = made.model(*outputs)
    # Without it TensorRT 8.6 reads no convolution whose weight is dequantized.
    write_kernel_shapes(model)
    return model


def with_layers(made: Graph, scales: tuple[float, float] = (0.1, 0.2)) -> ir.Model:
    for number, scale in enumerate(scales):
        made.conv(made.pair(f"h{number}", scale), f"y{number}")
    return finished(made, "y0", "y1")


def unequal_channels() -> ir.Model:
    made = Graph(SHAPE)
    data = made.pair("x", 0.1)
    for number, channels in enumerate((4, 6)):
        head = made.node("Relu", [made.conv(data, f"c{number}", (channels, 4))], f"h{number}")
        made.conv(made.pair(head, 0.1), f"y{number}", (4, channels))
    return finished(made, "y0", "y1")


def pairs_of_their_own() -> ir.Model:
    """Each head has a DequantizeLinear of its own on the same codes."""
    made = Graph(SHAPE)
    made.pair("x", 0.1)
    for number in range(2):
        data = made.node("DequantizeLinear", ["x.q", "x.scale", "x.zero_point"], f"d{number}")
        made.node("Relu", [made.conv(data, f"c{number}")], f"h{number}")
    return with_layers(made)


def before_a_concat(*, block: bool = False) -> ir.Model:
    """Both go into a Concat; one of them through a layer of its own, if asked for."""
    made = pair_of((1, 1))
    first = "h0"
    if block:
        first = made.node("Relu", [made.conv(made.pair("h0", 0.1), "m", kernel=3)], "rm")
    joined = made.pair(made.node("Concat", [first, "h1"], "joined", axis=1), 0.1)
    made.conv(joined, "y", (4, 8))
    return finished(made, "y")


def before_a_sum() -> ir.Model:
    made = pair_of((1, 1))
    made.node("Add", [made.pair("h0", 0.1), made.pair("h1", 0.2)], "sum")
    made.conv(made.pair("sum", 0.2), "y")
    return finished(made, "y")


def linears(*, relus: bool = False) -> ir.Model:
    made = Graph((2, 4))
    data = made.pair("x", 0.1)
    for number in range(2):
        random = np.random.default_rng(number)

        def linear(source: str, name: str, random: np.random.Generator = random) -> str:
            weight = random.normal(size=(4, 4)).astype(np.float32)
            weight_name = made.constant(f"{name}.weight", weight)
            quantized = made.pair(weight_name, np.abs(weight).max(axis=1) / 127, 0)
            return made.node("Gemm", [source, quantized], name, transB=1)

        head = linear(data, f"c{number}")
        if relus:
            head = made.node("Relu", [head], f"h{number}")
        linear(made.pair(head, 0.1), f"y{number}")
    return finished(made, "y0", "y1")


def one_is_an_output() -> ir.Model:
    made = pair_of()
    made.conv(made.pair("h0", 0.1), "y0")
    return finished(made, "y0", "h1")


def of_two_tensors() -> ir.Model:
    made = Graph(SHAPE)
    for number, data in enumerate((made.pair("x", 0.1), made.pair("x", 0.2, name="other"))):
        made.node("Relu", [made.conv(data, f"c{number}")], f"h{number}")
    return with_layers(made)


MERGED: dict[str, Callable[[], ir.Model]] = {
    "3x3": lambda: with_layers(pair_of()),
    "1x1": lambda: with_layers(pair_of((1, 1))),
    "no relu": lambda: with_layers(pair_of(relus=(False, False))),
    "one scale": lambda: with_layers(pair_of(), (0.1, 0.1)),
    "unequal channels": unequal_channels,
    "pairs of their own": pairs_of_their_own,
    "concat": before_a_concat,
    "concat and a block": lambda: before_a_concat(block=True),
    "sum": before_a_sum,
    "linears": linears,
}
NOT_MERGED: dict[str, Callable[[], ir.Model]] = {
    "unequal kernels": lambda: with_layers(pair_of((3, 1))),
    "one relu": lambda: with_layers(pair_of(relus=(True, False))),
    "one is an output": one_is_an_output,
    "two tensors": of_two_tensors,
    "linears with relus": lambda: linears(relus=True),
}


def shape_of(name: str) -> tuple[int, ...]:
    """Of the input ``x`` of one of them."""
    return (2, 4) if name.startswith("linears") else SHAPE
