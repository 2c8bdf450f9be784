"""Equal convolutions of one tensor keep float weights for TensorRT 8.6, which merges them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

import trtqat
from tests.support.float_graphs import write_float
from tests.support.graphs import Graph, run
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lenses.pairs import DEQUANTIZE, producer_of, quantizer_of
from trtqat.graph.lenses.siblings import siblings
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.graph_file.reading import read_model

SHAPE = (2, 4, 6, 6)


def pair_of(kernels: tuple[int, int] = (3, 3), relus: tuple[bool, bool] = (True, True)) -> Graph:
    """Two convolutions of one pair, ``h0`` and ``h1``."""
    made = Graph(SHAPE)
    data = made.pair("x", 0.1)
    for number, (kernel, relu) in enumerate(zip(kernels, relus, strict=True)):
        head = made.conv(data, f"c{number}", kernel=kernel)
        made.node("Relu" if relu else "Identity", [head], f"h{number}")
    return made


def with_layers(made: Graph, scales: tuple[float, float] = (0.1, 0.2)) -> ir.Model:
    for number, scale in enumerate(scales):
        made.conv(made.pair(f"h{number}", scale), f"y{number}")
    return made.model("y0", "y1")


def unequal_channels() -> ir.Model:
    made = Graph(SHAPE)
    data = made.pair("x", 0.1)
    for number, channels in enumerate((4, 6)):
        head = made.node("Relu", [made.conv(data, f"c{number}", (channels, 4))], f"h{number}")
        made.conv(made.pair(head, 0.1), f"y{number}", (4, channels))
    return made.model("y0", "y1")


def pairs_of_their_own() -> ir.Model:
    """Each head has a DequantizeLinear of its own on the same codes."""
    made = Graph(SHAPE)
    made.pair("x", 0.1)
    for number in range(2):
        data = made.node("DequantizeLinear", ["x.q", "x.scale", "x.zero_point"], f"d{number}")
        made.node("Relu", [made.conv(data, f"c{number}")], f"h{number}")
    return with_layers(made)


def before_a_concat(*, block: bool = False) -> ir.Model:
    """Both go into a Concat; one of them through a layer of its own, if asked for."""
    made = pair_of((1, 1))
    first = "h0"
    if block:
        first = made.node("Relu", [made.conv(made.pair("h0", 0.1), "m", kernel=3)], "rm")
    joined = made.pair(made.node("Concat", [first, "h1"], "joined", axis=1), 0.1)
    made.conv(joined, "y", (4, 8))
    return made.model("y")


def before_a_sum() -> ir.Model:
    made = pair_of((1, 1))
    made.node("Add", [made.pair("h0", 0.1), made.pair("h1", 0.2)], "sum")
    made.conv(made.pair("sum", 0.2), "y")
    return made.model("y")


def linears() -> ir.Model:
    made = Graph((2, 4))
    data = made.pair("x", 0.1)
    for number in range(2):
        random = np.random.default_rng(number)
        for name, source in (("c", data), ("y", "")):
            weight = random.normal(size=(4, 4)).astype(np.float32)
            weight_name = made.constant(f"{name}{number}.weight", weight)
            quantized = made.pair(weight_name, np.abs(weight).max(axis=1) / 127, 0)
            source = source or made.pair(f"c{number}", 0.1)
            made.node("Gemm", [source, quantized], f"{name}{number}", transB=1)
    return made.model("y0", "y1")


def one_is_an_output() -> ir.Model:
    made = pair_of()
    made.conv(made.pair("h0", 0.1), "y0")
    return made.model("y0", "h1")


def of_two_tensors() -> ir.Model:
    made = Graph(SHAPE)
    for number, data in enumerate((made.pair("x", 0.1), made.pair("x", 0.2, name="other"))):
        made.node("Relu", [made.conv(data, f"c{number}")], f"h{number}")
    return with_layers(made)


def float_weights(model: ir.Model) -> set[str]:
    """Names of the layers whose weight goes through QuantizeLinear."""
    found = set()
    for node in model.graph:
        if node.op_type in ("Conv", "Gemm"):
            dequantize = producer_of(node.inputs[1], DEQUANTIZE)
            assert dequantize is not None
            if quantizer_of(dequantize) is not None:
                found.add(str(node.name))
    return found


MERGED: dict[str, Callable[[], ir.Model]] = {
    "3x3": lambda: with_layers(pair_of()),
    "1x1": lambda: with_layers(pair_of((1, 1))),
    "no relu": lambda: with_layers(pair_of(relus=(False, False))),
    "one scale": lambda: with_layers(pair_of(), (0.1, 0.1)),
    "unequal channels": unequal_channels,
    "pairs of their own": pairs_of_their_own,
    "concat": before_a_concat,
    "concat and a block": lambda: before_a_concat(block=True),
    "sum": before_a_sum,
    "linears": linears,
}
NOT_MERGED: dict[str, Callable[[], ir.Model]] = {
    "unequal kernels": lambda: with_layers(pair_of((3, 1))),
    "one relu": lambda: with_layers(pair_of(relus=(True, False))),
    "one is an output": one_is_an_output,
    "two tensors": of_two_tensors,
}


@pytest.mark.parametrize("name", MERGED)
def test_those_that_are_merged_keep_float_weights(name: str) -> None:
    model = MERGED[name]()
    shape = (2, 4) if name == "linears" else SHAPE
    x = np.random.default_rng(0).normal(scale=9, size=shape).astype(np.float32)
    before = run(model, x)
    improve(model, ImproveOptions(), opset=17)
    assert float_weights(model) == {"/c0", "/c1"}
    assert [len(group) for group in siblings(GraphView(model.graph))] == [2]
    for expected, actual in zip(before, run(model, x), strict=True):
        np.testing.assert_array_equal(expected, actual)


@pytest.mark.parametrize("name", NOT_MERGED)
def test_others_have_int8_initializers(name: str) -> None:
    model = NOT_MERGED[name]()
    improve(model, ImproveOptions(), opset=17)
    assert float_weights(model) == set()


@pytest.mark.parametrize(("opset", "int8_weights"), [(19, None), (17, True)])
def test_not_for_a_newer_tensorrt_nor_where_int8_was_asked_for(
    opset: int, int8_weights: bool | None
) -> None:
    model = with_layers(pair_of())
    improve(model, ImproveOptions(int8_weights=int8_weights), opset=opset)
    assert float_weights(model) == set()


class Heads(nn.Module):
    """A backbone and three heads that read it, one of them with another kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, k, padding=k // 2), nn.ReLU(), nn.Conv2d(8, 2, 1))
            for k in (3, 3, 1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.body(x)
        return tuple(head(x) for head in self.heads)


def test_a_model_in_pytorch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = Heads().eval(), torch.randn(4, 3, 16, 16)
    quantized = trtqat.quantize(model, [images], for_="8.6").model
    options = ExportOptions((trtqat.TensorSpec("x", (1, 3, 16, 16)),))
    result = trtqat.export_onnx(quantized, tmp_path / "m.onnx", options)
    assert result.warnings == ()
    assert float_weights(read_model(tmp_path / "m.onnx")) == {
        "/heads/0/0/Conv",
        "/heads/1/0/Conv",
    }


def test_a_file_that_stores_their_codes_is_mended(tmp_path: Path) -> None:
    model = with_layers(pair_of())
    improve(model, ImproveOptions(int8_weights=True), opset=17)
    ir.save(model, tmp_path / "given.onnx")
    improve_onnx(tmp_path / "given.onnx", tmp_path / "m.onnx", ExportOptions(()))
    assert float_weights(read_model(tmp_path / "m.onnx")) == {"/c0", "/c1"}


def test_a_float_file_that_is_quantized(tmp_path: Path) -> None:
    made = Graph(SHAPE)
    for number in range(2):
        head = made.conv("x", f"c{number}", kernel=3, quantized=False)
        made.conv(made.node("Relu", [head], f"r{number}"), f"y{number}", quantized=False)
    write_float(made, tmp_path, "y0", "y1").quantized()
    assert float_weights(read_model(tmp_path / "int8.onnx")) == {"/c0", "/c1"}
