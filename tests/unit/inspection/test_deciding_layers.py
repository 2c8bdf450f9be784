"""Which of the engine layers that name a node decides whether it is INT8."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trtqat.graph.lenses.macs import LayerSummary
from trtqat.inspection.builder_log import read_layer_list
from trtqat.inspection.coverage import cover
from trtqat.inspection.inspector import parse_information, parse_layers, read_layers

DATA = Path(__file__).parents[2] / "data/inspector-8.6"


def graph(names: list[str]) -> list[LayerSummary]:
    return [LayerSummary(name, name.rpartition("/")[2], is_int8=True, macs=1000) for name in names]


def test_what_shapes_the_output_of_a_linear_layer_is_not_that_layer() -> None:
    """A NoOp, ``reshape_after_/y0``, names the Gemm as well, and reads what that one wrote."""
    content = json.loads((DATA / "two-linears.json").read_text())["Layers"]
    linears = [LayerSummary(name, "Gemm", True, 4096) for name in ("/c0", "/y0")]
    coverage = cover(linears, parse_layers(content))
    assert coverage.missed == ()
    assert [each.engine_layer for each in coverage.layers] == [
        "c0.weight.codes + transpose_before_/c0 + /c0",
        "y0.weight.codes + transpose_before_/y0 + /y0",
    ]
    assert coverage.layers[1].output_dtype == "float32"
    kernel, shaped = (
        next(each for each in content if each["Name"].startswith(name))
        for name in ("y0.weight", "reshape_after_")
    )
    kernel["Weights"]["Type"] = "Half"
    shaped["Inputs"][0]["Format/Datatype"] = "Row major Int8 format"
    (missed,) = cover(linears, parse_layers(content)).missed
    assert missed.name == "/y0"


@pytest.mark.parametrize("weights", ["E4M3", "Int4", "FP4"])
def test_weights_of_a_type_that_nobody_knows_are_not_int8(weights: str) -> None:
    content = json.loads((DATA / "two-linears.json").read_text())["Layers"]
    linears = [LayerSummary(name, "Gemm", True, 4096) for name in ("/c0", "/y0")]
    kernel = next(each for each in content if each["Name"].startswith("y0.weight"))
    kernel["Weights"]["Type"] = weights
    (missed,) = cover(linears, parse_layers(content)).missed
    assert (missed.name, missed.runs_int8, missed.weight_dtype) == ("/y0", False, weights.lower())


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_layer_that_reads_floats_is_not_int8_whatever_its_weights_are(dtype: str) -> None:
    """Its data come first; what is added to a product may be floats."""
    engine = read_layers(DATA / "resnet50-static.json")
    sums = [each for each in engine if each.weight_dtype and len(each.inputs) > 1]
    nodes = [node for each in sums for node in each.onnx_nodes if "Conv" in node]
    assert nodes

    def missed(number: int) -> int:
        changed = []
        for layer in engine:
            inputs = list(layer.inputs)
            if layer in sums:
                inputs[number] = replace(inputs[number], dtype=dtype)
            changed.append(replace(layer, inputs=tuple(inputs)))
        return len(cover(graph(nodes), changed).missed)

    assert missed(1) == 0
    assert missed(0) == len(nodes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("reshape_after_/qk/MatMul", "NoOp"),
        ("Reformatting CopyNode for Output Tensor 0 to /scale + /qk/MatMul", "Reformat"),
        ("Reformatting CopyNode for Output Tensor 0 to /scale + /qk/MatMul", ""),
        ("shuffle_between_/qk/MatMul_and_/out", "Shuffle"),
    ],
)
@pytest.mark.parametrize("reads", ["Int8", "FP16"])
def test_what_only_moves_an_output_says_nothing_of_its_product(
    name: str, kind: str, reads: str
) -> None:
    """Without weights nothing else tells a MatMul from what stands behind it."""
    node = "" if name.startswith("Reformatting") else "[ONNX Layer: /qk/MatMul]"
    moved = {
        "Name": name,
        "LayerType": kind,
        "Inputs": [{"Name": "y", "Format/Datatype": f"Row major {reads} format"}],
        "Metadata": node,
    }
    other = "FP16" if reads == "Int8" else "Int8"
    product = {
        "Name": "/qk/MatMul",
        "LayerType": "MatrixMultiply",
        "Inputs": [{"Name": "x", "Format/Datatype": f"Row major {other} format"}] * 2,
        "Metadata": "[ONNX Layer: /qk/MatMul]",
    }
    (found,) = cover(graph(["/qk/MatMul"]), parse_layers([product, moved])).layers
    assert (found.engine_layer, found.runs_int8) == ("/qk/MatMul", other == "Int8")
    # A compiled subgraph runs the product, say.
    (found,) = cover(graph(["/qk/MatMul"]), parse_layers([moved])).layers
    assert (found.engine_layer, found.runs_int8) == ("", None)


def test_the_kernel_that_is_not_int8_is_told() -> None:
    """Of two products that name one node the second decides, so its types are the reason."""
    codes = {"Name": "x", "Datatype": "Int8"}
    halves = {"Name": "y", "Datatype": "Half"}
    engine = [
        {"Name": name, "LayerType": "gemm", "Inputs": inputs, "Metadata": "[ONNX Layer: /m]"}
        for name, inputs in (("/m_0", [codes, codes]), ("/m_1", [codes, halves]))
    ]
    (found,) = cover(
        [LayerSummary("/m", "MatMul", is_int8=True, macs=1000)],
        parse_layers(engine),
        {"/m_0": 1.0, "/m_1": 2.0},
    ).layers
    assert (found.runs_int8, found.engine_layer, found.time_ms) == (False, "/m_1", 2.0)
    assert found.reason == "in the plan it reads int8, float16"


@pytest.mark.parametrize("dequantizers", [(), ("/dq",)])
@pytest.mark.parametrize(
    ("weights", "is_int8"), [("", True), ("Int8", True), ("Half", False), ("E4M3", False)]
)
def test_inputs_of_codes_do_not_make_weights_int8(
    weights: str, is_int8: bool, dequantizers: tuple[str, ...]
) -> None:
    """However many a kernel reads: of a convolution the second one is added to the product."""
    kernel: dict[str, object] = {
        "Name": "/c",
        "LayerType": "correlation",
        "Inputs": [{"Name": name, "Datatype": "Int8"} for name in ("x", "y")],
        "Metadata": "[ONNX Layer: /c]",
    }
    if weights:
        kernel["Weights"] = {"Type": weights, "Count": 9}
    layer = LayerSummary("/c", "Conv", is_int8=True, macs=1000, dequantizers=dequantizers)
    assert cover([layer], parse_layers([kernel])).layers[0].runs_int8 is is_int8


@pytest.mark.parametrize("kernels", [1, 2])
def test_kernels_that_are_fewer_than_the_nodes_of_their_name_are_none_of_these(
    kernels: int,
) -> None:
    """The other node may have become anything; two INT8 kernels are both nodes."""
    codes = [{"Name": name, "Datatype": "Int8"} for name in ("x", "y")]
    engine = [
        {"Name": f"/a_{at}", "LayerType": "gemm", "Inputs": codes, "Metadata": "[ONNX Layer: /a]"}
        for at in range(kernels)
    ]
    nodes = [LayerSummary(name, "MatMul", True, 1000, other_name="/a") for name in ("/0", "/1")]
    coverage = cover(nodes, parse_layers(engine))
    assert [layer.runs_int8 for layer in coverage.layers] == [True if kernels == 2 else None] * 2
    assert len(coverage.missed) == 2 * (kernels == 1)


def test_a_product_that_casts_its_codes_is_not_int8() -> None:
    """TensorRT for RTX reads codes there, and multiplies floats: no kind of layer says so.

    ``/a`` has a scale for each of its inputs, ``/b`` a float weight and a bias behind it.
    """
    text = (DATA.with_name("rtx-1.7") / "layers-casting.txt").read_text()
    engine = parse_information(read_layer_list(text), "casting")
    linears = [
        LayerSummary("/a", "MatMul", is_int8=True, macs=256),
        LayerSummary("/b", "Gemm", is_int8=False, macs=256),
        LayerSummary("/c", "MatMul", is_int8=True, macs=256),
    ]
    coverage = cover(linears, engine)
    assert [layer.runs_int8 for layer in coverage.layers] == [False, False, True]
    assert [layer.engine_layer for layer in coverage.layers] == [
        "__myl_CastMulCastCastMulFc_myl0_1",
        "__myl_CastMulFc_myl0_3",
        "/c_myl0_5",
    ]
    assert coverage.int8_share == 1 / 3
    (missed,) = coverage.missed
    what = "in the plan its codes become floats before they are multiplied"
    assert missed.reason == f"{what} (inferred)"
    (missed,) = cover(linears, engine, hints={"/a": "it is known why"}).missed
    assert missed.reason == f"{what}: it is known why"
    # What is compiled only where the plan is loaded is no kernel yet.
    assert not cover(linears[:2], engine[:-1]).has_kernels
    # Of one that casts nothing first, the list does not say in which type it multiplies.
    other = replace(engine[1], name="__myl_FcAdd_myl0_1")
    assert cover(linears[:1], [other]).layers[0].runs_int8 is None
    floats = replace(other, inputs=(replace(other.inputs[0], dtype="float32"),))
    assert cover(linears[:1], [floats]).layers[0].runs_int8 is False


@pytest.mark.parametrize("reads", ["Int8", "FP16"])
@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("{ForeignNode[/a/MatMul.../b/Gemm]}", "[ONNX Layer: /a/MatMul]\x1e[ONNX Layer: /b/Gemm]"),
        ("{ForeignNode[a.weight + /a/MatMul + /r...b.weight + /b/Gemm + /s]}", ""),
    ],
)
def test_the_input_of_a_compiled_subgraph_is_not_that_of_its_layers(
    name: str, metadata: str, reads: str
) -> None:
    tensor = {"Name": "x", "Format/Datatype": f"Row major {reads} format"}
    subgraph = {"Name": name, "LayerType": "Myelin", "Inputs": [tensor], "Metadata": metadata}
    coverage = cover(graph(["/a/MatMul", "/b/Gemm"]), parse_layers([subgraph]))
    assert [layer.runs_int8 for layer in coverage.layers] == [None, None]
    assert len(coverage.missed) == 2
