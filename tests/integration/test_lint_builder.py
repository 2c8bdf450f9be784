"""What lint says of TensorRT for RTX, told by its builder: graphs that break a rule are built.

Nothing is run. A layer is INT8 where its inputs and weights are INT8 in the built plan.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import trtqat as package
from tests.support.lint_cases import CASES
from tests.support.lint_places import around, two_parts
from tests.support.linting import Case, graph
from trtqat.errors import BuildError
from trtqat.graph.lint import lint
from trtqat.graph.lint.targets import VERDICTS
from trtqat.plan.coverage import Coverage

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT for RTX is not installed")

BUILT = [rule for rule, verdicts in VERDICTS.items() if verdicts["rtx"].known == "run"]
REFUSALS = {case.rule for case in CASES if VERDICTS[case.rule]["rtx"].outcome == "refused"}


def what_becomes(make: Callable[[], ir.Model], path: Path) -> str:
    """What the builder makes of a graph, in the words of ``VERDICTS``."""
    ir.save(make(), path)
    try:
        built = package.build(path, path.with_suffix(".engine"), for_="rtx")
    except BuildError:
        return "refused"
    coverage = built.coverage
    assert isinstance(coverage, Coverage)
    return word_of(coverage)


def word_of(coverage: Coverage) -> str:
    products = [each.runs_int8 for each in coverage.layers]
    if not products:
        return "built"
    return "INT8" if all(runs is True for runs in products) else "float"


@pytest.mark.parametrize("rule", BUILT)
def test_builder_does_what_the_table_says(rule: str, tmp_path: Path) -> None:
    """What it refuses lint warns of, for whoever builds with TensorRT for RTX, too."""
    verdict, seen = VERDICTS[rule]["rtx"], set()
    for number, case in enumerate(case for case in CASES if case.rule == rule):
        outcome = what_becomes(case.faulty, tmp_path / f"{number}.onnx")
        seen.add(outcome)
        if outcome == "refused":
            findings = [each for each in lint(case.faulty(), "rtx") if each.rule == rule]
            assert all(each.severity == "warning" and each.concerns("rtx") for each in findings)
            assert findings
    assert seen == {verdict.outcome, *verdict.also}


@pytest.mark.parametrize("make", [around(0), two_parts(0.1)], ids=["zeros around", "two parts"])
def test_a_layer_behind_what_keeps_codes_is_int8(
    make: Callable[[], ir.Model], tmp_path: Path
) -> None:
    assert what_becomes(make, tmp_path / "m.onnx") == "INT8"
    findings = lint(make(), "rtx")
    assert [each.rule for each in findings if each.severity == "warning"] == []


@pytest.mark.parametrize("case", [c for c in CASES if c.rule in REFUSALS], ids=lambda c: c.rule)
def test_mended_graph_is_built_in_int8(case: Case, tmp_path: Path) -> None:
    assert what_becomes(case.sound, tmp_path / "mended.onnx") == "INT8"


def test_parser_names_node_and_reason(tmp_path: Path) -> None:
    faults = {
        "zero-point-not-zero": ("node '/x.q' (QuantizeLinear)", "zero-point must be 0"),
        "scale-not-positive": ("node '/x.q' (QuantizeLinear)", "calibrate"),
        "scale-computed": ("node '/q'", "range fixed"),
        "bias-dequantized": ("node '/b.dq' (DequantizeLinear)", "trtqat export"),
    }
    for rule, (node, way_out) in faults.items():
        case = next(each for each in CASES if each.rule == rule)
        ir.save(case.faulty(), tmp_path / "m.onnx")
        with pytest.raises(BuildError) as caught:
            package.build(tmp_path / "m.onnx", tmp_path / "m.engine", for_="rtx")
        assert node in caught.value.problem
        assert way_out in caught.value.remedy
        assert not (tmp_path / "m.engine").exists()


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        ({"targets": "sm75,sm86"}, "leave sm75 out of --targets"),
        ({"workspace": 1}, "Raise --workspace."),
    ],
)
def test_way_out_of_a_build_that_failed(
    options: dict[str, Any], way_out: str, tmp_path: Path
) -> None:
    case = next(each for each in CASES if each.rule == "int8-weight-of-matmul")
    ir.save(case.faulty(), tmp_path / "m.onnx")
    with pytest.raises(BuildError) as caught:
        package.build(tmp_path / "m.onnx", tmp_path / "m.engine", for_="rtx", **options)
    assert way_out in caught.value.remedy
    assert "8.6" not in caught.value.remedy


def test_operands_of_two_types_are_sent_to_lint(tmp_path: Path) -> None:
    case = next(each for each in CASES if each.rule == "operands-of-two-types")
    ir.save(case.faulty(), tmp_path / "m.onnx")
    with pytest.raises(BuildError, match="same type") as caught:
        package.build(tmp_path / "m.onnx", tmp_path / "m.engine", for_="rtx")
    assert caught.value.remedy.endswith(f"trtqat lint {tmp_path / 'm.onnx'} --for rtx")


def test_codes_of_a_number_are_sent_to_export_which_mends_them(tmp_path: Path) -> None:
    case = next(each for each in CASES if each.rule == "codes-of-number")
    source, mended = tmp_path / "m.onnx", tmp_path / "mended.onnx"
    ir.save(case.faulty(), source)
    with pytest.raises(BuildError, match="only allowed before DQ") as caught:
        package.build(source, tmp_path / "m.engine", for_="rtx")
    assert "trtqat export model.onnx -o mended.onnx" in caught.value.remedy
    package.export(source, mended)
    assert what_becomes(lambda: ir.load(mended), tmp_path / "built.onnx") == "INT8"


def test_scale_of_constants_is_none_that_the_graph_computes(tmp_path: Path) -> None:
    made = graph()
    half = made.constant("half", np.array(0.05, np.float32))
    names = [made.node("Add", [half, half], "s"), made.constant("z", np.array(0, np.int8))]
    made.node("QuantizeLinear", ["x", *names], "q")
    made.conv(made.node("DequantizeLinear", ["q", *names], "dq"), "y")
    assert what_becomes(lambda: made.model("y"), tmp_path / "m.onnx") == "INT8"
