"""The command lines that ``lint --for`` gives, typed as they are."""

from __future__ import annotations

import shlex
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

import trtqat as package
from tests.support.commands import in_process
from tests.support.graphs import Graph
from tests.support.lint_cases import CASES
from tests.support.user_folder import fill_folder
from trtqat.plan.header import Target

EXPORT = "export model.py:fp32 --checkpoint int8.pt --input images:1x3x224x224"
PIXELS = "--pixels images:nhwc --mean=-0.1,0.456,0.406 --std=0.229,0.224,0.225 --scale=128.0 --bgr"
QUANTIZE = "quantize model.py:fp32 --checkpoint fp32.pt --data npz:train.npz -o int8.pt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model quantized, and exported in FP32, in FP16, with inputs that are codes, and bytes."""
    path = tmp_path_factory.mktemp("again")
    fill_folder(path)
    for line in (
        QUANTIZE,
        f"{EXPORT} -o full.onnx",
        f"{EXPORT} --precision fp16 --opset 19 -o half.onnx",
        f"{EXPORT} --quantized-input -o codes.onnx",
        f"{EXPORT} {PIXELS} --precision fp16 --opset 19 --for rtx -o bytes.onnx",
    ):
        done = in_process(path, *shlex.split(line))
        assert done.returncode == 0, (line, done.stderr)
    return path


def type_again(folder: Path, name: str, target: Target) -> str:
    """Types what lint gives, asks again, and returns the command."""
    found = package.lint(folder / name, target).again
    assert found is not None
    program, *words = shlex.split(found.command)
    assert program == "trtqat"
    done = in_process(folder, *words)
    assert done.returncode == 0, (found.command, done.stderr)
    written = folder / words[words.index("-o") + 1]
    assert package.lint(written, target).again is None
    return found.command.replace(f"{folder}/", "")


def test_a_graph_that_needs_nothing(folder: Path) -> None:
    for name, target in (("full.onnx", "8.6"), ("full.onnx", "10"), ("half.onnx", "11")):
        assert package.lint(folder / name, target).again is None  # type: ignore[arg-type]
    assert package.lint(folder / "full.onnx").again is None


def test_an_fp32_graph_for_tensorrt_11(folder: Path) -> None:
    command = type_again(folder, "full.onnx", "11")
    expected = "trtqat export full.onnx --precision fp16 --opset 19 -o full-11.onnx"
    assert command == expected
    shown = in_process(folder, "lint", "full.onnx", "--for", "11", "--strict")
    assert shown.returncode == 0
    assert f"what is not INT8 runs in FP32.\n  {expected}\n" in shown.stdout


def test_an_fp16_graph_for_tensorrt_8_6_is_exported_from_its_model(folder: Path) -> None:
    again = package.lint(folder / "half.onnx", "8.6").again
    assert again is not None
    assert "TensorRT 8.6 refuses it: opset-not-read" in again.why
    assert "names these files without their directories" in again.note
    assert type_again(folder, "half.onnx", "8.6") == f"trtqat {EXPORT} --opset 17 -o half-8.6.onnx"


def test_codes_cannot_be_fp16(folder: Path) -> None:
    command = type_again(folder, "codes.onnx", "11")
    assert command == f"trtqat {EXPORT} --precision fp16 --opset 19 -o codes-11.onnx"


def test_bytes_are_bytes_again(folder: Path) -> None:
    command = type_again(folder, "bytes.onnx", "8.6")
    assert command == f"trtqat {EXPORT} {PIXELS} --opset 17 -o bytes-8.6.onnx"
    given, again = (ir.load(folder / name) for name in ("bytes.onnx", "bytes-8.6.onnx"))
    assert given.graph.inputs[0].shape == again.graph.inputs[0].shape
    assert given.graph.inputs[0].dtype == again.graph.inputs[0].dtype


