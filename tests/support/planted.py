"""Graphs in which some blocks should lose by Q/DQ, and others gain, on a large GPU.

Winners are wide 3x3 and 1x1 convolutions: their arithmetic takes most of the time, and INT8 has
twice the rate. Losers of two kinds stand between them, on large maps that memory limits:

- ``narrow``: convolutions of 8 channels. INT8 kernels fill 32, and the quantizing of what a Softmax
  makes is a kernel of its own, as a Softmax makes no codes.
- ``lone``: pairs around Softmax, which has no INT8 kernel: each pair is two kernels, and nothing
  computes on its codes.

That they lose was reasoned from the bytes that they move, and is for the GPU to say.
"""

from __future__ import annotations

import numpy as np
import onnx

from tests.support.graphs import Graph

LOSERS = ("narrow", "lone")
REPEATS = 3
_NARROW = 8


def planted(*, batch: int, channels: int = 512, side: int = 28) -> onnx.ModelProto:
    """Nine winners, with three losers of either kind between them.

    Args:
        batch: Of the input, ``(batch, channels, side, side)``.
        channels: Of the winners, a multiple of 64. Losers have eight, on maps that are larger by
            as much.
        side: Height and width of the winners' maps.

    Returns:
        The graph; the names of a block's nodes begin with its kind, as in ``/narrow1.conv``.
    """
    made = _Planted(batch, channels, side)
    value = "x"
    for number in range(REPEATS):
        value = made.winner(value, f"wide{number}a")
        value = made.narrow(value, f"narrow{number}")
        value = made.winner(value, f"wide{number}b")
        value = made.lone(value, f"lone{number}")
        value = made.winner(value, f"wide{number}c")
    made.graph.node("GlobalAveragePool", [value], "y")
    return made.graph.proto("y")


class _Planted:
    def __init__(self, batch: int, channels: int, side: int) -> None:
        self.graph = Graph((batch, channels, side, side))
        self._channels = channels
        wide = np.array([batch, channels, side, side])
        narrow = np.array([batch, _NARROW, side * channels // 64, side * 8])
        assert wide.prod() == narrow.prod()
        self.graph.constant("wide", wide)
        self.graph.constant("narrow", narrow)

    def winner(self, value: str, name: str) -> str:
        """Two convolutions around which the block's input runs, as in a residual network."""
        graph, codes = self.graph, self.graph.pair(value, 0.03, name=f"{name}.x")
        inner = self._conv(codes, f"{name}.first", self._channels, 3)
        inner = graph.pair(graph.node("Relu", [inner], f"{name}.relu"), 0.03)
        inner = self._conv(inner, f"{name}.second", self._channels, 1)
        return graph.node("Relu", [graph.node("Add", [inner, codes], f"{name}.add")], f"{name}.y")

    def narrow(self, value: str, name: str) -> str:
        """Two convolutions of few channels, each behind a Softmax."""
        wanted = inner = self.graph.node("Reshape", [value, "narrow"], f"{name}.x")
        for step in ("first", "second"):
            inner = self.graph.node("Softmax", [inner], f"{name}.softmax_{step}", axis=1)
            inner = self._conv(self.graph.pair(inner, 1 / 127), f"{name}.{step}", _NARROW, 3)
        return self._back(wanted, inner, name)

    def lone(self, value: str, name: str) -> str:
        """Pairs that nothing computes on."""
        wanted = inner = self.graph.node("Reshape", [value, "narrow"], f"{name}.x")
        for step in ("first", "second", "third"):
            codes = self.graph.pair(inner, 0.03, name=f"{name}.{step}")
            inner = self.graph.node("Softmax", [codes], f"{name}.softmax_{step}", axis=1)
        return self._back(wanted, inner, name)

    def _back(self, value: str, inner: str, name: str) -> str:
        added = self.graph.node("Add", [inner, value], f"{name}.add")
        return self.graph.node("Reshape", [added, "wide"], f"{name}.y")

    def _conv(self, data: str, name: str, channels: int, kernel: int) -> str:
        """A convolution whose weight is stored as codes."""
        random = np.random.default_rng(len(self.graph.nodes))
        codes = random.integers(-127, 128, (channels, channels, kernel, kernel), np.int8)
        scale = np.full(channels, 1 / (127 * kernel * channels**0.5), np.float32)
        names = [
            self.graph.constant(f"{name}.codes", codes),
            self.graph.constant(f"{name}.scale", scale),
            self.graph.constant(f"{name}.zero_point", np.zeros(channels, np.int8)),
        ]
        weight = self.graph.node("DequantizeLinear", names, f"{name}.weight", axis=0)
        # TensorRT 8.6 takes a kernel that is computed for 1x1 where its shape is not written.
        shape, pads = [kernel, kernel], [kernel // 2] * 4
        return self.graph.node("Conv", [data, weight], name, kernel_shape=shape, pads=pads)
