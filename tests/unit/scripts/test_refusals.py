"""scripts.bench.refusals: each graph has what its name says, and the table who is refused."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest

from scripts.bench import refusals
from trtqat.building.apart import build_plan_apart
from trtqat.errors import BuildError


@pytest.fixture(scope="module", autouse=True)
def _each_graph_is_made_once() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        make = refusals.write_graph

        @cache
        def content(name: str) -> bytes:
            path = Path(folder) / "m.onnx"
            make(name, path)
            return path.read_bytes()

        patch.setattr(refusals, "write_graph", lambda name, path: path.write_bytes(content(name)))
        yield


# What moves numbers and computes none.
MOVING = {"Expand", "Gather", "GatherElements", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


def behind_convolutions(name: str, folder: Path) -> list[str]:
    """The operators that come after the last convolution, Q/DQ of its weights left out."""
    path = folder / "m.onnx"
    refusals.write_graph(name, path)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    last = len(operators) - operators[::-1].index("Conv")
    return [each for each in operators[last:] if not each.endswith("quantizeLinear")]


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("nothing", set()),
        ("integer division", {"TopK", "Div", "Mod"}),
        ("constant + constant * x", {"Mul", "Add"}),
        ("equal and where", {"Sigmoid", "MaxPool", "Equal", "Where"}),
        ("constant by GatherND", {"TopK", "GatherND"}),
        ("constant by Gather", {"TopK", "Gather"}),
    ],
)
def test_an_end_has_what_its_name_says(name: str, operators: set[str], tmp_path: Path) -> None:
    found = set(behind_convolutions(name, tmp_path))
    assert operators <= found
    suspicious = {"Div", "Mod", "Mul", "Add", "Equal", "Where", "GatherND", "Gather", "TopK"}
    # A division of integers that rounds down compares remainders.
    with_it = {"Equal"} if name == "integer division" else set()
    assert found & suspicious <= operators | with_it


def test_the_detectors_end_computes_with_floats_alone_and_scales_none(tmp_path: Path) -> None:
    found = behind_convolutions("end of today", tmp_path)
    computing = [each for each in found if each not in MOVING]
    assert computing == ["Sigmoid", "MaxPool", "Sub", "Sign", "Sub", "Relu", "TopK", "TopK", "Add"]


@pytest.mark.parametrize(("name", "quantized"), [("second end", 4), ("second end, float heads", 2)])
def test_heads_are_quantized_unless_they_are_kept(
    name: str, quantized: int, tmp_path: Path
) -> None:
    refusals.write_graph(name, tmp_path / "m.onnx")
    nodes = onnx.load(tmp_path / "m.onnx").graph.node
    codes = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    read = [codes.issuperset(node.input[:2]) for node in nodes if node.op_type == "Conv"]
    assert (len(read), sum(read)) == (4, quantized)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    output = folder / "new" / "refusals.json"
    monkeypatch.setattr(sys, "argv", ["refusals", "--output", str(output), *words])
    refusals.main()
    found: dict[str, Any] = json.loads(output.read_text())
    return found


def test_tensorrt_for_rtx_builds_the_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["second end", "end of today"]
    found = run(tmp_path, monkeypatch, "--for", "rtx", "--only", *names)
    assert found["builder"].startswith("TensorRT for RTX 1.")
    assert found["refused"] == []
    assert [(row["name"], row["is_built"]) for row in found["rows"]] == [(n, True) for n in names]
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    assert [line[-1] for line in lines] == ["built"] * 2


def test_a_refusal_is_told_in_its_words_and_the_next_one_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def build_without_topk(graph: Path, *arguments: Any) -> None:
        if any(node.op_type == "TopK" for node in onnx.load(graph).graph.node):
            raise BuildError("No TopK here.", "Take another one.")
        build_plan_apart(graph, *arguments)

    monkeypatch.setattr(refusals, "build_plan_apart", build_without_topk)
    found = run(tmp_path, monkeypatch, "--for", "rtx", "--only", "topk", "nothing")
    assert found["refused"] == ["topk"]
    assert [row["message"] for row in found["rows"]] == ["No TopK here.", ""]
    assert "No TopK here." in capsys.readouterr().out
