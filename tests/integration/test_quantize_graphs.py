"""From a float ONNX file to an INT8 plan: places and ranges are those of the PyTorch model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import trtqat
from tests.support.architectures import ARCHITECTURES
from tests.support.float_graphs import FloatFile, by_pytorch, export_float
from trtqat.numerics import difference
from trtqat.search.result import QuantizeResult

# One of each kind: residual, depthwise with squeeze-and-excitation, Concat, transposed, attention
# of two operators and of one, rolled windows, a bilinear Resize, two inputs, several outputs, what
# recurs.
NAMES = (
    "resnet_basic",
    "mobilenet_v3",
    "densenet",
    "unet",
    "vit",
    "vit_einsum",
    "swin",
    "lraspp",
    "transformer_decoder",
    "two_inputs",
    "high_resolution",
    "lstm",
    "control_flow",
)
MIN_SQNR_DB = 12.0
# PyTorch writes the scale of the scores to query and key, before the product: their ranges are
# others where a quantizer of PyTorch's stands on the query itself.
SCALED = {"transformer_decoder": 4}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@cache
def made(name: str, folder: Path) -> tuple[FloatFile, QuantizeResult]:
    (folder / name).mkdir()
    file = export_float(name, folder / name)
    return file, file.quantized()


@pytest.mark.parametrize("name", NAMES)
def test_places_and_ranges_are_those_of_the_pytorch_model(name: str, folder: Path) -> None:
    file, result = made(name, folder)
    expected = by_pytorch(name, file.arrays)
    for is_weight in (False, True):
        own = sorted(each.amax for each in result.ranges if each.is_weight is is_weight)
        theirs = sorted(each.amax for each in expected.ranges if each.is_weight is is_weight)
        assert len(own) == len(theirs)
        if is_weight:
            continue  # the exporter folds BatchNorms into them
        found = sum(
            any(np.isclose(one, other, rtol=2e-3, atol=0) for other in theirs) for one in own
        )
        assert found == len(own) - SCALED.get(name, 0)
    assert result.int8_share == pytest.approx(expected.int8_share, rel=1e-6)
    assert {layer.kept for layer in result.layers} == {layer.kept for layer in expected.layers}


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_is_int8_in_the_plan_and_lint_is_silent(name: str, folder: Path) -> None:
    architecture = ARCHITECTURES[name]
    _, result = made(name, folder)
    assert [each for each in result.findings if each.severity == "warning"] == []
    built = trtqat.build(result.path, folder / name / "int8.engine", for_="rtx")
    coverage = built.coverage
    assert coverage is not None
    assert built.coverage_error is None
    wanted = {layer.name for layer in result.layers if not layer.kept}
    assert {layer.name for layer in coverage.wanted} == wanted
    assert len(wanted) >= architecture.layers - len(architecture.float_operators) * 2
    assert coverage.missed == ()
    assert all(layer.runs_int8 for layer in coverage.wanted)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_as_close_as_it_says(name: str, folder: Path) -> None:
    file, result = made(name, folder)
    assert result.outputs
    sessions = []
    for path in (file.graph, result.path):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        sessions.append(onnxruntime.InferenceSession(str(path), options))
    # On all samples, those that ranges were chosen on among them.
    exact, rounded = (session.run(None, file.arrays) for session in sessions)
    names = [output.name for output in sessions[0].get_outputs()]
    assert [each.name for each in result.outputs] == names
    for each, one, other in zip(result.outputs, exact, rounded, strict=True):
        measured = difference(one, other).sqnr_db
        assert each.samples == 16
        assert each.sqnr_db > MIN_SQNR_DB
        assert each.worst_db <= each.sqnr_db
        assert each.sqnr_db == pytest.approx(measured, abs=2.5)
