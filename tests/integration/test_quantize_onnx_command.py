"""``trtqat quantize model.onnx``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.commands import in_process
from tests.support.float_graphs import FloatFile, with_data, write_float
from tests.support.graphs import Graph
from trtqat.errors import SourceError, UsageError
from trtqat.exporting.source import ModelSource
from trtqat.search.quantizing import quantize_source

pytestmark = pytest.mark.usefixtures("one_thread")


def net() -> Graph:
    graph = Graph(("N", 8, 6, 6))  # type: ignore[arg-type]
    graph.conv("x", "a", (8, 8), quantized=False)
    graph.conv(graph.node("Relu", ["a"], "r"), "b", (8, 8), kernel=3, quantized=False)
    graph.node("Add", ["b", "r"], "sum")
    graph.conv("sum", "c", (8, 8), quantized=False)
    graph.node("Flatten", [graph.node("GlobalAveragePool", ["c"], "pooled")], "y")
    return graph


@pytest.fixture
def file(tmp_path: Path) -> FloatFile:
    return write_float(net(), tmp_path, "y")


def command(file: FloatFile, *arguments: object, output: object = "int8.onnx") -> Any:
    given = () if "--data" in arguments else ("--data", "npz:data.npz")
    return in_process(file.graph.parent, "quantize", "float.onnx", *given, "-o", output, *arguments)


def test_prints_what_was_done_and_what_is_next(file: FloatFile) -> None:
    done = command(file, "--images", 24, "--json", "found.json")
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "int8.onnx: float.onnx with 6 quantizers, " in said
    assert "3 of 3 layers in INT8, 100 % of the MACs; ranges by auto on 24 images" in said
    assert "what the quantizers saw, the worst 6 of 6" in said
    assert "the outputs against the float graph's, on 16 samples held out" in said
    assert said.rstrip().endswith(
        "next: trtqat build int8.onnx -o int8.engine\n"
        "then, on labelled data that it has not seen: "
        "trtqat eval int8.engine --data SPEC --baseline float.onnx"
    )
    assert "warning" not in done.stderr
    found = json.loads((file.graph.parent / "found.json").read_text())
    assert [each["name"] for each in found["layers"]] == ["/a", "/b", "/c"]
    assert found["layers"][1]["macs"] == 8 * 8 * 9 * 36
    assert found["int8_share"] == 1
    assert found["outputs"][0]["name"] == "y"
    assert {each["method"] for each in found["ranges"]} <= {"max", "mse", "percentile", "entropy"}


@pytest.mark.parametrize(
    ("batch", "options"), [("N", ()), (4, ()), (1, ()), ("N", ("--input", "x:1x8x6x6"))]
)
def test_what_is_next_for_a_graph_with_open_sizes(
    batch: int | str, options: tuple[str, ...], tmp_path: Path
) -> None:
    graph = net()
    graph.shape = (batch, 8, "H", "W")  # type: ignore[assignment]
    path = tmp_path / "float.onnx"
    onnx.save(graph.proto("y"), str(path))
    file = with_data(path, {"x": np.ones((8, 8, 6, 6), np.float32)})
    done = command(file, "--images", 4, "--for", "rtx", *options)
    assert done.returncode == 0, done.stderr
    lead, _, line = done.stdout.splitlines()[-2].partition(": trtqat ")
    assert lead == ("next" if options else "next, with a size for each ?")
    assert line.endswith(" --for rtx")
    built = in_process(tmp_path, *shlex.split(line.replace("x?", "x6")))
    assert built.returncode == 0, built.stderr


def test_the_file_is_built_inspected_and_evaluated(file: FloatFile) -> None:
    folder = file.graph.parent
    assert command(file, "--images", 24).returncode == 0
    built = in_process(
        folder, "build", "int8.onnx", "-o", "int8.engine", "--for", "rtx", "--require-int8"
    )
    assert built.returncode == 0, built.stderr
    assert "INT8: 3 of 3 quantized layers" in built.stdout
    manifest = json.loads((folder / "int8.engine.json").read_text())
    assert manifest["provenance"]["calibration"]["images"] == 24
    inspected = in_process(folder, "lint", "int8.onnx", "--strict")
    assert inspected.returncode == 0, inspected.stdout
    labels = np.zeros(40, np.int64)
    np.savez(folder / "test.npz", labels=labels, x=file.arrays["x"])
    words = ("--data", "npz:test.npz", "--baseline", "float.onnx")
    evaluated = in_process(folder, "eval", "int8.onnx", *words, "--duration", 0)
    assert evaluated.returncode == 0, evaluated.stderr


def test_an_unknown_share_is_said_so(tmp_path: Path) -> None:
    graph = net()
    graph.nodes[-1] = helper.make_node("Flatten", ["noise"], ["y"], name="/y")
    graph.nodes.insert(
        -1, helper.make_node("DFT", ["spectrum"], ["noise"], name="/noise", axis=1, onesided=0)
    )
    axes = graph.constant("axes", np.array([3], np.int64))
    graph.nodes.insert(
        -2, helper.make_node("Unsqueeze", ["flat", axes], ["spectrum"], name="/spectrum")
    )
    two = graph.constant("two", np.array([3], np.int64))
    graph.nodes.insert(-3, helper.make_node("Squeeze", ["pooled", two], ["flat"], name="/flat"))
    done = command(write_float(graph, tmp_path, "y"), "--images", 8)
    assert done.returncode == 0, done.stderr
    assert "3 of 4 layers in INT8, an unknown share of the MACs" in done.stdout
    assert "How much these multiply is not known: /noise." in done.stderr
    assert (
        "in floating point, it multiplies in a way that takes no quantizer: /noise" in done.stdout
    )


REFUSED: tuple[tuple[tuple[object, ...], str, str], ...] = (
    (("--checkpoint", "data.npz"), "checkpoint is for PyTorch models", "Leave out checkpoint"),
    (("--factory-arg", "width=2"), "factory_args is for PyTorch models", "Leave out factory_args"),
    (("--sensitivity",), "for which no layer is searched", "--keep"),
    (
        ("--eval-data", "npz:data.npz", "--max-accuracy-drop", 1),
        "for which no layer is searched",
        "of both graphs by trtqat eval",
    ),
    (("--keep", "zz"), "'zz' matches no layer", "/a, /b, /c"),
    (("--keep", "*"), "no layer that would be quantized, of 3", "fewer of them"),
    (("--input", "z:1x8x6x6"), "has no input 'z'", "Use those names"),
    (("--data", "npz:none.npz"), "none.npz", ""),
    (("--data", "nowhere"), "names no kind of data", "npz:FILE"),
)


@pytest.mark.parametrize(("arguments", "problem", "remedy"), REFUSED)
def test_what_is_refused_is_two_sentences(
    file: FloatFile, arguments: tuple[object, ...], problem: str, remedy: str
) -> None:
    done = command(file, *arguments)
    assert done.returncode == 2, done.stderr
    assert problem in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert not (file.graph.parent / "int8.onnx").exists()


def test_outputs_that_are_refused(file: FloatFile) -> None:
    for output, problem in (
        ("int8.pt", "is an ONNX graph, so the output is one, and 'int8.pt' is not named so"),
        ("float.onnx", "would overwrite an input"),
        ("none/int8.onnx", "does not exist"),
    ):
        before = file.graph.read_bytes()
        done = command(file, output=output)
        assert done.returncode == 2
        assert problem in done.stderr
        assert file.graph.read_bytes() == before


def test_a_graph_is_no_model_source(file: FloatFile) -> None:
    output = file.graph.with_name("int8.onnx")
    with pytest.raises(SourceError, match="is an ONNX graph, and no source") as raised:
        quantize_source(ModelSource(str(file.graph)), output, data=file.data)
    assert "quantize_source('model.onnx'" in raised.value.remedy
    with pytest.raises(UsageError, match="device is for PyTorch models"):
        quantize_source(file.graph, output, data=file.data, device="cpu")
    with pytest.raises(UsageError, match="ema is for PyTorch models"):
        quantize_source(file.graph, output, data=file.data, ema=False)


def _pair(graph: onnx.ModelProto) -> None:
    graph.graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [], [0.1]))
    graph.graph.node[0].input[0] = "dq"
    graph.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "s"], ["dq"], name="d"))
    graph.graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="q"))


def _integer(graph: onnx.ModelProto) -> None:
    graph.graph.node.insert(
        0, helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic")
    )


def _half(graph: onnx.ModelProto) -> None:
    graph.graph.node.append(helper.make_node("Cast", ["y"], ["h"], name="cast", to=10))
    graph.graph.output.append(helper.make_tensor_value_info("h", TensorProto.FLOAT16, None))


def _nan(graph: onnx.ModelProto) -> None:
    weight = graph.graph.initializer[0]
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] = np.nan
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))


@pytest.mark.parametrize(
    ("change", "problem", "remedy"),
    [
        (_pair, "is quantized already: 'q' is QuantizeLinear", "trtqat export"),
        (_integer, "is quantized already: 'dynamic' is DynamicQuantizeLinear", "float graph"),
        (_half, "computes in FLOAT16, as 'h'", "Export the model in FP32"),
        (_nan, "weights that are no numbers", "checkpoint from before"),
    ],
)
def test_graphs_that_are_refused(
    file: FloatFile, change: Callable[[onnx.ModelProto], None], problem: str, remedy: str
) -> None:
    proto = onnx.load(str(file.graph))
    change(proto)
    onnx.save(proto, str(file.graph))
    done = command(file)
    assert done.returncode == 2, done.stdout
    assert problem in done.stderr
    assert remedy in done.stderr
    assert not (file.graph.parent / "int8.onnx").exists()


def test_what_is_no_graph_is_refused(file: FloatFile) -> None:
    file.graph.write_bytes(b"no graph")
    done = command(file)
    assert done.returncode == 2
    assert "is not an ONNX file" in done.stderr
    file.graph.unlink()
    done = command(file)
    assert done.returncode == 2
    assert "There is no ONNX file 'float.onnx'" in done.stderr


def test_nodes_of_one_name_are_told(file: FloatFile) -> None:
    proto = onnx.load(str(file.graph))
    for node in proto.graph.node[:2]:
        node.name = "conv"
    onnx.save(proto, str(file.graph))
    done = command(file)
    assert done.returncode == 2
    assert "two nodes with same node name (conv)" in done.stderr
    assert "Give each node a name of its own" in done.stderr


def test_a_detector_whose_nms_is_a_plugin(tmp_path: Path) -> None:
    graph = net()
    graph.node("Neg", ["y"], "scores")
    graph.node("EfficientNMS_TRT", ["sum", "scores"], "count", "boxes", max_output_boxes=4)
    path = tmp_path / "float.onnx"
    proto = graph.proto("scores", "count", "boxes")
    for output, kind in zip(proto.graph.output, (1, 6, 1), strict=True):
        output.type.tensor_type.elem_type = kind
    onnx.save(proto, str(path))
    file = with_data(path, {"x": np.random.default_rng(0).normal(size=(40, 8, 6, 6))})
    done = command(file, "--images", 24, "--json", "found.json")
    assert done.returncode == 0, done.stderr
    assert "does not run '/count' (EfficientNMS_TRT): what these read is compared" in done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    names = ["scores", "/count.input_0", "/count.input_1"]
    assert [each["name"] for each in found["outputs"]] == names
    assert all(each["sqnr_db"] > 25 for each in found["outputs"])
    assert {each["name"] for each in found["layers"] if not each["kept"]} == {"/a", "/b", "/c"}
    written = onnx.load(str(tmp_path / "int8.onnx")).graph
    (plugin,) = (node for node in written.node if node.op_type == "EfficientNMS_TRT")
    # It reads floats, as before.
    assert list(plugin.input) == ["sum", "scores"]
    assert [each.name for each in written.output] == ["scores", "count", "boxes"]


def test_a_layer_behind_a_plugin_says_why_it_is_float(tmp_path: Path) -> None:
    graph = net()
    graph.node("Decode_TRT", ["y"], "decoded")
    graph.conv("decoded", "last", (8, 8), quantized=False)
    path = tmp_path / "float.onnx"
    onnx.save(graph.proto("last"), str(path))
    file = with_data(path, {"x": np.random.default_rng(0).normal(size=(40, 8, 6, 6))})
    done = command(file, "--images", 24)
    assert done.returncode == 0, done.stderr
    assert "it reads what a plugin computes, which did not run: /last" in done.stdout


def test_a_plugin_at_the_inputs_leaves_nothing_to_calibrate(tmp_path: Path) -> None:
    graph = Graph(("N", 8, 6, 6))  # type: ignore[arg-type]
    graph.node("Decode_TRT", ["x"], "decoded")
    graph.conv("decoded", "y", (8, 8), quantized=False)
    path = tmp_path / "float.onnx"
    onnx.save(graph.proto("y"), str(path))
    file = with_data(path, {"x": np.zeros((4, 8, 6, 6))})
    done = command(file)
    assert done.returncode == 2, done.stdout
    assert "reads the graph's inputs" in done.stderr
    assert "Give the graph without it." in done.stderr


def without_rank(path: Path) -> None:
    """Takes the shapes of inputs, and all that follow from them, out of a file."""
    proto = onnx.load(str(path))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    onnx.save(proto, path)


def input_dims(path: Path) -> list[int]:
    """Of the only input, 0 where one is open."""
    (value,) = onnx.load(str(path)).graph.input
    return [each.dim_value for each in value.type.tensor_type.shape.dim]


def test_an_input_without_a_rank_has_the_one_that_was_given(tmp_path: Path) -> None:
    """A builder, and an evaluation, know no other."""
    file = write_float(net(), tmp_path, "y")
    without_rank(file.graph)
    done = command(file, "--input", "x:1x8x6x6")
    assert done.returncode == 0, done.stderr
    assert input_dims(tmp_path / "int8.onnx") == [0, 8, 6, 6]
    without_rank(tmp_path / "int8.onnx")
    words = ("export", "int8.onnx", "--input", "x:1x8x6x6", "-o", "again.onnx")
    done = in_process(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert input_dims(tmp_path / "again.onnx") == [0, 8, 6, 6]
