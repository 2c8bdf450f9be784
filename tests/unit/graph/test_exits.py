"""Where INT8 ends in a graph, and why."""

from __future__ import annotations

from pathlib import Path

from tests.support import models
from tests.support.graphs import Graph, batch_norm
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.graph.lenses.exits import float_exits
from trtqat.graph.lenses.macs import LayerSummary
from trtqat.graph_file.reading import read_model
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import parse_layers

SHAPE = (1, 4, 5, 5)


def chain(*, quantized: bool = True, norm: bool = False) -> Graph:
    """Two convolutions; BatchNorm and Relu between them."""
    graph = Graph(SHAPE)
    graph.conv(graph.pair("x", 0.1), "first")
    value = graph.batch_norm("first", batch_norm(4), "norm") if norm else "first"
    value = graph.node("Relu", [value], "relu")
    graph.conv(graph.pair(value, 0.1) if quantized else value, "last")
    return graph


def residual(*, skip: bool, later: bool = True) -> Graph:
    """A convolution added to the input, then another one."""
    graph = Graph(SHAPE)
    graph.conv(graph.pair("x", 0.1), "conv")
    other = graph.pair("x", 0.1, name="skip") if skip else "x"
    graph.node("Add", ["conv", other], "sum")
    graph.node("Relu", ["sum"], "relu")
    graph.conv(graph.pair("relu", 0.1) if later else "relu", "last")
    return graph


def exits(graph: Graph, *outputs: str) -> dict[str, str]:
    return float_exits(graph.model(*(outputs or ("last",))))


def test_int8_goes_on_through_batch_norm_and_activation() -> None:
    for norm in (False, True):
        assert exits(chain(norm=norm)) == {"/last": ""}


def test_the_last_layer_of_an_fp16_graph_leaves_nothing_either() -> None:
    """Its output stays FP32, by a Cast."""
    graph = chain()
    graph.node("Cast", ["last"], "out", to=1)
    assert exits(graph, "out") == {"/last": ""}
    # What reads it besides is something else.
    graph.conv("out", "more", quantized=False)
    assert "no QuantizeLinear" in exits(graph, "out", "more")["/last"]
    graph.node("Exp", ["last"], "exp")
    graph.node("Sin", ["last"], "sin")
    assert "(Cast, Exp, Sin read it)" in exits(graph, "out", "exp", "sin")["/last"]


def test_nothing_quantizes_the_output() -> None:
    found = exits(chain(quantized=False))
    assert found["/first"] == "there is no QuantizeLinear behind it (Conv reads it)"
    assert "/last" not in found  # it is not quantized itself


def test_residual_operands() -> None:
    assert exits(residual(skip=True)) == {"/last": ""}
    assert "float residual operand of '/sum'" in exits(residual(skip=False))["/conv"]
    assert "no QuantizeLinear" in exits(residual(skip=True, later=False))["/conv"]


def test_unequal_scales_and_float_readers() -> None:
    graph = chain()
    graph.conv(graph.pair("relu", 0.2, name="other"), "third")
    assert exits(graph, "last", "third")["/first"] == "it is quantized with unequal scales"
    graph = chain()
    graph.node("Softmax", ["relu"], "soft")
    assert exits(graph, "last", "soft")["/first"] == (
        "'/soft' (Softmax) reads it in floating point as well"
    )
    graph = chain()
    for index, tensor in enumerate(("first", "relu")):  # of any type
        graph.node("Shape", [tensor], f"shape{index}")
    assert exits(graph, "last", "shape0", "shape1") == {"/last": ""}


def test_of_exported_models(tmp_path: Path) -> None:

    found = {}
    for name in ("residual", "depthwise"):
        example = models.EXAMPLES[name]
        path = tmp_path / f"{name}.onnx"
        export_onnx(example.qat(), path, ExportOptions(example.inputs, exporter="torchscript"))
        found.update(float_exits(read_model(path)))
    # Only the last layer of either; behind the depthwise one's stands a mean in floating point.
    assert found == {
        "/fc/Gemm": "",
        "/layers/6/Conv": "there is no QuantizeLinear behind it (ReduceMean reads it)",
    }


def layer(name: str, written: str, *, weights: str = "Int8") -> dict[str, object]:
    return {
        "Name": name,
        "LayerType": "CaskConvolution",
        "Outputs": [{"Name": "y", "Format/Datatype": written}],
        "Weights": {"Type": weights, "Count": 9},
        "TacticName": "a kernel",
        "Metadata": f"[ONNX Layer: {name}]",
    }


def test_reasons_of_an_engine() -> None:
    names = ("/a", "/b", "/c", "/d", "/e")
    engine = parse_layers(
        [
            layer("/a", "Row major Int8 format"),
            layer("/b", "Row major linear FP16 format"),
            layer("/c", "Row major linear FP16 format"),
            layer("/d", "Row major linear FP32"),
            layer("/e", "Row major linear FP16 format", weights="Half"),
        ]
    )
    coverage = cover(
        [LayerSummary(name, "Conv", True, 1) for name in names],
        engine,
        hints={"/e": "'/e' has 3 input and 90 output channels (inferred)"},
        exits={"/a": "nothing", "/b": "there is no QuantizeLinear behind it", "/d": ""},
    )
    assert {each.name: each.reason for each in coverage.layers} == {
        "/a": "",
        "/b": "there is no QuantizeLinear behind it (inferred)",
        "/c": "TensorRT found no INT8 output that is faster (inferred)",
        "/d": "",
        "/e": "TensorRT chose a kernel: '/e' has 3 input and 90 output channels (inferred)",
    }
    assert [each.name for each in coverage.leaving] == ["/b", "/c"]
    assert [each.name for each in coverage.missed] == ["/e"]
