"""What of inspecting a plan needs neither TensorRT nor a GPU."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from tests.support.graphs import Graph
from tests.support.plans import make_manifest, make_plan
from trtqat.errors import GraphError, PlanError, UsageError
from trtqat.files import sha256_of
from trtqat.graph.lenses.macs import LayerSummary
from trtqat.graph_file.hashing import graph_sha256
from trtqat.inspection.coverage import cover
from trtqat.inspection.engine_layers import check_same_graph
from trtqat.inspection.inspector import parse_layers
from trtqat.inspection.layer_times import LayerTimes, read_profile
from trtqat.runtime.engine import Engine
from trtqat.runtime.engine_graph import graph_beside
from trtqat.runtime.engine_names import names_of_engine


def test_layer_times() -> None:
    times = LayerTimes(({"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 3.0}, {"a": 9.0, "b": 3.0}))
    assert times.median_ms == {"a": 2.0, "b": 3.0}
    assert times.sum_ms == 5.0
    count, a, b = times.trtexec()
    assert count == {"count": 3}
    assert a == {
        "name": "a",
        "timeMs": 12.0,
        "averageMs": 4.0,
        "medianMs": 2.0,
        "percentage": pytest.approx(100 * 12 / 21),
    }
    assert b["percentage"] == pytest.approx(100 * 9 / 21)


def test_times_from_a_file(tmp_path: Path) -> None:
    times = LayerTimes(({"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 3.0}, {"a": 9.0, "b": 3.0}))
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(times.trtexec()))
    assert read_profile(path) == times.median_ms
    # As trtexec writes it: names with raw control characters, two layers of one name.
    path.write_text(
        '[\n  { "count" : 9 }\n'
        ', { "name" : "a\x1eb", "timeMs" : 9, "averageMs" : 1, "percentage" : 50 }\n'
        ', { "name" : "c", "timeMs" : 9, "averageMs" : 9, "medianMs" : 2, "percentage" : 25 }\n'
        ', { "name" : "c", "timeMs" : 9, "averageMs" : 9, "medianMs" : 3, "percentage" : 25 }\n]'
    )
    assert read_profile(path) == {"a\x1eb": 1.0, "c": 5.0}


@pytest.mark.parametrize(
    "content",
    ["", "7", "{}", '{"name": 1}', "[]", '[{"count": 3}]', '[{"name": "a"}]', '[{"name": "a", '
     '"medianMs": "long"}]', '[{"name": "a", "medianMs": 5e-324}]',
     '[{"name": "a", "medianMs": 1e308}]', '[{"name": "a", "medianMs": -1}]'],
)  # fmt: skip
def test_files_that_hold_no_times(content: str, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(content)
    with pytest.raises(UsageError, match="holds no times of layers"):
        read_profile(path)
    with pytest.raises(UsageError, match="holds no times of layers"):
        read_profile(tmp_path / "none.json")


def test_graph_beside_a_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan, graph = tmp_path / "m.engine", tmp_path / "m.onnx"
    graph.write_bytes(b"a graph")
    manifest = replace(make_manifest(b""), graph="m.onnx", graph_sha256=sha256_of(graph))
    assert graph_beside(plan, manifest) == graph
    assert graph_beside(plan, None) is None
    assert graph_beside(plan, replace(manifest, graph="other.onnx")) is None
    elsewhere = replace(manifest, graph="../m.onnx")
    assert graph_beside(tmp_path / "x" / "m.engine", elsewhere) is None
    graph.write_bytes(b"another graph")
    assert graph_beside(plan, manifest) is None
    assert "changed" in caplog.text


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda graph: (graph.parent / "w.bin").unlink(), "Copy 'w.bin' beside the graph"),
        (lambda graph: graph.write_bytes(b"garbage, location, garbage"), "is not an ONNX file"),
    ],
)
def test_a_graph_beside_that_cannot_be_read_stops_nobody(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], object],
    says: str,
) -> None:
    plan, graph = tmp_path / "m.engine", tmp_path / "m.onnx"
    made = Graph((1, 4))
    made.node("Relu", [made.pair("x", 0.1)], "y")
    onnx.save(
        made.proto("y"), graph, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    manifest = replace(make_manifest(b""), graph="m.onnx", graph_sha256=graph_sha256(graph))
    assert graph_beside(plan, manifest) == graph
    spoil(graph)
    assert graph_beside(plan, manifest) is None
    assert says in caplog.text
    # Nothing else tells the order of these.
    assert not names_of_engine(plan, manifest, ["x"], ["y", "z"]).is_ordered


def test_a_version_compatible_plan_is_not_run_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(make_plan(kind=2))
    with pytest.raises(PlanError, match="--allow-engine-code"):
        Engine(path)


def test_a_graph_whose_layers_stand_inside_of_a_loop_is_not_another_one() -> None:
    """An engine names what runs inside."""
    engine = parse_layers(["/inner"])
    loop = LayerSummary("/loop", "Loop", False, 1)
    check_same_graph(cover([loop], engine), engine, Path("m.onnx"), "layers.json")
    coverage = cover([LayerSummary("/conv", "Conv", True, 1), loop], engine)
    with pytest.raises(GraphError, match=r"No layer of 'layers\.json' names a layer of"):
        check_same_graph(coverage, engine, Path("m.onnx"), "layers.json")
