"""Which products of what TensorRT for RTX builds are said to be INT8: real plans, not run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import trtqat as package
from tests.support.commands import in_process
from tests.support.counted_graphs import quantized_branch
from tests.support.graphs import Graph
from tests.support.rtx_graphs import saved, two_layers_in
from trtqat.errors import GateError
from trtqat.inspection.inspected_layers import InspectedLayers
from trtqat.inspection.words import describe_coverage
from trtqat.plan.coverage import Coverage

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")

TURING = "no convolution is INT8 where sm75 (Turing) is a target"


def built(made: Graph, output: str, folder: Path) -> Coverage:
    graph = saved(made.proto(output), folder / "m.onnx")
    found = package.build(graph, folder / "m.engine", for_="rtx", targets="sm89").coverage
    assert found is not None
    return found


def image() -> Graph:
    return Graph((2, 16, 6, 6))


def weight(made: Graph, name: str) -> str:
    """A pair on 3x3 weights, with one scale for all of them."""
    random = np.random.default_rng(0)
    return made.constant(name, random.normal(size=(16, 16, 3, 3)).astype(np.float32))


@pytest.mark.parametrize("batch", [2, "N"])
def test_a_residual_sum_does_not_make_a_convolution_float(batch: int | str, tmp_path: Path) -> None:
    """With one scale for all weights its kernel adds up the float tensor itself."""
    made = image()
    made.inputs["x"] = (batch, 16, 6, 6)
    codes = made.pair(weight(made, "w"), 0.02)
    first = made.node("Conv", [made.pair("x", 0.1), codes], "first", pads=[1] * 4)
    added = made.node("Relu", [made.node("Add", [first, "x"], "added")], "relu")
    second = made.node("Conv", [made.pair(added, 0.1), codes], "second", pads=[1] * 4)
    coverage = built(made, made.node("Add", [second, added], "out"), tmp_path)
    assert all(layer.input_dtypes == ("int8", "float32") for layer in coverage.layers)
    assert coverage.missed == ()


def test_a_float_convolution_is_not_int8_by_what_it_adds(tmp_path: Path) -> None:
    made = image()
    data = made.pair("x", 0.1)
    first = made.node("Conv", ["x", weight(made, "w")], "first", pads=[1] * 4)
    (found,) = built(made, made.node("Add", [first, data], "out"), tmp_path).layers
    assert found.runs_int8 is False


def test_weights_that_are_computed_are_no_scales(tmp_path: Path) -> None:
    made = image()
    made.inputs["y"] = (16, 16, 3, 3)
    output = made.node("Conv", [made.pair("x", 0.1), made.pair("y", 0.1)], "out", pads=[1] * 4)
    (found,) = built(made, output, tmp_path).layers
    assert (found.input_dtypes, found.weight_dtype) == (("int8", "int8"), "")
    assert found.runs_int8 is True


def transposed() -> Graph:
    """One quantized transposed convolution, the last layer."""
    made = image()
    random = np.random.default_rng(0)
    name = made.constant("w", random.normal(size=(16, 16, 2, 2)).astype(np.float32))
    codes = made.pair(name, np.full(16, 0.02), 1)
    made.node("ConvTranspose", [made.pair("x", 0.1), codes], "up", strides=[2, 2])
    return made


def test_a_transposed_convolution_in_half_has_no_kernel_yet(tmp_path: Path) -> None:
    """It is fused with the Cast behind it where the plan is loaded, so nothing chose a kernel."""
    graph = saved(transposed().proto("up"), tmp_path / "m.onnx")
    half = tmp_path / "half.onnx"
    package.export(graph, half, precision="fp16", opset=19)
    built = package.build(half, tmp_path / "m.engine", for_="rtx", targets="sm89")
    assert built.coverage is not None
    assert built.manifest.coverage == built.coverage
    assert not built.coverage.has_kernels
    (missed,) = built.coverage.missed
    assert missed.reason == (
        "in the plan it reads float16, float16: TensorRT for RTX has no INT8 transposed "
        "convolution (inferred)"
    )
    assert describe_coverage(built.coverage).endswith(
        "besides: 3 other layers of the plan\n"
        "built and inspected, not run: the GPU that loads the plan compiles its kernels"
    )


def test_a_convolution_for_turing_has_no_kernel_that_was_chosen(tmp_path: Path) -> None:
    graph, half = two_layers_in(tmp_path), tmp_path / "half.onnx"
    package.export(graph, half, precision="fp16", opset=19)
    found = package.build(half, tmp_path / "m.engine", for_="rtx", targets="sm75").coverage
    assert found is not None
    assert [layer.reason for layer in found.missed] == [
        f"in the plan it reads float16, float16: {TURING}"
    ] * 2


def test_channels_are_no_reason_on_turing(tmp_path: Path) -> None:
    """Elsewhere a convolution of as many channels is INT8."""
    made = Graph((2, 3, 6, 6))
    made.conv(made.pair("x", 0.1), "first", (24, 3), kernel=3)
    graph = saved(made.proto("first"), tmp_path / "m.onnx")
    reasons = []
    for target in ("sm75", "sm89"):
        found = package.build(graph, tmp_path / "m.engine", for_="rtx", targets=target).coverage
        assert found is not None
        reasons.append([layer.reason for layer in found.missed])
    assert reasons == [
        [f"in the plan it reads float32, float32: {TURING}"],
        [],
    ]


def test_a_quantized_layer_in_a_branch_is_not_counted_as_int8(tmp_path: Path) -> None:
    """What TensorRT runs inside has names of its own."""
    graph = saved(quantized_branch().proto("z"), tmp_path / "m.onnx")
    result = package.build(graph, tmp_path / "m.engine", for_="rtx", batch=1)
    assert result.qdq_pairs == 4
    result.write_layers(tmp_path / "layers.json")
    inspected = package.inspect(tmp_path / "layers.json", graph=graph)
    assert isinstance(inspected, InspectedLayers)
    for found in (result, inspected):
        assert found.coverage is not None
        assert describe_coverage(found.coverage).startswith(
            "INT8: 1 of 2 quantized layers, at least 50.0% of the arithmetic: inputs and weights "
            "are INT8 in the built plan\n"
            "  /z is not seen in INT8: what it runs inside, first '/inner', is not counted as "
            "INT8\n"
        )
        with pytest.raises(GateError, match="1 of 2 quantized layers are not seen in INT8"):
            found.check_int8()


def test_a_transposed_output_is_written_in_fp32_by_an_fp16_graph_too(tmp_path: Path) -> None:
    assert built(transposed(), "up", tmp_path).costs == ()


def single_query() -> Graph:
    """Attention of one query, as that of a class token."""
    made = Graph((2, 4, 8, 16))
    made.inputs["query"] = (2, 4, 1, 16)
    tokens = made.pair("x", 0.1)
    keys = made.node("Transpose", [tokens], "keys", perm=[0, 1, 3, 2])
    made.node("MatMul", [made.pair("query", 0.1), keys], "scores")
    weights = made.pair(made.node("Softmax", ["scores"], "softmax", axis=-1), 1 / 127)
    made.node("MatMul", [weights, tokens], "y")
    return made


def test_products_of_one_float_kernel_are_int8_in_an_fp16_graph(tmp_path: Path) -> None:
    """So the gate says it, not to look for a fault of the graph, which has none."""
    graph = saved(single_query().proto("y"), tmp_path / "m.onnx")
    asked = ("--for", "rtx", "--require-int8", "-o", "m.engine")
    done = in_process(tmp_path, "build", graph, *asked)
    assert done.returncode == 3
    assert "2 of 2 quantized layers are not seen in INT8, first '/scores'" in done.stderr
    assert "One kernel that reads float32 runs '/scores' with other products." in done.stderr
    assert "trtqat lint" not in done.stderr
    named = "trtqat export --precision fp16 --opset 19"
    assert named in done.stderr
    options = named.removeprefix("trtqat export ").split()
    assert in_process(tmp_path, "export", graph, *options, "-o", "half.onnx").returncode == 0
    assert in_process(tmp_path, "build", "half.onnx", *asked).returncode == 0


def test_a_layer_that_is_float_by_itself_sends_to_lint(tmp_path: Path) -> None:
    graph = saved(transposed().proto("up"), tmp_path / "m.onnx")
    asked = ("--for", "rtx", "--require-int8", "-o", "m.engine")
    done = in_process(tmp_path, "build", graph, *asked)
    assert done.returncode == 3
    assert f"is found by: trtqat lint {graph} --for rtx" in done.stderr
    assert "fp16" not in done.stderr


def test_a_plan_without_products_has_no_kernels_either(tmp_path: Path) -> None:
    made = image()
    graph = saved(made.proto(made.node("Relu", [made.pair("x", 0.1)], "relu")), tmp_path / "m.onnx")
    result = package.build(graph, tmp_path / "m.engine", for_="rtx", targets="sm89")
    found = result.coverage
    assert found is not None
    assert not found.has_kernels
    assert describe_coverage(found) == (
        "INT8: 0 of 0 layers, as the graph quantizes none\n"
        "besides: 1 other layer of the plan\n"
        "built and inspected, not run: the GPU that loads the plan compiles its kernels"
    )
    # Its one kernel quantizes, too, which its file of layers does not tell.
    layers = tmp_path / "layers.json"
    result.write_layers(layers)
    said = package.inspect(layers, graph=graph).describe()
    assert said.endswith("as the graph quantizes none\nbesides: 1 other")
