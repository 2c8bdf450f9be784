"""What of inspecting a plan needs neither TensorRT nor a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plans import make_plan
from trtqat.engine.inspection import graph_beside
from trtqat.errors import PlanError
from trtqat.files import sha256_of
from trtqat.runtime.engine import Engine
from trtqat.runtime.layer_times import LayerTimes


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


def test_graph_beside_a_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan, graph = tmp_path / "m.engine", tmp_path / "m.onnx"
    graph.write_bytes(b"a graph")
    manifest = {"graph": "m.onnx", "graph_sha256": sha256_of(graph)}
    assert graph_beside(plan, manifest) == graph
    assert graph_beside(plan, None) is None
    assert graph_beside(plan, {**manifest, "graph": "other.onnx"}) is None
    assert graph_beside(tmp_path / "x" / "m.engine", {**manifest, "graph": "../m.onnx"}) is None
    graph.write_bytes(b"another graph")
    assert graph_beside(plan, manifest) is None
    assert "changed" in caplog.text


def test_a_version_compatible_plan_is_not_run_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(make_plan(kind=2))
    with pytest.raises(PlanError, match="--allow-engine-code"):
        Engine(path)
