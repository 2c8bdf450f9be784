"""INT8 coverage, on what the inspector of TensorRT 8.6.0 said of real engines."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from trtqat.errors import GraphError
from trtqat.graph.lenses.macs import LayerSummary
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import (
    EngineLayer,
    EngineTensor,
    parse_layers,
    read_layers,
)
from trtqat.inspection.words import describe_coverage
from trtqat.plan.coverage import Coverage

DATA = Path(__file__).parents[2] / "data/inspector-8.6"
# Where the 3x3 convolutions and the linear layers of VGG-16 stand in its two Sequentials.
CONVOLUTIONS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
VGG = [f"/features/{at}/Conv" for at in CONVOLUTIONS]
VGG += [f"/classifier/{at}/Gemm" for at in (0, 3, 6)]


def layers(name: str) -> tuple[EngineLayer, ...]:
    return read_layers(DATA / f"{name}.json")


def graph(names: list[str], *, is_int8: bool = True) -> list[LayerSummary]:
    return [LayerSummary(name, name.rpartition("/")[2], is_int8, 1000) for name in names]


def vgg(engine: tuple[EngineLayer, ...]) -> Coverage:
    return cover(graph(VGG), engine)


def test_every_layer_of_vgg16_runs_in_int8() -> None:
    coverage = vgg(layers("vgg16"))
    assert len(coverage.wanted) == 16
    assert coverage.missed == ()
    assert coverage.int8_share == 1.0
    first = coverage.layers[0]
    assert first.fused_with == ("/features/2/Relu",)
    assert "int8" in first.tactic
    # The engine has dynamic shapes, for which the inspector tells no types of tensors.
    assert first.output_dtype == ""
    assert coverage.quantizers == ("/features/0/_input_quantizer/QuantizeLinear",)
    assert sum(name.endswith("MaxPool") for name in coverage.others) == 5


@pytest.mark.parametrize(("name", "count"), [("mobilenet", 53), ("resnet50", 54)])
def test_layers_of_other_networks_run_in_int8(name: str, count: int) -> None:
    engine = layers(name)
    nodes = {node for layer in engine for node in layer.onnx_nodes}
    names = sorted(node for node in nodes if node.endswith(("/Conv", "/Gemm")))
    coverage = cover(graph(names), engine)
    assert len(coverage.wanted) == count
    assert coverage.missed == ()
    added = [layer for layer in coverage.layers if any("Add" in n for n in layer.fused_with)]
    assert len(added) == {"mobilenet": 10, "resnet50": 16}[name]


def test_types_of_tensors_and_reformats() -> None:
    engine = layers("vgg16-behind-identity")
    assert Counter(layer.weight_dtype for layer in engine) == {"": 114, "int8": 16}
    written = Counter(tensor.dtype for layer in engine for tensor in layer.outputs)
    assert written == {"float16": 105, "int8": 21, "float32": 4}
    coverage = cover(graph(["/features/features.0/Conv"]), engine)
    assert coverage.layers[0].runs_int8
    assert coverage.layers[0].output_dtype == "int8"
    # What BatchNorms that TensorRT computes on their own cost.
    assert len(coverage.reformats) > 20


@pytest.mark.parametrize(
    ("name", "nodes", "quantizers"),
    [
        # Of any name, as those of another exporter.
        ("two-linears", ("/c0", "/y0"), ("/x.q",)),
        (
            "resnet50-static",
            (),
            (
                "/0/_input_quantizer/QuantizeLinear",
                "/19/rq/DequantizeLinear",
                "/22/_input_quantizer/QuantizeLinear",
            ),
        ),
    ],
)
def test_what_quantizes_is_no_reformat(
    name: str, nodes: tuple[str, ...], quantizers: tuple[str, ...]
) -> None:
    coverage = cover(graph(list(nodes)), layers(name))
    assert coverage.quantizers == quantizers
    assert not set(quantizers) & set(coverage.reformats)
    # An inspector that does not say what a reformat is for leaves its name.
    bare = [replace(each, origin="") for each in layers(name)]
    assert cover(graph(list(nodes)), bare).quantizers == tuple(
        each for each in quantizers if "Linear" in each
    )


def test_names_serve_where_there_is_no_metadata() -> None:
    engine = [
        EngineLayer(e.name, e.kind, (), e.inputs, e.outputs, e.weight_dtype, e.tactic)
        for e in layers("vgg16")
    ]
    assert vgg(tuple(engine)).missed == ()
    # "/features/3/Conv" is part of "/features/3/Conv_1", which is another layer.
    other = parse_layers(["/features/3/Conv_1 + /features/5/Relu"])
    assert cover(graph(["/features/3/Conv"]), other).layers[0].engine_layer == ""


def test_a_layer_that_is_not_int8_is_missed() -> None:
    content = json.loads((DATA / "vgg16.json").read_text(), strict=False)["Layers"]
    for layer in content:
        if layer["Name"].startswith("features.7.weight"):
            layer["Weights"]["Type"] = "Half"
            layer["TacticName"] = "sm80_xmma_fprop_f16f16"
    content = [layer for layer in content if not layer["Name"].startswith("features.10.weight")]
    coverage = vgg(parse_layers(content))
    reasons = {layer.name: layer.reason for layer in coverage.missed}
    assert set(reasons) == {"/features/7/Conv", "/features/10/Conv"}
    assert "sm80_xmma_fprop_f16f16" in reasons["/features/7/Conv"]
    assert all(reason.endswith("(inferred)") for reason in reasons.values())
    assert coverage.int8_share == 14 / 16
    # What the graph leaves in float is not missed.
    assert cover(graph(VGG, is_int8=False), parse_layers(content)).missed == ()


def test_products_of_activations_go_by_their_inputs() -> None:
    def product(*types: str) -> bool | None:
        inputs = [{"Name": "x", "Format/Datatype": each} for each in types]
        layer = {"Name": "/qk/MatMul", "LayerType": "MatrixMultiply", "Inputs": inputs}
        return cover(graph(["/qk/MatMul"]), parse_layers([layer])).layers[0].runs_int8

    assert product("Row major Int8 format", "Row major Int8 format") is True
    assert product("Row major Int8 format", "Row major linear FP16 format") is False
    assert product("N/A due to dynamic shapes", "N/A due to dynamic shapes") is None


def test_the_layout_of_tensorrt_11() -> None:
    layer = {
        "Name": "conv",
        "LayerType": "CaskConvolution",
        "Inputs": [{"Name": "x", "Format": "NC/32HW32", "Datatype": "INT8"}],
        "Outputs": [{"Name": "y", "Format": "NCHW", "Datatype": "Half"}],
        "Weights": {"Type": "INT8", "Count": 9},
        "Metadata": "[ONNX Layer: /conv/Conv]",
    }
    (found,) = parse_layers([layer])
    assert (found.inputs[0].dtype, found.outputs[0].dtype) == ("int8", "float16")
    assert (found.weight_dtype, found.onnx_nodes) == ("int8", ("/conv/Conv",))


def test_times_of_some_are_not_those_of_all() -> None:
    engine = layers("vgg16")
    pools = [layer.name for layer in engine if layer.name.endswith("MaxPool")]
    whole = cover(graph(VGG), engine, dict.fromkeys((layer.name for layer in engine), 0.5))
    assert "5 others (2.500 ms)" in describe_coverage(whole)
    part = cover(graph(VGG), engine, {pools[0]: 0.5})
    assert "5 others (0.500 ms for 1 of them)" in describe_coverage(part)


@pytest.mark.parametrize("between", ["", "\x1e", " ", ", "])
def test_names_may_hold_brackets(between: str) -> None:
    names = ("layers[0]/conv", "layers[1].conv", "[2]", "/relu", "a[0][1]")
    metadata = between.join(f"[ONNX Layer: {name}]" for name in names)
    (layer,) = parse_layers([{"Name": "kernel", "Metadata": metadata}])
    assert layer.onnx_nodes == names


def test_names_are_found_in_a_time_that_grows_with_the_text_alone() -> None:
    """Where each way to read it is tried, the long one takes hours."""
    for metadata, names in (
        ("[ONNX Layer: /a] of [ONNX Layer: /b]", ("/a", "/b")),
        ("[ONNX Layer: " * 100_000, ()),
        ("[ONNX Layer: /a" + "]" * 100_000, ("/a" + "]" * 99_999,)),
        ("", ()),
        ("no names]", ()),
    ):
        (layer,) = parse_layers([{"Name": "kernel", "Metadata": metadata}])
        assert layer.onnx_nodes == names


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "is not JSON"), ("[1, 2]", "no list of Layers"), ('{"Layers": 3}', "no list of Layers")],
)
def test_other_files(content: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "layers.json"
    path.write_text(content)
    with pytest.raises(GraphError, match=problem):
        read_layers(path)
    with pytest.raises(GraphError, match="no layer file"):
        read_layers(tmp_path / "none.json")


def test_an_engine_with_set_shapes_tells_the_types() -> None:
    coverage = vgg(layers("vgg16-shapes"))
    assert coverage.missed == ()
    assert [layer.output_dtype for layer in coverage.layers[:-1]] == ["int8"] * 15
    assert coverage.layers[-1].output_dtype != "int8"


def test_a_compiled_subgraph_is_told_apart() -> None:
    """8.6.0 runs a vision transformer as one layer of which it tells nothing."""
    names = ["/patches/Conv", "/blocks/0/attention/query/MatMul", "/head/Gemm"]
    patches, query, head = cover(graph(names), layers("vit")).layers
    assert patches.runs_int8 is True
    assert (query.runs_int8, head.runs_int8) == (None, None)
    assert "compiled it into a subgraph" in query.reason
    # Without such a subgraph nothing excuses a layer that no engine layer names.
    (other,) = cover(graph(["/nowhere/Conv"]), layers("vgg16")).layers
    assert "no engine layer names it" in other.reason


def test_a_share_is_the_least_where_something_is_not_known() -> None:
    engine = layers("vit")
    # What runs inside the subgraph may be INT8: half of the arithmetic is seen to be.
    hidden = cover(graph(["/patches/Conv", "/head/Gemm"]), engine)
    assert "INT8: 1 of 2 quantized layers, at least 50.0% of" in describe_coverage(hidden)
    # An INT8 layer that cannot be counted is in no share.
    patches = LayerSummary("/patches/Conv", "Conv", is_int8=True, macs=None)
    floats = LayerSummary("/head/Gemm", "Gemm", is_int8=False, macs=1000)
    uncounted = cover([patches, floats], engine)
    assert ", at least 0.0% of the arithmetic" in describe_coverage(uncounted)
    (all_of_it,) = describe_coverage(cover(graph(["/patches/Conv"]), engine)).splitlines()[:1]
    assert all_of_it == "INT8: 1 of 1 quantized layers, 100.0% of the arithmetic"


def test_times_of_engine_layers() -> None:
    engine = layers("vgg16")
    times = {layer.name: 0.5 for layer in engine}
    coverage = cover(graph(VGG), engine, times)
    assert {layer.time_ms for layer in coverage.layers} == {0.5}
    assert coverage.time_ms(coverage.quantizers) == 0.5
    assert coverage.time_ms(coverage.others) == 0.5 * len(coverage.others)
    assert vgg(engine).time_ms(coverage.others) is None


def test_a_plugin_is_no_int8_layer_whatever_it_reads() -> None:
    """What it computes nobody says: it is named, and there is no share of it."""
    codes = EngineTensor("x", "int8", "")
    plugin = EngineLayer("/twice", "PluginV3", ("/twice",), (codes,), (codes,), "int8", "")
    twice = LayerSummary("/twice", "Twice", is_int8=False, macs=None)
    coverage = cover([twice], [plugin])
    (found,) = coverage.layers
    assert (found.engine_layer, found.runs_int8) == ("/twice", None)
    assert coverage.wanted == ()
    assert coverage.not_counted == (found,)
    assert coverage.int8_share is None
