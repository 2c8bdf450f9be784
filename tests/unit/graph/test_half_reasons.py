"""Each reason against FP16, between two matrix products; and graphs drawn at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.half_graphs import FLOAT, HALF, derive, graph, node
from trtqat.graph.half.half_types import half_positions
from trtqat.tensors import Array

CONSTANTS: dict[str, Array] = {
    "ones": np.ones(4, np.float32),
    "zeros": np.zeros(4, np.float32),
    "dead": np.array([1, 1, 1e-9, 1], np.float32),
    "ones8": np.ones(8, np.float32),
    "rows": np.array([-2]),
    "k": np.array([8]),
    "pads": np.array([0, 0, 1, 0, 0, 0, 1, 0]),
    "few": np.array(0.5, np.float32),
}


def random(*shape: int, size: float = 1.0, seed: int = 0) -> Array:
    generator = np.random.default_rng([seed, *shape])
    return (generator.standard_normal(shape) * size).astype(np.float32)


def between(nodes: list[onnx.NodeProto], size: float) -> ir.Model:
    """``x`` (batch, 4, 8, 8) → Conv (about ``size``) → h → the nodes → z → y."""
    whole = [node("Conv", "x w", "h"), *nodes, node("MatMul", "z v", "y")]
    used = {name for each in whole for name in each.input}
    constants = {name: array for name, array in CONSTANTS.items() if name in used}
    constants |= {"w": random(4, 4, 1, 1, size=size / 2), "v": random(8, 8)}
    return graph(whole, constants, {"x": ("batch", 4, 8, 8)}, {"y": "float32"})


CASES = {
    "mean of few": (node("ReduceMean", "h rows", "z"), 100, ""),
    "mean of many": (node("ReduceMean", "h rows", "z"), 3000, "ReduceMean of 8 values of 'h'"),
    "norm": (node("ReduceL2", "h rows", "z"), 100, "ReduceL2 of 8 values of 'h'"),
    "log of sum": (node("ReduceLogSumExp", "h rows", "z"), 10, "ReduceLogSumExp of 8 values"),
    "pool": (
        node("AveragePool", "h", "z", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        2000,
        "AveragePool of 9 values of 'h'",
    ),
    "instances": (
        node("InstanceNormalization", "h ones zeros", "z"), 10, "of 64 values of 'h'"
    ),
    "layer, FP32 inside": (
        node("LayerNormalization", "h ones8 ones8", "z"), 1000, ""
    ),
    "variance": (
        node("BatchNormalization", "h ones zeros zeros dead", "z", epsilon=1e-9),
        0.01,
        "a variance in 'dead' changes by",
    ),
    "angle": (node("Cos", "h", "z"), 10, "the angle 'h' reaches"),
    "small angle": (node("Cos", "h", "z"), 1, ""),
    "soft": (node("Softmax", "h", "z"), 10, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_reason_of_one_node(name: str) -> None:
    made, size, expected = CASES[name]
    built = between([made], size)
    x = {"x": random(2, 4, 8, 8, seed=1)}
    derived = derive(built, x)
    if expected:
        assert expected in derived.kept["/z"]
        assert "/h" in derived.report.half
        assert "/y" in derived.report.half
    else:
        assert not derived.kept
    assert derived.agreement(x).sqnr_db > 40


def test_what_a_normalization_computes_in_float32_stays_visible() -> None:
    derived = derive(between([CASES["layer, FP32 inside"][0]], 10), {"x": random(2, 4, 8, 8)})
    assert any("FP32 statistics inside, as '/z'" in note for note in derived.report.notes)


def test_constants_that_nodes_make_get_the_type() -> None:
    nodes = [
        node("Shape", "h", "shape"),
        node("ConstantOfShape", "shape", "full",
             value=onnx.helper.make_tensor("value", FLOAT, [1], [0.5])),
        node("Mul", "h full", "z"),
    ]  # fmt: skip
    x = {"x": random(2, 4, 8, 8)}
    derived = derive(between(nodes, 1), x)
    made = {each.name: each for each in derived.proto.graph.node}
    assert made["/full"].attribute[0].t.data_type == HALF
    assert not derived.kept
    assert derived.agreement(x).sqnr_db > 40


@pytest.mark.parametrize(
    "nodes",
    [
        [node("TopK", "h k", "t i", axis=-1), node("Mul", "t t", "z")],
        [node("Pad", "h pads few", "z")],
        [node("Clip", "h - few", "z")],
        [node("SplitToSequence", "h", "s", axis=1), node("ConcatFromSequence", "s", "z", axis=1)],
        [
            node("LayerNormalization", "h ones8 ones8", "n m d"),
            node("Add", "m d", "a"),
            node("Add", "n a", "z"),
        ],
        [node("ArgMax", "h", "i", axis=-1), node("Cast", "i", "f", to=FLOAT),
         node("Add", "h f", "z")],
        [node("MaxPool", "h", "z i", kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
        [node("Einsum", "h h", "z", equation="bchw,bdwv->bchv")],
    ],
    ids=lambda nodes: nodes[0].op_type,
)  # fmt: skip
def test_types_stay_legal(nodes: list[onnx.NodeProto]) -> None:
    x = {"x": random(2, 4, 8, 8)}
    derived = derive(between(nodes, 1), x)
    assert {"/h", "/y"} <= set(derived.report.half)
    if nodes[0].op_type == "SplitToSequence":
        assert "a sequence" in derived.kept["/s"]
    else:
        assert not derived.kept
    derived.agreement(x)


@pytest.mark.parametrize(
    ("made", "inputs", "outputs"),
    [
        (node("Resize", "h region factors", "z"), (True, False, False), (True,)),
        (node("Gather", "h ids", "z"), (True, False), (True,)),
        (node("LayerNormalization", "h s b", "z mean deviation"), (True,) * 3,
         (True, False, False)),
        (node("Concat", "a b c d", "z", axis=0), (True,) * 4, (True,)),
        (node("DequantizeLinear", "q s zero", "z"), (False, True, False), (True,)),
        (node("Where", "c a b", "z"), (False, True, True), (True,)),
    ],
    ids=lambda each: each.op_type if isinstance(each, onnx.NodeProto) else "",
)  # fmt: skip
def test_positions(made: Any, inputs: tuple[bool, ...], outputs: tuple[bool, ...]) -> None:
    positions = half_positions(ir.from_proto(made), 19)
    assert not isinstance(positions, str)
    assert (positions.inputs, positions.outputs) == (inputs, outputs)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (node("Range", "a b c", "z"), "Range counts"),
        (node("RandomNormalLike", "a", "z", dtype=1), "a type of its own"),
        (node("HannWindow", "n", "z"), "a type of its own"),
        (onnx.helper.make_node("Fancy", ["a"], ["z"], domain="mine"), "mine::Fancy is not known"),
    ],
)
def test_operators_that_stay(made: Any, reason: str) -> None:
    positions = half_positions(ir.from_proto(made), 19)
    assert isinstance(positions, str)
    assert reason in positions


STEP = st.sampled_from(["Add", "Conv", "LeakyRelu", "Mul", "ReduceMean"])
FACTOR = st.floats(-4, 5).map(lambda exponent: 10.0**exponent)


@settings(derandomize=True)
@given(st.lists(st.tuples(STEP, FACTOR), min_size=2, max_size=8))
def test_any_chain_agrees_and_keeps_its_promises(steps: list[tuple[str, float]]) -> None:
    """Whatever sizes the tensors take, nothing overflows and FP16 is as good as it can be."""
    nodes, constants, source = [], {"last": np.array([-1])}, "x"
    for number, (step, factor) in enumerate(steps):
        operands = {"Conv": f"w{number}", "LeakyRelu": "", "ReduceMean": "last"}
        operand = operands.get(step, f"k{number}")
        output = f"t{number}"
        nodes.append(node(step, f"{source} {operand}", output))
        if step == "Conv":
            constants[operand] = random(4, 4, 1, 1, size=factor, seed=number)
        elif step in ("Add", "Mul"):
            constants[operand] = np.array(factor, np.float32)
        source = output
    x = {"x": random(2, 4, 8, 8)}
    derive(graph(nodes, constants, {"x": (2, 4, 8, 8)}, {source: "float32"}), x).agreement(x)
