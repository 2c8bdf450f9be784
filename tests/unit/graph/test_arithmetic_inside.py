"""What multiplies in branches, loops and functions counts as often as it runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from tests.support.counted_graphs import (
    LAYER_MACS,
    beside_a_layer,
    floats,
    quantized_branch,
    summary_of,
)
from tests.support.graphs import Graph
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.tidy import inline_functions


def body(
    *nodes: onnx.NodeProto, inputs: dict[str, Any], outputs: dict[str, Any]
) -> onnx.GraphProto:
    def info(name: str, kind: Any) -> onnx.ValueInfoProto:
        dtype, shape = (
            kind if isinstance(kind[0], int) and isinstance(kind[1], tuple) else (1, kind)
        )
        return helper.make_tensor_value_info(name, dtype, shape)

    return helper.make_graph(
        list(nodes),
        "body",
        [info(name, kind) for name, kind in inputs.items()],
        [info(name, kind) for name, kind in outputs.items()],
    )


IMAGE = ("batch", 4, 6, 6)


def convolution_in_branches() -> Graph:
    made = beside_a_layer()
    made.constant("kernel", floats(4, 4, 1, 1))
    made.constant("half", np.array(0.5, np.float32))
    mean = made.node("ReduceMean", ["x"], "mean", keepdims=0)
    made.node("Greater", [mean, "half"], "condition")
    conv = helper.make_node("Conv", ["x", "kernel"], ["t"], name="/inner")
    again = helper.make_node("Conv", ["t0", "kernel"], ["e"], name="/second")
    first = helper.make_node("Conv", ["x", "kernel"], ["t0"], name="/first")
    made.node(
        "If",
        ["condition"],
        "z",
        then_branch=body(conv, inputs={}, outputs={"t": IMAGE}),
        else_branch=body(first, again, inputs={}, outputs={"e": IMAGE}),
    )
    return made


def convolution_in_loop(*, constant: bool) -> Graph:
    made = beside_a_layer()
    made.constant("kernel", floats(4, 4, 1, 1))
    made.constant("three", np.array(3, np.int64))
    made.constant("true", np.array(True))
    trips = "three"
    if not constant:
        made.node("Shape", ["x"], "size")
        made.constant("first", np.array(0, np.int64))
        trips = made.node("Gather", ["size", "first"], "trips")
    conv = helper.make_node("Conv", ["state", "kernel"], ["next"], name="/inner")
    keep = helper.make_node("Identity", ["go"], ["on"])
    loop = body(
        conv,
        keep,
        inputs={"i": (TensorProto.INT64, ()), "go": (TensorProto.BOOL, ()), "state": IMAGE},
        outputs={"on": (TensorProto.BOOL, ()), "next": IMAGE},
    )
    made.node("Loop", [trips, "true", "x"], "z", body=loop)
    return made


def product_in_scan() -> Graph:
    made = beside_a_layer()
    made.constant("weight", floats(5, 5))
    made.constant("start", floats(1, 5))
    made.inputs["rows"] = (9, 1, 5)
    product = helper.make_node("MatMul", ["row", "weight"], ["p"], name="/inner")
    total = helper.make_node("Add", ["p", "state"], ["sum"])
    scan = body(
        product,
        total,
        inputs={"state": (1, 5), "row": (1, 5)},
        outputs={"sum": (1, 5)},
    )
    made.node("Scan", ["start", "rows"], "z", body=scan, num_scan_inputs=1)
    return made


def test_branches_count_as_the_larger_one() -> None:
    summary = summary_of(convolution_in_branches(), "layer", "z")
    assert [(s.operator, s.is_int8, s.macs) for s in summary.layers[1:]] == [
        ("If", False, 2 * LAYER_MACS)
    ]


def test_pairs_in_branches_are_counted_and_their_layers_are_not_int8() -> None:
    summary = summary_of(quantized_branch(), "z")
    assert (summary.pairs, summary.int8_layers, summary.int8_share) == (4, 1, 0.5)
    inside = summary.layers[1]
    assert (inside.operator, inside.is_int8, inside.quantized_inside) == ("If", False, ("/inner",))
    floats = summary_of(convolution_in_branches(), "layer", "z")
    assert (floats.pairs, floats.layers[1].quantized_inside) == (2, ())


def test_loops_count_as_often_as_they_run() -> None:
    loop = summary_of(convolution_in_loop(constant=True), "layer", "z").layers[1]
    assert (loop.operator, loop.is_int8, loop.macs) == ("Loop", False, 3 * LAYER_MACS)
    summary = summary_of(convolution_in_loop(constant=False), "layer", "z")
    assert summary.int8_share is None
    scan = summary_of(product_in_scan(), "layer", "z")
    assert (scan.layers[1].operator, scan.layers[1].macs) == ("Scan", 9 * 5 * 5)


def test_layers_in_functions_are_layers() -> None:
    made = beside_a_layer()
    made.constant("kernel", floats(4, 4, 1, 1))
    made.node("Block", ["x", "kernel"], "z", domain="mine")
    proto = made.proto("layer", "z")
    node = helper.make_node("Conv", ["a", "b"], ["c"], name="conv")
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("mine", "Block", ["a", "b"], ["c"], [node], opsets))
    summary = summarize(ir.from_proto(proto))
    assert summary.int8_share is None  # the call alone says nothing
    model = ir.from_proto(proto)
    inline_functions(model)
    infer_shapes(model)
    assert summarize(model).int8_share == 0.5
