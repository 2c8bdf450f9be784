"""FP16 that cannot hold a difference of large numbers is refused, and said to be what it is."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.half_graphs import Derived, derive, graph, node, pair
from trtqat.errors import ExportError
from trtqat.tensors import Array


def values(seed: int) -> dict[str, Array]:
    return {"x": (np.random.default_rng(seed).standard_normal((8, 64)) * 5).astype(np.float32)}


def normalised() -> Derived:
    """A variance as the mean of squares less the square of a mean that is far larger."""
    nodes = [
        *pair("x", "x_scale", "xd"),
        node("Mul", "xd half", "h"),
        node("Add", "h far", "f"),
        node("Mul", "f f", "squares"),
        node("ReduceMean", "squares axis", "square"),
        node("ReduceMean", "f axis", "mean"),
        node("Mul", "mean mean", "other"),
        node("Sub", "square other", "variance"),
        *pair("variance", "v_scale", "vd"),
        node("Relu", "vd", "y"),
    ]
    constants = {
        "half": np.array(0.004, np.float32), "far": np.array(4, np.float32),
        "x_scale": np.array(0.2, np.float32), "v_scale": np.array(1e-4, np.float32),
        "axis": np.array([1]),
    }  # fmt: skip
    return derive(graph(nodes, constants, {"x": ("n", 64)}, {"y": "float32"}), values(0))


def test_a_difference_of_large_numbers_is_said_to_be_one() -> None:
    derived = normalised()
    assert "/variance" in derived.report.half
    with pytest.raises(ExportError, match="before quantizer '/vd_q'") as raised:
        derived.agreement(values(1))
    assert "FP16 has too few bits" in raised.value.remedy
