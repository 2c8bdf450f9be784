"""The gate on what a build recorded of a plan, on a host that does not run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import trtqat
from tests.support.plans import LAYER, make_manifest, make_plan
from trtqat.errors import GateError
from trtqat.plan.coverage import Coverage
from trtqat.plan.manifest import manifest_path


def recorded(folder: Path, graph: str) -> trtqat.InspectedPlan:
    """A plan of another TensorRT than any that is here, with a layer that is not INT8."""
    content = make_plan((8, 4, 3))
    path = folder / "m.engine"
    path.write_bytes(content)
    coverage = Coverage((replace(LAYER, runs_int8=False, reason="no kernel fits"),), (), (), ())
    made = make_manifest(content)
    manifest = replace(made, tensorrt="8.4.3", graph=graph, coverage=coverage)
    manifest_path(path).write_text(manifest.to_json())
    found = trtqat.inspect(path)
    assert isinstance(found, trtqat.InspectedPlan)
    return found


@pytest.mark.parametrize("graph", ["model.onnx", "", ".", "..", "/etc/model.onnx", "a/model.onnx"])
def test_a_graph_that_is_not_beside_is_not_to_be_read_there(graph: str, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="1 of 1 quantized layers are not seen") as caught:
        recorded(tmp_path, graph).check_int8()
    assert caught.value.remedy.endswith(f"trtqat lint where '{Path(graph)}' is.") or (
        caught.value.remedy.endswith(f"trtqat lint where '{tmp_path / graph}' is.")
    )


def test_a_graph_beside_is(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a graph")
    with pytest.raises(GateError) as caught:
        recorded(tmp_path, "model.onnx").check_int8()
    assert caught.value.remedy.endswith(f"trtqat lint {tmp_path / 'model.onnx'}")
