"""Raising opsets, and asking which is the newest that both libraries know."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper

from tests.support.one_input import SHAPE, model, run
from trtqat.errors import ExportError
from trtqat.graph.passes import raise_opset as module
from trtqat.graph.passes.raise_opset import newest_opset, raise_opset
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

CONSTANTS: dict[str, Array] = {
    "axes": np.array([1], np.int64),
    "sizes": np.array([2, 4], np.int64),
    "pads": np.array([0, 1, 2, 0, 0, 1], np.int64),
    "scales": np.array([1, 2, 1], np.float32),
    "s": np.array(0.05, np.float32),
    "z": np.array(0, np.int8),
}


def node(operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, outputs, name=f"/{outputs[0]}", **attributes)


NODES = [
    [node("ReduceMean", ["x"], ["y"], axes=[1, 2], keepdims=0)],
    [node("ReduceMax", ["x"], ["y"])],
    [node("ReduceSum", ["x", "axes"], ["y"])],
    [node("Split", ["x"], ["y", "z1"], axis=1)],
    [node("Split", ["x", "sizes"], ["y", "z1"], axis=1)],
    [node("Pad", ["x", "pads"], ["y"])],
    [node("Resize", ["x", "", "scales"], ["y"])],
    [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ],
]


@pytest.mark.parametrize("opset", [19, 21, 23])
@pytest.mark.parametrize("nodes", NODES, ids=lambda nodes: nodes[0].op_type)
def test_raised_graph_computes_the_same(nodes: list[onnx.NodeProto], opset: int) -> None:
    used = {name for each in nodes for name in each.input}
    constants = {name: array for name, array in CONSTANTS.items() if name in used}
    built = model(nodes, constants, opset=17)
    built.metadata_props["trtqat"] = "kept"
    raised = raise_opset(built, opset)
    proto: onnx.ModelProto = ir.to_proto(raised)
    onnx.checker.check_model(proto, full_check=True)
    assert raised.graph.opset_imports[""] == opset
    assert (raised.ir_version or 0) >= 9
    assert raised.metadata_props["trtqat"] == "kept"
    assert [each.name for each in raised.graph] == [each.name for each in nodes]
    assert built.graph.opset_imports[""] == 17
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    for before, after in zip(run(built, x), run(raised, x), strict=True):
        np.testing.assert_array_equal(before, after)


OLD = [
    (10, "Resize", "linear", [1, 2, 2]),
    (10, "Resize", "linear", [1, 0.5, 0.7]),
    (10, "Resize", "nearest", [1, 2.5, 1.7]),
    (10, "Resize", "nearest", [1, 0.5, 0.4]),
    (9, "Upsample", "linear", [1, 2, 2]),
    (9, "Upsample", "nearest", [1, 1.33, 2.7]),
]


@pytest.mark.parametrize("to", [13, 19])
@pytest.mark.parametrize(("opset", "operator", "mode", "scales"), OLD)
def test_an_older_resize_measures_from_where_it_did(
    opset: int, operator: str, mode: str, scales: list[float], to: int
) -> None:
    """The converter writes nothing, which means another place from opset 11 on."""
    resize = node(operator, ["x", "by"], ["y"], mode=mode)
    shape = (1, 1, 7, 6)
    by = np.array([1, *scales], np.float32)
    built = model([resize], {"by": by}, opset=opset, shape=shape)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    raised = raise_opset(built, to)
    np.testing.assert_allclose(run(raised, x)[0], run(built, x)[0], rtol=1e-6, atol=1e-6)


def test_a_file_of_ir_version_3_is_raised() -> None:
    """Its initializers are inputs, too, which they are no more once it is read."""
    nodes = [node("ReduceSum", ["x", "axes"], ["y"])]
    built = model(nodes, {"axes": CONSTANTS["axes"]}, opset=13)
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    expected = run(built, x)
    built.ir_version = 3
    raised = raise_opset(built, 19)
    assert raised.graph.opset_imports[""] == 19
    assert [each.tobytes() for each in run(raised, x)] == [each.tobytes() for each in expected]


def test_parts_are_counted_where_that_can_be_written() -> None:
    built = model([node("Split", ["x"], ["y", "z1"], axis=1)], opset=11)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    for opset in (13, 17, 19):
        raised = raise_opset(built, opset)
        assert ("num_outputs" in next(iter(raised.graph)).attributes) == (opset >= 18)
        for before, after in zip(run(built, x), run(raised, x), strict=True):
            np.testing.assert_array_equal(before, after)


def test_what_the_converter_leaves_out_is_there() -> None:
    split = next(iter(raise_opset(model(NODES[3], opset=17), 19).graph))
    assert split.attributes["num_outputs"].as_int() == 2
    reduced = raise_opset(model(NODES[0], opset=17), 19)
    assert list(reduced.graph.initializers) == ["/y_input_1"]


def test_a_plugin_in_the_domain_of_onnx_stays_as_it_is() -> None:
    plugin = node("Decode_TRT", ["y"], ["z"], level=3)
    raised = raise_opset(model([NODES[0][0], plugin], opset=17), 19)
    (found,) = (each for each in raised.graph if each.op_type == "Decode_TRT")
    assert (found.domain, found.attributes["level"].as_int()) == ("", 3)
    assert set(raised.graph.opset_imports) == {"", "trtqat"}


def test_newer_graphs_stay_and_unknown_opsets_are_refused() -> None:
    built = model(NODES[1], opset=19)
    assert raise_opset(built, 17) is built
    with pytest.raises(ExportError, match="cannot be written in opset 999"):
        raise_opset(built, 999)


def test_newest_opset_is_one_that_both_take_and_the_next_is_not() -> None:
    newest = newest_opset()
    assert 19 <= newest <= onnx.defs.onnx_opset_version()
    OnnxModel(module._probe(newest), as_written=True).close()
    if newest < onnx.defs.onnx_opset_version():
        with pytest.raises(Exception, match="ONNX Runtime does not accept"):
            OnnxModel(module._probe(newest + 1), as_written=True)
