"""``trtqat inspect``, and what ``trtqat export`` does with lint and the graph passes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.support.commands import in_process
from tests.support.graphs import Graph
from tests.support.plans import make_plan
from trtqat.graph.lint import RULES

MODEL = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.support.models import EXAMPLES
def residual():
    return EXAMPLES["residual"].qat()
def without_skip():
    model = residual()
    model.shortcut.disable()
    return model
"""


def save(folder: Path, name: str, graph: Graph, *outputs: str) -> None:
    onnx.save(graph.proto(*outputs), str(folder / name))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspect")
    (path / "net.py").write_text(MODEL)
    (path / "text.onnx").write_text("hello")
    (path / "empty.onnx").write_bytes(b"")

    good = Graph((2, 4, 6, 6))
    good.conv(good.pair("x", 0.1), "y")
    save(path, "good.onnx", good, "y")

    noted = Graph((2, 4, 6, 6))
    noted.conv("x", "y", quantized=False)
    save(path, "float.onnx", noted, "y")

    # Seven one-sided layers, one of which has a scale of 0; and a float layer.
    bad = Graph((2, 4, 6, 6))
    value = bad.conv("x", "y0", quantized=False)
    for number in range(7):
        value = bad.conv(value, f"y{number + 1}")
    bad.constants["y1.weight.scale"][2] = 0
    save(path, "bad.onnx", bad, value)
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.onnx", "There is no ONNX file"),
        ("text.onnx", "'text.onnx' is not an ONNX file"),
        ("empty.onnx", "'empty.onnx' is not an ONNX file"),
        (".", "There is no ONNX file"),
        ("", "MODEL.onnx"),
    ],
)
def test_files_that_are_no_graph(folder: Path, name: str, message: str) -> None:
    done = in_process(folder, "inspect", *([name] if name else []))
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_good_graph(folder: Path) -> None:
    done = in_process(folder, "inspect", "good.onnx", "--strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "good.onnx: opset 17, 2 Q/DQ pairs, 0 BatchNorms",
        "INT8: 1 of 1 layers, 100.0% of 576 multiply-accumulates a sample",
        "lint: 0 warnings, 0 notes",
    ]


def test_graph_without_pairs_has_notes_that_strict_lets_pass(folder: Path) -> None:
    done = in_process(folder, "inspect", "float.onnx", "--strict")
    assert done.returncode == 0
    assert "0 Q/DQ pairs" in done.stdout
    assert "INT8: 0 of 1 layers, 0.0%" in done.stdout
    assert "note: layer-not-quantized (costs speed, 1 place)" in done.stdout
    quiet = in_process(folder, "inspect", "float.onnx", "-q")
    assert quiet.returncode == 0
    assert "layer-not-quantized" not in quiet.stdout
    assert "lint: 0 warnings, 1 note" in quiet.stdout


def test_findings_in_words(folder: Path) -> None:
    done = in_process(folder, "inspect", "bad.onnx")
    assert done.returncode == 0
    paragraphs = done.stdout.strip().split("\n\n")[1:]
    assert [paragraph.splitlines()[0] for paragraph in paragraphs] == [
        "warning: scale-not-positive (TensorRT refuses it, 1 place)",
        "warning: one-sided (costs speed, 7 places)",
        "note: layer-not-quantized (costs speed, 1 place)",
    ]
    lines = paragraphs[1].splitlines()
    assert lines[1] == "  '/y1' has an INT8 weight, but a float input."
    assert lines[6] == "  … and 2 more; -v lists them"
    assert lines[7].startswith("  → Quantize both the input and the weight")
    assert "quant_nn.QuantConv2d" in lines[8]
    everything = in_process(folder, "inspect", "bad.onnx", "-v").stdout
    assert everything.count("has an INT8 weight") == 7
    assert "layer-not-quantized" not in in_process(folder, "inspect", "bad.onnx", "-q").stdout


def test_strict(folder: Path) -> None:
    done = in_process(folder, "inspect", "bad.onnx", "--strict")
    assert done.returncode == 3
    assert "one-sided" in done.stdout
    assert done.stderr.startswith("error: Lint warns 8 times, first of 'y1.weight.scale'.")


@pytest.mark.parametrize("options", [(), ("--strict",), ("-q",), ("-v",)])
def test_json(folder: Path, options: tuple[str, ...]) -> None:
    done = in_process(folder, "inspect", "bad.onnx", "--json", "-", *options)
    assert done.returncode == (3 if options == ("--strict",) else 0)
    result = json.loads(done.stdout)
    rules = Counter(finding["rule"] for finding in result["findings"])
    assert rules == {"scale-not-positive": 1, "one-sided": 7, "layer-not-quantized": 1}
    assert set(rules) <= {rule.identifier for rule in RULES}
    assert all(f["where"] and f["problem"] and f["remedy"] for f in result["findings"])
    assert result["summary"]["int8_share"] == 0
    assert len(result["summary"]["layers"]) == 8


