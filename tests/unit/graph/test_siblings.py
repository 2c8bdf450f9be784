"""Equal convolutions of one tensor keep float weights for TensorRT 8.6, which merges them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

import trtqat
from tests.support.float_graphs import write_float
from tests.support.graphs import Graph, run
from tests.support.sibling_graphs import MERGED, NOT_MERGED, SHAPE, pair_of, shape_of, with_layers
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lenses.pairs import DEQUANTIZE, producer_of, quantizer_of
from trtqat.graph.lenses.siblings import siblings
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.graph_file.reading import read_model


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


@pytest.mark.parametrize("name", MERGED)
def test_those_that_are_merged_keep_float_weights(name: str) -> None:
    model = MERGED[name]()
    x = np.random.default_rng(0).normal(scale=9, size=shape_of(name)).astype(np.float32)
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
