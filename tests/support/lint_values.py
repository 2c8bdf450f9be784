"""Graphs with a fault in the numbers of a weight, for the rules on those."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from tests.support.linting import Case, graph, layer_with_weight


def weight(first: float) -> ir.Model:
    values = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
    values[0, 0] = first
    return layer_with_weight(values, np.full(4, 0.01), 0, transB=1)


def mask(value: float) -> ir.Model:
    made = graph()
    masked = made.node("Add", ["x", made.constant("mask", np.array([value], np.float32))], "masked")
    made.conv(made.pair(masked, 0.1), "y", kernel=3)
    return made.model("y")


CASES = [
    Case("weight-not-finite", "w", lambda: weight(np.nan), lambda: weight(1e30), "NaN in 1 of 16"),
    Case("weight-not-finite", "w", lambda: weight(np.inf), lambda: weight(-1e30), "infinite in 1"),
    Case("weight-not-finite", "mask", lambda: mask(np.nan), lambda: mask(-np.inf)),
]