def test_json_into_a_file(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "found.json"
    done = in_process(folder, "inspect", "good.onnx", "--json", target)
    assert done.returncode == 0
    assert "lint: 0 warnings" in done.stdout
    assert json.loads(target.read_text())["findings"] == []
    done = in_process(folder, "inspect", "good.onnx", "--json", tmp_path / "none" / "found.json")
    assert done.returncode == 2
    assert done.stdout == ""


INPUT = ("--input", "x:1x3x16x16")


def test_export_strict_writes_the_file_and_fails(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    done = in_process(folder, "export", "net.py:without_skip", *INPUT, "-o", path, "--strict")
    assert done.returncode == 3, done.stderr
    assert path.exists()
    assert "warning: '/Add' adds the output of the quantized '/conv2/Conv'" in done.stderr
    assert "[float-residual]" in done.stderr
    assert "error: Lint warns 1 time, first of '/Add'." in done.stderr
    assert f"trtqat lint {path}" in done.stderr
    traced = ("--exporter", "torchscript")
    done = in_process(folder, "export", "net.py:without_skip", *INPUT, "-o", path, *traced)
    assert done.returncode == 0
    assert in_process(folder, "inspect", path, "--strict").returncode == 3


def test_export_with_and_without_each_pass(folder: Path, tmp_path: Path) -> None:
    def export(*options: str) -> tuple[onnx.ModelProto, str]:
        path = tmp_path / "m.onnx"
        done = in_process(folder, "export", "net.py:residual", *INPUT, "-o", path, *options)
        assert done.returncode == 0, done.stderr
        return onnx.load(str(path)), done.stdout

    graph, text = export("--strict")
    counts = Counter(node.op_type for node in graph.graph.node)
    assert "BatchNorm: 2 folded, 0 INT8 codes changed, 0 kept" in text
    assert counts["BatchNormalization"] == 0
    assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (6, 10)
    assert sum(each.data_type == TensorProto.INT8 and len(each.dims) > 1
               for each in graph.graph.initializer) == 4  # fmt: skip

    graph, text = export("--keep-batch-norm", "--exporter", "torchscript")
    counts = Counter(node.op_type for node in graph.graph.node)
    assert counts["BatchNormalization"] == 2
    assert "BatchNorm:" not in text
    assert "lint: 2 warnings" in text
    folder_of = in_process(folder, "inspect", tmp_path / "m.onnx", "--json", "-").stdout
    rules = Counter(finding["rule"] for finding in json.loads(folder_of)["findings"])
    assert rules["batch-norm-not-folded"] == 2

    graph, _ = export("--float-weights", "--exporter", "torchscript")
    counts = Counter(node.op_type for node in graph.graph.node)
    assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (10, 10)
    assert not any(
        each.data_type == TensorProto.INT8 and numpy_helper.to_array(each).any()
        for each in graph.graph.initializer
    )

    graph, text = export("--repair", "--exporter", "torchscript")
    counts = Counter(node.op_type for node in graph.graph.node)
    assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (5, 9)
    assert "repairs: 1 by share-pairs" in text


def test_layers_of_an_engine(tmp_path: Path) -> None:
    """Two convolutions of a graph against what TensorRT 8.6.0 made of a network that has them."""
    made = Graph((2, 4, 6, 6))
    for name in ("/features/0/Conv", "/features/3/Conv"):
        data = made.pair("x" if "0" in name else "/features/0/Conv", 0.1, name=f"{name}.p")
        made.conv(data, name)
    proto = made.proto("/features/3/Conv")
    for node in proto.graph.node:
        node.name = node.name.replace("//", "/")
    graph = tmp_path / "graph.onnx"
    onnx.save(proto, str(graph))
    layers = Path(__file__).parents[1] / "data/inspector-8.6/vgg16.json"

    done = in_process(tmp_path, "inspect", layers, "--graph", graph, "--require-int8", "-v")
    assert done.returncode == 0, done.stderr
    assert "INT8: 2 of 2 quantized layers, 100.0% of the arithmetic" in done.stdout
    assert "/features/2/Relu" in done.stdout
    done = in_process(tmp_path, "inspect", layers, "--graph", graph, "--json", "-")
    assert [layer["runs_int8"] for layer in json.loads(done.stdout)["layers"]] == [True, True]

    content = json.loads(layers.read_text(), strict=False)
    content["Layers"] = [each for each in content["Layers"] if "/features/3/" not in each["Name"]]
    (tmp_path / "less.json").write_text(json.dumps(content))
    done = in_process(tmp_path, "inspect", "less.json", "--graph", graph, "--require-int8")
    assert done.returncode == 3
    assert "1 of 2 quantized layers are not seen in INT8, first '/features/3/Conv'" in done.stderr

    (tmp_path / "cut.engine").write_bytes(make_plan()[:-3])
    for arguments, code in (
        (("less.json",), 2),
        (("cut.engine", "--graph", graph), 2),
        (("none.engine",), 2),
        ((graph, "--require-int8"), 2),
        (("none.json", "--graph", graph), 2),
    ):
        done = in_process(tmp_path, "inspect", *arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert "Traceback" not in done.stderr


def test_an_engine_that_is_one_compiled_subgraph(tmp_path: Path) -> None:
    """What 8.6.0 makes of attention: the build is right, only nothing tells its types."""
    made = Graph((2, 4, 6, 6))
    made.conv(made.pair("x", 0.1, name="/c.p"), "/elsewhere/Conv")
    graph = tmp_path / "graph.onnx"
    onnx.save(made.proto("/elsewhere/Conv"), str(graph))
    layers = Path(__file__).parents[1] / "data/inspector-8.6"
    done = in_process(tmp_path, "inspect", layers / "vit.json", "--graph", graph)
    assert done.returncode == 0, done.stderr
    assert "INT8: 0 of 1 quantized layers" in done.stdout
    assert "compiled it into a subgraph" in done.stdout
    done = in_process(tmp_path, "inspect", layers / "vit.json", "--graph", graph, "--require-int8")
    assert done.returncode == 3
    # An engine whose layers all have names is of another graph.
    done = in_process(tmp_path, "inspect", layers / "vgg16.json", "--graph", graph)
    assert done.returncode == 2
    assert "names a layer of" in done.stderr
