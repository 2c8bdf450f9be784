"""Q/DQ graphs as other tools write them: Brevitas, tf2onnx, ONNX Runtime, opset 21."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.support.graphs import Graph, batch_norm
from trtqat.tensors import Array


@dataclass
class Foreign(Graph):
    """A graph whose pairs have codes of a type, a zero-point and a Clip of their own.

    Attributes:
        dtype: Of the codes.
        zero_point: Of all pairs.
        clip: Bounds of the codes, or None for no Clip.
        domain: Of the pairs.
        writes_zero_point: Whether the nodes have one.
    """

    dtype: type[np.integer] = np.int8
    zero_point: int = 0
    clip: tuple[int, int] | None = None
    domain: str = ""
    writes_zero_point: bool = True

    def codes(self, tensor: str, scale: Array | float, axis: int | None = None) -> str:
        """A pair on a tensor, which is named after it."""
        steps = np.asarray(scale, np.float32)
        names = [self.constant(f"{tensor}.scale", steps)]
        if self.writes_zero_point:
            zero_point = np.full(steps.shape, self.zero_point, self.dtype)
            names.append(self.constant(f"{tensor}.zero", zero_point))
        kind: dict[str, Any] = {"domain": self.domain} if self.domain else {}
        if axis is not None:
            kind["axis"] = axis
        value = self.node("QuantizeLinear", [tensor, *names], f"{tensor}.q", **kind)
        if self.clip is not None:
            bounds = [
                self.constant(f"{name}.{tensor}", np.array(bound, self.dtype))
                for name, bound in zip(("lower", "upper"), self.clip, strict=True)
            ]
            value = self.node("Clip", [value, *bounds], f"{tensor}.clipped")
        return self.node("DequantizeLinear", [value, *names], f"{tensor}.dq", **kind)

    def layer(
        self,
        data: str,
        output: str,
        shape: tuple[int, ...],
        operator: str = "Conv",
        **attributes: int,
    ) -> str:
        """A layer with a quantized weight of that shape, scales along its output channels."""
        weight = np.random.default_rng(len(self.nodes)).normal(size=shape).astype(np.float32)
        axis = 1 if operator in ("MatMul", "ConvTranspose") else 0
        if operator == "Gemm":
            attributes["transB"] = 1
        others = tuple(each for each in range(len(shape)) if each != axis)
        scale = np.abs(weight).max(axis=others) / 100
        name = self.codes(self.constant(f"{output}.weight", weight), scale, axis)
        return self.node(operator, [data, name], output, **attributes)


def network(made: Foreign, *, signed: bool = True) -> tuple[str, str]:
    """Depthwise, grouped, residual and transposed layers, a product; two outputs.

    Args:
        made: An empty graph with the input ``x`` of (N, 4, 6, 6) and ``other`` of (N, 4).
        signed: Whether the first activation can be negative.
    """
    first = "x" if signed else made.node("Relu", ["x"], "positive")
    value = made.layer(made.codes(first, 0.02), "depthwise", (4, 1, 3, 3), group=4)
    value = made.node("Relu", [made.batch_norm(value, batch_norm(4), "norm1")], "relu1")
    quantized = made.codes(value, 0.03)
    value = made.layer(quantized, "grouped", (8, 2, 1, 1), group=2)
    value = made.batch_norm(value, batch_norm(8, 1), "norm2")
    skip = made.layer(quantized, "skip", (8, 4, 1, 1))
    total = made.node("Relu", [made.node("Add", [value, skip], "sum")], "relu2")
    pooled = made.node("MaxPool", [made.codes(total, 0.05)], "pool", kernel_shape=[2, 2])
    up = made.layer(pooled, "up", (8, 4, 2, 2), "ConvTranspose")
    flat = made.node("Flatten", [made.node("GlobalAveragePool", [up], "average")], "flat")
    logits = made.layer(made.codes(flat, 0.01), "logits", (5, 4), "Gemm")
    second = made.layer(made.codes("other", 0.02), "second", (4, 3), "MatMul")
    return logits, second


def foreign(**options: object) -> Foreign:
    return Foreign((2, 4, 6, 6), inputs={"other": (2, 4)}, **options)  # type: ignore[arg-type]
