"""Equal layers of one tensor: 8.6.0 refuses their INT8 initializers, and merges float weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.sibling_graphs import MERGED, NOT_MERGED, shape_of
from tests.support.workloads import Build
from trtqat.errors import BuildError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.host.tensorrt_library import load_tensorrt
from trtqat.numerics import difference
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel

BATCHES = (2, 2, 2)
# Which of them 8.6.0 merges does not depend on it.
LEVEL = 1


BOTH = MERGED | NOT_MERGED


@pytest.mark.parametrize("name", BOTH)
def test_what_export_makes_of_them_is_built(name: str, tmp_path: Path, build_engine: Build) -> None:
    given, graph, plan = (tmp_path / file for file in ("given.onnx", "m.onnx", "m.engine"))
    ir.save(BOTH[name](), given)
    improve_onnx(given, graph, ExportOptions(()))
    built = build_engine(graph, plan, batch=BATCHES, optimization_level=LEVEL)
    assert built.coverage is not None
    assert built.coverage.missed == ()
    x = {"x": np.random.default_rng(0).normal(scale=4, size=shape_of(name)).astype(np.float32)}
    with OnnxModel(graph, as_written=True) as reference, reference.session(2) as session:
        expected = session.run(x)
    with Engine(plan) as engine, engine.session(2) as session:
        for output, actual in session.run(x).items():
            assert difference(expected[output], actual).sqnr_db > 30, output


@pytest.mark.parametrize("name", MERGED)
def test_their_int8_initializers_are_refused(
    name: str, tmp_path: Path, build_engine: Build
) -> None:
    if load_tensorrt("This test").__version__ != "8.6.0":
        pytest.skip("It was seen of TensorRT 8.6.0 alone.")
    given, model = tmp_path / "given.onnx", MERGED[name]()
    improve(model, ImproveOptions(int8_weights=True), opset=17)
    ir.save(model, given)
    with pytest.raises(BuildError, match="chooseHigherPrecision"):
        build_engine(given, tmp_path / "m.engine", batch=BATCHES, optimization_level=LEVEL)
