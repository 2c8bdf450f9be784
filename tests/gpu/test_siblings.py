"""Equal convolutions of one tensor: 8.6.0 refuses their INT8 initializers, and merges floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import tensorrt

from tests.support.lint_operators import two_heads
from tests.support.linting import SHAPE
from tests.support.workloads import Build
from trtqat.errors import BuildError
from trtqat.exporting.from_onnx import improve_onnx
from trtqat.exporting.options import ExportOptions
from trtqat.numerics import difference
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel

BATCH = SHAPE[0]


@pytest.mark.parametrize("kernel", [1, 3])
def test_what_export_makes_of_them_is_built(
    kernel: int, tmp_path: Path, build_engine: Build
) -> None:
    given, graph, plan = (tmp_path / name for name in ("given.onnx", "m.onnx", "m.engine"))
    ir.save(two_heads(kernels=(kernel, kernel)), given)
    improve_onnx(given, graph, ExportOptions(()))
    built = build_engine(graph, plan, batch=(BATCH, BATCH, BATCH))
    assert built.coverage is not None
    assert built.coverage.missed == ()
    x = {"x": np.random.default_rng(0).normal(scale=4, size=SHAPE).astype(np.float32)}
    with OnnxModel(graph, as_written=True) as reference, reference.session(BATCH) as session:
        expected = session.run(x)
    with Engine(plan) as engine, engine.session(BATCH) as session:
        for name, actual in session.run(x).items():
            assert difference(expected[name], actual).sqnr_db > 30, name


@pytest.mark.skipif(tensorrt.__version__ != "8.6.0", reason="It was seen of TensorRT 8.6.0 alone.")
@pytest.mark.parametrize("kernel", [1, 3])
def test_they_are_refused_as_they_are(kernel: int, tmp_path: Path, build_engine: Build) -> None:
    given = tmp_path / "given.onnx"
    ir.save(two_heads(kernels=(kernel, kernel)), given)
    with pytest.raises(BuildError, match="chooseHigherPrecision"):
        build_engine(given, tmp_path / "m.engine", batch=(BATCH, BATCH, BATCH))
