"""``trtqat lint``, and ``trtqat.lint`` and ``trtqat.inspect`` as functions of a file."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import onnx
import onnx_ir as ir
import pytest

import trtqat as package
from tests.support.commands import in_process
from tests.support.graphs import Graph
from tests.support.lint_cases import CASES
from tests.support.lint_operators import ending_in
from tests.support.plans import make_plan
from trtqat.errors import GateError, GraphError, UsageError
from trtqat.graph.lint import RULES
from trtqat.graph.lint.targets import TARGET_NAMES
from trtqat.plan.header import Target

INSPECTOR = Path(__file__).parents[1] / "data/inspector-8.6"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lint")
    good = Graph((2, 4, 6, 6))
    good.conv(good.pair("x", 0.1), "y")
    onnx.save(good.proto("y"), str(path / "good.onnx"))

    noted = Graph((2, 4, 6, 6))
    noted.conv("x", "y", quantized=False)
    onnx.save(noted.proto("y"), str(path / "float.onnx"))

    # Seven one-sided layers, one of which has a scale of 0; and a float layer.
    bad = Graph((2, 4, 6, 6))
    value = bad.conv("x", "y0", quantized=False)
    for number in range(7):
        value = bad.conv(value, f"y{number + 1}")
    bad.constants["y1.weight.scale"][2] = 0
    onnx.save(bad.proto(value), str(path / "bad.onnx"))
    (path / "text.onnx").write_text("hello")
    (path / "p.engine").write_bytes(make_plan())
    return path


def test_findings_with_their_cost_and_the_way_out(folder: Path) -> None:
    done = in_process(folder, "lint", "bad.onnx")
    assert (done.returncode, done.stderr) == (0, "")
    head, *paragraphs = done.stdout.strip().split("\n\n")
    assert head.splitlines()[0] == "bad.onnx: opset 17, 7 Q/DQ pairs, 0 BatchNorms"
    assert "INT8: 0 of 8 layers, 0.0% of" in head
    assert [paragraph.splitlines()[0] for paragraph in paragraphs] == [
        "warning: scale-not-positive (TensorRT refuses it, 1 place)",
        "warning: one-sided (costs speed, 7 places)",
        "note: layer-not-quantized (costs speed, 1 place)",
    ]
    for paragraph in paragraphs:
        assert paragraph.splitlines()[-2].startswith("  → ")
    assert "  … and 2 more; -v lists them" in paragraphs[1]


def test_inspect_prints_the_same_of_a_graph(folder: Path) -> None:
    for name, option in (("good.onnx", "-v"), ("bad.onnx", "-q"), ("bad.onnx", "-v")):
        linted = in_process(folder, "lint", name, option)
        assert linted.stdout == in_process(folder, "inspect", name, option).stdout
    assert "layer-not-quantized" not in in_process(folder, "lint", "bad.onnx", "-q").stdout
    assert in_process(folder, "lint", "bad.onnx", "-v").stdout.count("has an INT8 weight") == 7


@pytest.mark.parametrize(("name", "code"), [("good.onnx", 0), ("float.onnx", 0), ("bad.onnx", 3)])
def test_strict_fails_on_warnings_alone(folder: Path, name: str, code: int) -> None:
    done = in_process(folder, "lint", name, "--strict")
    assert done.returncode == code
    assert "lint:" in done.stdout
    if code:
        assert done.stderr.startswith("error: Lint warns 8 times, first of 'y1.weight.scale'.")
    assert in_process(folder, "lint", name).returncode == 0


def test_json(folder: Path, tmp_path: Path) -> None:
    done = in_process(folder, "lint", "bad.onnx", "--json", "-", "--strict")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    rules = Counter(finding["rule"] for finding in result["findings"])
    assert rules == {"scale-not-positive": 1, "one-sided": 7, "layer-not-quantized": 1}
    assert set(rules) <= {rule.identifier for rule in RULES}
    assert result["summary"]["int8_share"] == 0
    assert len(result["summary"]["layers"]) == 8
    done = in_process(folder, "lint", "good.onnx", "--json", tmp_path / "found.json")
    assert (done.returncode, json.loads((tmp_path / "found.json").read_text())["findings"]) == (
        0,
        [],
    )
    assert "lint: 0 warnings" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.onnx",), "There is no ONNX file"),
        (("text.onnx",), "'text.onnx' is not an ONNX file"),
        (("p.engine",), "'p.engine' is an engine, and lint is for graphs."),
        ((), "MODEL.onnx"),
        (("good.onnx", "--json", "good.onnx"), "would overwrite an input"),
        (("good.onnx", "--graph", "good.onnx"), "No such option: --graph"),
    ],
)
def test_wrong_usage(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    done = in_process(folder, "lint", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_has_an_example(folder: Path) -> None:
    assert "Example: trtqat lint model.onnx --strict" in in_process(folder, "lint", "--help").stdout


def test_lint_in_python_prints_what_the_command_prints(folder: Path) -> None:
    found = package.lint(str(folder / "bad.onnx"))
    assert f"{found}\n" == in_process(folder, "lint", folder / "bad.onnx").stdout
    assert repr(found).endswith("7 Q/DQ pairs, 8 warnings, 1 notes)")
    assert (found.summary.int8_share, found.summary.macs > 0) == (0.0, True)
    assert [each.rule for each in found.warnings] == ["scale-not-positive", *["one-sided"] * 7]
    with pytest.raises(GateError, match="Lint warns 8 times"):
        found.check_warnings()
    good = package.lint(folder / "good.onnx")
    good.check_warnings()
    assert good.summary.int8_share == 1
    with pytest.raises(GraphError, match="There is no ONNX file"):
        package.lint("none.onnx")


def test_inspect_in_python(folder: Path) -> None:
    graph = package.inspect(folder / "bad.onnx")
    assert isinstance(graph, package.InspectedGraph)
    assert graph == package.lint(folder / "bad.onnx")
    made = Graph((2, 4, 6, 6))
    for name in ("/features/0/Conv", "/features/3/Conv"):
        made.conv(made.pair("x", 0.1, name=f"{name}.p"), name)
    proto = made.proto("/features/0/Conv", "/features/3/Conv")
    for node in proto.graph.node:
        node.name = node.name.replace("//", "/")
    onnx.save(proto, str(folder / "graph.onnx"))
    layers = package.inspect(INSPECTOR / "vgg16.json", graph=str(folder / "graph.onnx"))
    assert isinstance(layers, package.InspectedLayers)
    layers.check_int8()
    assert layers.coverage.int8_share == 1
    assert "INT8: 2 of 2 quantized layers, 100.0% of the arithmetic" in str(layers)
    assert "\n" not in repr(layers)
    options = package.InspectOptions(graph=folder / "graph.onnx")
    assert package.inspect(INSPECTOR / "vgg16.json", options) == layers


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("good.onnx", {"trust": "key.pem"}, "is a graph; --graph, --shapes, --require-int8"),
        ("good.onnx", {"roofline": True}, "is a graph; --graph, --shapes, --require-int8"),
        ("p.engine", {"profile": "p.json"}, "is an engine, whose times are measured"),
        ("p.engine", {"passes": 0, "export_profile": "p.json"}, "There are no times to export"),
        ("p.engine", {"passes": 0, "ceilings": "c.json"}, "There are no times for a roofline"),
        ("good.onnx", {"bacth_size": 8}, "'bacth_size' is no option of an inspection.* passes,"),
        ("good.onnx", {"options": 8}, "The options of an inspection is 8, a int"),
        ("l.json", {}, "Which layers '.*l.json' should run in INT8 is not known"),
        ("l.json", {"graph": "good.onnx", "trust": "k"}, "is a layer file, and --trust"),
    ],
)
def test_nothing_that_was_asked_for_is_ignored(
    folder: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        package.inspect(folder / name, **options)


@pytest.fixture(scope="module")
def product(folder: Path) -> Path:
    """An INT8 initializer of a MatMul, which TensorRT 8.6 alone refuses."""
    case = next(case for case in CASES if case.rule == "int8-weight-of-matmul")
    ir.save(case.faulty(), folder / "product.onnx")
    return folder / "product.onnx"


MENDED = (
    "TensorRT 8.6 refuses it: int8-weight-of-matmul.\n"
    "  trtqat export product.onnx --opset 17 -o product-8.6.onnx\n"
)


def test_only_what_concerns_one_tensorrt(product: Path) -> None:
    everywhere = in_process(product.parent, "lint", product.name, "--strict")
    assert everywhere.returncode == 3
    assert "int8-weight-of-matmul (TensorRT 8.6 refuses it, 1 place)" in everywhere.stdout
    old = in_process(product.parent, "lint", product.name, "--strict", "--for", "8.6")
    assert old.returncode == 3
    assert old.stdout == f"{everywhere.stdout}\nExport it again. {MENDED}"
    for target in ("10", "11", "rtx"):
        done = in_process(product.parent, "lint", product.name, "--strict", "--for", target)
        assert (done.returncode, done.stderr) == (0, "")
        left_out = "0 notes\n1 finding concerns other TensorRTs\n"
        again = "\nExport it again. TensorRT 11 takes every type from the graph" * (target == "11")
        assert f"{left_out}{again}" in done.stdout
        assert done.stdout.endswith(left_out) == (target != "11")
        shown = in_process(product.parent, "inspect", product.name, "--strict", "--for", target)
        assert (shown.returncode, shown.stdout) == (0, done.stdout)
    wrong = in_process(product.parent, "lint", product.name, "--for", "9")
    assert wrong.returncode == 2
    assert "Write one of 8.6, 10, 11, rtx." in wrong.stderr
    with pytest.raises(UsageError, match="is 10, a int"):
        package.lint(product, for_=10)  # type: ignore[arg-type]
    assert package.inspect(product, for_="rtx") == package.lint(product, for_="rtx")
    with pytest.raises(UsageError, match="--for is for graphs"):
        package.inspect(product.parent / "p.engine", for_="rtx")


def test_what_is_so_of_one_tensorrt_alone_is_counted(tmp_path: Path) -> None:
    ir.save(ending_in("Gemm"), tmp_path / "m.onnx")
    everywhere = package.lint(tmp_path / "m.onnx")
    (own,) = (each for each in everywhere.findings if each.only_for is not None)
    assert (own.rule, own.only_for) == ("linear-behind-bytes", "8.6")
    for target in get_args(Target):
        found = package.lint(tmp_path / "m.onnx", for_=target)
        assert (own in found.findings) == (target == "8.6")
        assert len(found.findings) + found.left_out == len(everywhere.findings)


def test_json_says_what_each_tensorrt_does(product: Path) -> None:
    found = package.lint(product).to_dict()
    assert (found["for"], found["left_out"]) == (None, 0)
    assert [each["targets"] for each in found["findings"]] == [
        {"8.6": "refused", "10": "INT8", "11": "INT8", "rtx": "INT8"}
    ]
    mended = package.lint(product, for_="rtx").to_dict()
    assert (mended["for"], mended["left_out"], mended["findings"]) == ("rtx", 1, [])


def test_a_graph_that_one_tensorrt_alone_does_not_read_or_runs_in_float(folder: Path) -> None:
    made = Graph((2, 4, 6, 6))
    made.conv(made.pair("x", 0.1), "y")
    onnx.save(made.proto("y", opset=21), str(folder / "newer.onnx"))
    assert [each.rule for each in package.lint(folder / "newer.onnx", "8.6").warnings] == [
        "opset-not-read"
    ]
    assert package.lint(folder / "newer.onnx").warnings == ()
    case = next(case for case in CASES if case.rule == "quantized-conv-transpose")
    ir.save(case.faulty(), folder / "transposed.onnx")
    assert "TensorRT for RTX builds it in floating point" in str(
        package.lint(folder / "transposed.onnx", "rtx")
    )
    assert "TensorRT 10 may refuse it" in str(package.lint(folder / "transposed.onnx", "10"))


@pytest.mark.parametrize("target", [None, *TARGET_NAMES])
@pytest.mark.parametrize("kind", ["faulty", "sound"])
def test_advice_on_a_transposed_convolution_is_for_the_tensorrt_asked_for(
    folder: Path, kind: str, target: Target | None
) -> None:
    case = next(case for case in CASES if case.rule == "quantized-conv-transpose")
    ir.save(getattr(case, kind)(), folder / f"{kind}.onnx")
    rule = "quantized-conv-transpose" if kind == "faulty" else "layer-not-quantized"
    findings = package.lint(folder / f"{kind}.onnx", target).findings
    (finding,) = (each for each in findings if each.rule == rule)
    named = {name for name in TARGET_NAMES.values() if re.search(rf"{name}\b", finding.remedy)}
    assert named == (
        {TARGET_NAMES[target]} if target else {*TARGET_NAMES.values()} - {"TensorRT 11"}
    )
    # The line quantizes such a layer for those TensorRTs alone that may have INT8 for it.
    asked = re.search(r"--for (\S+)", finding.example)
    quantizes = asked is not None and asked[1] in ("10", "11")
    assert quantizes == (kind == "sound" and target in (None, "10", "11"))


@pytest.mark.parametrize("target", ["8.6", "rtx"])
def test_where_nothing_is_to_be_done_no_command_stands(folder: Path, target: Target) -> None:
    case = next(case for case in CASES if case.rule == "quantized-conv-transpose")
    ir.save(case.sound(), folder / "sound.onnx")
    said = in_process(folder, "lint", "sound.onnx", "--for", target).stdout
    assert "  → Nothing: TensorRT " in said
    assert "trtqat quantize" not in said