def test_a_graph_without_pairs_is_quantized(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": {opset}]>
        agraph (float[N, 3] images) => (float[N, 3] y)
        <float[3, 3] w = {{1, 0, 0, 0, 1, 0, 0, 0, 1}}> {{ y = MatMul(images, w) }}"""
    file = tmp_path / "float.onnx"
    ir.save(ir.from_onnx_text(text.format(opset=17)), file)
    # It runs as it is; that it is not quantized is a finding.
    assert package.lint(file, "11").again is None
    ir.save(ir.from_onnx_text(text.format(opset=19)), file)
    again = package.lint(file, "8.6").again
    assert again is not None
    assert str(again).startswith("Quantize it: it has no Q/DQ pairs. TensorRT 8.6 refuses it")
    output = tmp_path / "float-8.6.onnx"
    assert again.command == f"trtqat quantize {file} --data SPEC --for 8.6 -o {output}"
    assert "as npz:train.npz" in again.note


@pytest.mark.parametrize("rule", ["int8-weight-of-matmul", "int8-weight-behind-bytes"])
def test_what_the_passes_mend_is_exported_from_the_graph(tmp_path: Path, rule: str) -> None:
    case = next(case for case in CASES if case.rule == rule)
    ir.save(case.faulty(), tmp_path / "product.onnx")
    command = type_again(tmp_path, "product.onnx", "8.6")
    assert command == "trtqat export product.onnx --opset 17 -o product-8.6.onnx"


def test_sizes_that_the_graph_leaves_open_are_asked_for(tmp_path: Path) -> None:
    """Without --input an export cannot run such a graph; a size without a name has a place."""
    graph = Graph(("N", 8, "H", None))  # type: ignore[arg-type]
    graph.conv("x", "y", (8, 8))
    onnx.save(graph.proto("y"), str(tmp_path / "m.onnx"))
    again = package.lint(tmp_path / "m.onnx", "11").again
    assert again is not None
    assert "--input x:1x8xHxDIM3 --precision fp16" in again.command
    assert again.note == "Give the sizes of a sample for those that the graph leaves open."
    _, *words = shlex.split(again.command.replace("HxDIM3", "6x7"))
    done = in_process(tmp_path, *words)
    assert done.returncode == 0, done.stderr


def test_a_plugin_stays_where_it_is(tmp_path: Path) -> None:
    """ONNX Runtime does not run it: what it reads is compared, and floats as before."""
    graph = Graph(("N", 8, 6, 6))  # type: ignore[arg-type]
    graph.conv("x", "boxes", (8, 8))
    graph.node("Sigmoid", [graph.node("Flatten", ["boxes"], "flat")], "scores")
    graph.node("EfficientNMS_TRT", ["boxes", "scores"], "found", max_output_boxes=4)
    proto = graph.proto("scores", "found")
    onnx.save(proto, str(tmp_path / "m.onnx"))
    command = type_again(tmp_path, "m.onnx", "11")
    assert command == "trtqat export m.onnx --precision fp16 --opset 19 -o m-11.onnx"
    written = ir.load(tmp_path / "m-11.onnx")
    (plugin,) = (node for node in written.graph if node.op_type == "EfficientNMS_TRT")
    assert (plugin.domain, plugin.attributes["max_output_boxes"].as_int()) == ("", 4)
    assert [value.dtype for value in plugin.inputs if value] == [ir.DataType.FLOAT] * 2
    assert dict(written.graph.opset_imports) == {"": 19}
    done = in_process(tmp_path, "export", "m.onnx", "-o", "again.onnx")
    assert "does not run '/found' (EfficientNMS_TRT)" in done.stderr
    assert "output '/found.input_0'" in done.stdout


def test_what_the_model_must_change_is_named(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.rule == "zero-point-not-zero")
    ir.save(case.faulty(), tmp_path / "m.onnx")
    again = package.lint(tmp_path / "m.onnx", "11").again
    assert again is not None
    assert "TensorRT 11 refuses it: zero-point-not-zero." in again.why
    assert again.note.startswith("Change first what zero-point-not-zero names.")
    assert again.command.startswith("trtqat export model.py:factory --input ")
    assert "--precision fp16 --opset 19" in again.command
    shown = in_process(tmp_path, "lint", "m.onnx", "--for", "11", "--json", "-").stdout
    assert '"export_again": {' in shown


FIRST = """<ir_version: 8, opset_import: ["": 17]>
agraph (float[N, 4] x{more}) => (float[N, 4] y)
<float s = {{0.1}}, int8 z = {{0}},
 float[4, 4] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6, 5, 4, 3, 2}}>
{{
    {first}
    q = QuantizeLinear(n, s, z)
    d = DequantizeLinear(q, s, z)
    wq = QuantizeLinear(w, s, z)
    wd = DequantizeLinear(wq, s, z)
    y = MatMul(d, wd)
}}"""


@pytest.mark.parametrize(
    ("first", "more", "problem", "way_out"),
    [
        (
            "n = Boxes_TRT(x)",
            "",
            "'n' (Boxes_TRT) reads the graph's inputs",
            "an input of the graph",
        ),
        ("n = Relu(x)", ", string[N] words", "The input 'words' holds strings", "Cut the graph"),
        ("n = Relu(x)", ", seq(float[N]) words", "The input 'words' is no tensor", "Cut the graph"),
    ],
    ids=["plugin", "strings", "sequence"],
)
def test_where_no_command_takes_a_graph_there_is_none(
    first: str, more: str, problem: str, way_out: str, tmp_path: Path
) -> None:
    """Nor does the export that lint said to type before."""
    file = tmp_path / "m.onnx"
    ir.save(ir.from_onnx_text(FIRST.format(first=first, more=more)), file)
    shown = in_process(tmp_path, "lint", "m.onnx", "--for", "11")
    assert "No command exports it again as it is. TensorRT 11 takes every type" in shown.stdout
    assert problem in shown.stdout
    assert way_out in shown.stdout
    assert "trtqat export m.onnx" not in shown.stdout
    assert package.lint(file, "11").to_dict()["export_again"]["command"] == ""
    done = in_process(tmp_path, "export", "m.onnx", "-o", "o.onnx")
    assert done.returncode != 0
    # Without the first node, and the other input, there is a command.
    model = ir.from_onnx_text(FIRST.format(first="n = Relu(x)", more=""))
    ir.save(model, file)
    assert type_again(tmp_path, "m.onnx", "11").startswith("trtqat export m.onnx ")


def test_a_graph_without_pairs_that_no_command_takes(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 19]>
        agraph (float[N, 3] images, string[N] words) => (float[N, 3] y)
        <float[3, 3] w = {1, 0, 0, 0, 1, 0, 0, 0, 1}> { y = MatMul(images, w) }"""
    ir.save(ir.from_onnx_text(text), tmp_path / "m.onnx")
    again = package.lint(tmp_path / "m.onnx", "8.6").again
    assert again is not None
    assert str(again).startswith("No command quantizes it as it is. TensorRT 8.6 refuses it")
    assert "'words' holds strings" in again.note


def test_weights_that_are_no_numbers_are_changed_first(tmp_path: Path) -> None:
    case = next(case for case in CASES if case.rule == "weight-not-finite")
    ir.save(case.faulty(), tmp_path / "m.onnx")
    again = package.lint(tmp_path / "m.onnx", "11").again
    assert again is not None
    assert again.note.startswith("Change first what weight-not-finite names.")
    assert again.command.startswith("trtqat export model.py:factory --input ")
