"""Multiply-accumulates: a graph of ones adds up one for each, which is a count by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.support.graphs import Graph, run
from trtqat.graph.lenses.macs import summarize

BATCH = 3

# Operator, shape of x, shape of the second operand, attributes.
Case = tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]

CASES: dict[str, Case] = {
    "conv": ("Conv", (BATCH, 4, 7, 9), (5, 4, 3, 2), {}),
    "conv 1d": ("Conv", (BATCH, 4, 11), (5, 4, 3), {"strides": [2]}),
    "conv 3d": ("Conv", (BATCH, 2, 4, 5, 6), (3, 2, 2, 2, 2), {}),
    "grouped": ("Conv", (BATCH, 6, 8, 8), (4, 3, 3, 3), {"group": 2, "strides": [2, 1]}),
    "depthwise": ("Conv", (BATCH, 6, 8, 8), (6, 1, 3, 3), {"group": 6}),
    "multiplier": ("Conv", (BATCH, 6, 8, 8), (12, 1, 3, 3), {"group": 6}),
    "dilated": ("Conv", (BATCH, 4, 9, 9), (5, 4, 3, 3), {"dilations": [2, 3]}),
    "transposed": ("ConvTranspose", (BATCH, 4, 5, 6), (4, 7, 2, 3), {"strides": [2, 2]}),
    "transposed in groups": ("ConvTranspose", (BATCH, 4, 5, 6), (4, 3, 2, 2), {"group": 2}),
    "gemm": ("Gemm", (BATCH, 6), (6, 5), {}),
    "gemm transB": ("Gemm", (BATCH, 6), (5, 6), {"transB": 1}),
    "gemm transA": ("Gemm", (BATCH, 6), (6, 5), {"transA": 1}),
    "gemm both": ("Gemm", (BATCH, 6), (5, 6), {"transA": 1, "transB": 1}),
    "matmul": ("MatMul", (BATCH, 6), (6, 5), {}),
    "matmul of tokens": ("MatMul", (BATCH, 7, 6), (6, 5), {}),
    "matmul of heads": ("MatMul", (BATCH, 2, 7, 6), (BATCH, 2, 6, 7), {}),
    "matmul of one weight a head": ("MatMul", (BATCH, 2, 7, 6), (1, 2, 6, 4), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_macs_of_one_sample(name: str) -> None:
    operator, shape, weight, attributes = CASES[name]
    graph = Graph(shape)
    data = graph.node("Transpose", ["x"], "t") if "transA" in attributes else "x"
    graph.node(
        operator, [data, graph.constant("w", np.ones(weight, np.float32))], "y", **attributes
    )
    model = graph.model("y")
    (layer,) = summarize(model).layers
    (result,) = run(model, np.ones(shape, np.float32))
    assert layer.macs == result.sum() / BATCH
    assert (layer.operator, layer.is_int8) == (operator, False)


def test_padding_counts_as_torch_counts_it() -> None:
    module = nn.Sequential(
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.ConvTranspose2d(6, 5, 3, stride=2, padding=1, output_padding=1),
    )
    graph = Graph((1, 4, 8, 8))
    arrays = [parameter.detach().numpy() for parameter in module.parameters()]
    names = [graph.constant(f"p{number}", array) for number, array in enumerate(arrays)]
    graph.node("Conv", ["x", *names[:2]], "a", pads=[1] * 4, group=2)
    graph.node(
        "ConvTranspose", ["a", *names[2:]], "y",
        pads=[1] * 4, strides=[2, 2], output_padding=[1, 1],
    )  # fmt: skip
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 4, 8, 8))
    # torch counts a multiplication and an addition as two.
    assert summarize(graph.model("y")).macs * 2 == counter.get_total_flops()


def test_shares_of_a_graph_with_an_open_batch_and_an_open_size() -> None:
    graph = Graph((1, 4, 8, 8))
    graph.conv(graph.pair("x", 0.1), "a", (8, 4))  # 64 pixels · 32
    graph.node("Neg", [graph.conv("x", "b", (4, 4), kernel=3, quantized=False)], "y")
    proto = graph.proto("a", "y")
    summary = summarize(ir.from_proto(proto))
    assert [(layer.name, layer.is_int8, layer.macs) for layer in summary.layers] == [
        ("/a", True, 2048),
        ("/b", False, 9216),
    ]
    assert (summary.pairs, summary.int8_layers, summary.opset) == (2, 1, 17)
    assert (summary.macs, summary.int8_macs) == (2048 + 9216, 2048)
    assert summary.int8_share == pytest.approx(2048 / 11264)

    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims[0].dim_param = "batch"
    assert summarize(_inferred(proto)).macs == 2048 + 9216
    dims[2].dim_param = "height"
    summary = summarize(_inferred(proto))
    assert [layer.macs for layer in summary.layers] == [None, None]
    assert (summary.macs, summary.int8_share) == (0, None)


# 7 tokens of 6 numbers in each sample, 7 · 6 · 5 products with a weight of (6, 5).
@pytest.mark.parametrize("lost", [False, True], ids=["named", "lost"])
@pytest.mark.parametrize("batch", [1, 4, "batch"])
@pytest.mark.parametrize("folding", ["reshape", "transpose"])
def test_tokens_in_the_first_dimension_are_of_one_sample(
    folding: str, batch: int | str, lost: bool
) -> None:
    graph = Graph((1, 7, 6))
    if folding == "reshape":
        graph.node("Reshape", ["x", graph.constant("s", np.array([-1, 6]))], "folded")
    else:
        graph.node("Transpose", ["x"], "folded", perm=[1, 0, 2])
    graph.node("MatMul", [graph.pair("folded", 0.1), graph.constant("w", np.ones((6, 5)))], "y")
    proto = graph.proto("y")
    dim = proto.graph.input[0].type.tensor_type.shape.dim[0]
    if isinstance(batch, int):
        dim.dim_value = batch
    else:
        dim.dim_param = batch
    model = _inferred(proto)
    # As the torch.export-based exporter names the dimension, and as the other loses it.
    if batch == "batch" and folding == "reshape":
        for number, node in enumerate(model.graph):
            (value,) = node.outputs
            assert value.shape is not None
            first = f"lost_{number}" if lost else "7*batch"
            value.shape = ir.Shape([first, value.shape[1]])
    assert summarize(model).macs == 7 * 6 * 5


def test_what_was_lost_behind_a_fold_of_another_dimension() -> None:
    """(7, batch, 6) → (7 · batch, 6) → the mean over 6 → a product."""
    graph = Graph((1, 7, 6))
    graph.node("Transpose", ["x"], "t", perm=[1, 0, 2])
    graph.node("Reshape", ["t", graph.constant("s", np.array([-1, 6]))], "folded")
    graph.node("ReduceMean", ["folded"], "mean", axes=[-1])
    graph.node("MatMul", ["mean", graph.constant("w", np.ones((1, 5), np.float32))], "y")
    proto = graph.proto("y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert summarize(_inferred(proto)).macs == 7 * 5


def test_heads_that_were_folded_into_an_inner_dimension() -> None:
    """(batch, 7, 6) → (7, batch, 6) → (7, 2 · batch, 3) → (2 · batch, 7, 3): q · kᵀ, · v."""
    graph = Graph((1, 7, 6))
    graph.node("Transpose", ["x"], "t", perm=[1, 0, 2])
    graph.node("Reshape", ["t", graph.constant("s", np.array([7, -1, 3]))], "folded")
    graph.node("Transpose", ["folded"], "q", perm=[1, 0, 2])
    graph.node("Transpose", ["folded"], "k", perm=[1, 2, 0])
    graph.node("MatMul", ["q", "k"], "scores")
    graph.node("MatMul", ["scores", "q"], "y")
    proto = graph.proto("y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert summarize(_inferred(proto)).macs == 2 * (2 * 7 * 7 * 3)


def test_products_of_all_samples_with_all_are_not_counted() -> None:
    graph = Graph((1, 6))
    graph.node("Transpose", ["x"], "t")
    graph.node("MatMul", ["x", "t"], "y")
    proto = graph.proto("y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert [layer.macs for layer in summarize(_inferred(proto)).layers] == [None]


def test_a_first_dimension_that_nothing_explains_is_not_counted() -> None:
    graph = Graph((1, 7, 6))
    graph.node("NonZero", ["x"], "found")
    graph.node("Cast", ["found"], "c", to=TensorProto.FLOAT)
    graph.node("Transpose", ["c"], "t")
    graph.node("MatMul", ["t", graph.constant("w", np.ones((3, 5), np.float32))], "y")
    assert [layer.macs for layer in summarize(graph.model("y")).layers] == [None]


def test_a_dimension_that_one_of_two_operands_lost() -> None:
    """As of a class token, expanded to the batch, before the tokens of a transformer."""
    graph = Graph((1, 7, 6), inputs={"n": ("lost", 1, 6)})
    graph.node("Relu", ["x"], "r")
    graph.node("Neg", ["n"], "m")
    graph.node("Concat", ["m", "r"], "tokens", axis=1)
    graph.node("MatMul", ["tokens", graph.constant("w", np.ones((6, 5), np.float32))], "y")
    proto = graph.proto("y")
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model = _inferred(proto)
    del model.graph.inputs[1:]
    assert summarize(model).macs == 8 * 6 * 5


def _inferred(proto: onnx.ModelProto) -> ir.Model:
    for value in (*proto.graph.value_info, *proto.graph.output):
        value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    del proto.graph.value_info[:]
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def test_batch_norms_are_counted() -> None:
    graph = Graph((1, 4, 8, 8))
    for name in ("g", "b", "m", "v"):
        graph.constant(name, np.ones(4, np.float32))
    graph.node("BatchNormalization", ["x", "g", "b", "m", "v"], "y")
    summary = summarize(graph.model("y"))
    assert (summary.batch_norms, summary.layers, summary.int8_share) == (1, (), None)
