"""What every test of a repair of Q/DQ placement asks: no bit changed, the graph is sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

from tests.support.graphs import Graph, run
from trtqat.graph.repair import Repairs
from trtqat.tensors import Array

SHAPE = (2, 4, 6, 6)
SCALES = (0.1, 1 / 3, 1.0, 0.0371, 2.0**-100, 2.0**100)

Pass = Callable[[ir.Model], Repairs]


@st.composite
def values(draw: st.DrawFn, scale: float) -> Array:
    """Tensors with values on rounding borders, next to them, negative and saturating."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    halves = random.integers(-300, 300, SHAPE) / 2
    nudged = np.nextafter((halves * scale).astype(np.float32), np.float32(random.choice([-1, 1])))
    x = np.where(random.random(SHAPE) < 0.5, (halves * scale).astype(np.float32), nudged)
    x[random.random(SHAPE) < 0.05] = draw(st.sampled_from([0.0, -0.0, 3e38, -3e38, 1e-40]))
    return x.astype(np.float32)


def assert_sound(model: ir.Model) -> None:
    """Names are unique, every tensor is made before it is read, a checker is content (``run``)."""
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    known = {*model.graph.inputs, *model.graph.initializers.values()}
    for node in model.graph:
        assert all(value is None or value in known for value in node.inputs)
        known.update(node.outputs)
    for node in model.graph:
        assert any(output.uses() or output.is_graph_output() for output in node.outputs)


def repaired(build: Callable[[], ir.Model], repair: Pass, x: Array) -> tuple[ir.Model, list[str]]:
    """The repaired graph and where; its outputs have every bit and name of the one before."""
    model = build()
    names = [output.name for output in model.graph.outputs]
    expected = run(model, x)
    made = repair(model)
    assert_sound(model)
    assert [output.name for output in model.graph.outputs] == names
    for before, after in zip(expected, run(model, x), strict=True):
        assert before.tobytes() == after.tobytes()
    return model, [each.where for each in made.made]


def unchanged(graph: Graph, repair: Pass, *outputs: str) -> None:
    """Nothing is repaired, and the graph stays node by node what it was."""
    model = graph.model(*outputs)
    before = ir.to_proto(model).SerializeToString()
    assert repair(model).made == ()
    assert ir.to_proto(model).SerializeToString() == before


X = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)

# What may stand between the activation and the pair, by name.
MOVERS: dict[str, tuple[str, dict[str, object]]] = {
    "max": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "padded": ("MaxPool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    "ceil": ("MaxPool", {"kernel_shape": [2, 2], "strides": [3, 3], "ceil_mode": 1}),
    "transpose": ("Transpose", {"perm": [0, 2, 1, 3]}),
    "identity": ("Identity", {}),
}
