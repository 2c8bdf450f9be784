"""Names out of files, in what Python prints of them: shown, and not obeyed by a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import trtqat
from tests.support.plans import LAYER, make_manifest
from trtqat.host.check import Check
from trtqat.inspection.engine_layers import Inspection
from trtqat.inspection.inspected_layers import inspect_layer_file
from trtqat.inspection.options import InspectOptions
from trtqat.inspection.words import describe_coverage
from trtqat.plan.coverage import Coverage, PlanCost

CLEARS = "name\x1b[2J"
LIES = "/a\nINT8: 9 of 9 quantized layers"


def test_of_a_graph_its_layers_and_a_check(tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    w = helper.make_tensor("w", TensorProto.FLOAT, [4, 4], [1.0] * 16)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name=CLEARS)
    graph = helper.make_graph([node], "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path, layers = tmp_path / "m.onnx", tmp_path / f"{CLEARS}.json"
    onnx.save(model, path)
    layers.write_text(json.dumps({"Layers": [CLEARS]}))
    for shown in (
        trtqat.lint(path),
        inspect_layer_file(layers, InspectOptions(graph=path)),
        Check("plan", "failed", f"'{CLEARS}' is none.", "Check it."),
    ):
        assert "\x1b" not in str(shown)
        assert r"name\x1b[2J" in str(shown)


def test_no_name_says_on_a_line_of_its_own_what_is_int8() -> None:
    missed = replace(LAYER, name=LIES, runs_int8=False, reason=f"behind '{LIES}'")
    unknown = replace(LAYER, name=LIES, wants_int8=False, macs=None)
    leaving = replace(missed, runs_int8=True, output_dtype="float32")
    cost = PlanCost("widened", (LIES,), 8, 4)
    said = describe_coverage(Coverage((missed, unknown, leaving), (), (), (), costs=(cost,)))
    assert [line for line in said.split("\n") if line.startswith("INT8")] == [said.split("\n")[0]]
    assert said.count(r"/a\nINT8: 9 of 9") == 7


@pytest.mark.parametrize("profiles", [(LIES,), (f"{LIES}:1:8:8x160", f"{LIES}:1:8:8x320")])
def test_no_profile_and_no_operator_says_it_either(profiles: tuple[str, ...]) -> None:
    layer = replace(LAYER, operator=LIES, wants_int8=False)
    said = describe_coverage(Coverage((layer,), (), (), (), profiles=profiles))
    assert said.count("\nINT8") == 0
    assert said.count(r"/a\nINT8: 9 of 9") == len(profiles) + 1


def test_nothing_else_of_a_plan_says_it() -> None:
    coverage = Coverage((LAYER,), (), (), ())
    manifest = replace(make_manifest(b""), tensorrt=f"8.6.0{LIES}", gpu=LIES, created=LIES)
    plan = trtqat.InspectedPlan(Path("m.engine"), manifest, coverage, not_loaded=f"It is {LIES}.")
    found = Inspection({}, (), 8, None, None, "", 0, {LIES: (160,)})
    engine = trtqat.InspectedEngine(Path("m.engine"), None, found, coverage, None)
    for shown in (plan, engine):
        assert str(shown).count("\nINT8: ") == 1
        assert "\nINT8: 1 of 1 quantized layers" in str(shown)
