"""What a test of a lint rule consists of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from tests.support.graphs import Graph
from trtqat.graph.lint import lint
from trtqat.graph.lint.finding import Finding
from trtqat.plan.header import Target
from trtqat.tensors import Array

SHAPE = (2, 4, 6, 6)


@dataclass(frozen=True)
class Case:
    """Two graphs: one with a fault of one rule at one place, and one that nearly has it.

    Attributes:
        rule: Identifier of the rule.
        where: What its only finding must name.
        faulty: Makes the graph with the fault.
        sound: Makes the graph that must have no warning, and no finding of this rule.
        says: Words that the finding must have.
        for_: The TensorRT that lint is asked for; None for all.
    """

    rule: str
    where: str
    faulty: Callable[[], ir.Model]
    sound: Callable[[], ir.Model]
    says: str = ""
    for_: Target | None = None


def found(model: ir.Model, rule: str = "", for_: Target | None = None) -> list[Finding]:
    """The warnings of a graph, and the notes of one rule."""
    findings = lint(model, for_)
    return [each for each in findings if each.severity == "warning" or each.rule == rule]


def graph() -> Graph:
    return Graph(SHAPE)


def block(made: Graph, data: str, output: str, *, quantized: bool = True) -> str:
    """Convolution and Relu; no pair on its data."""
    layer = made.conv(data, f"{output}.conv", kernel=3, quantized=quantized)
    return made.node("Relu", [layer], output)


def layer_with_weight(
    weight: Array, scale: Array | float, axis: int | None = None, **attributes: Any
) -> ir.Model:
    """A quantized linear layer (Gemm) on the given weight pair."""
    made = Graph((2, 4))
    data = made.pair("x", 0.1)
    weights = made.pair(made.constant("w", weight.astype(np.float32)), scale, axis)
    made.node("Gemm", [data, weights], "y", **attributes)
    return made.model("y")
