"""Float ONNX files that ``trtqat quantize`` made INT8, in TensorRT's engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.float_graphs import export_float
from tests.support.workloads import Build
from trtqat.evaluation.evaluate import evaluate
from trtqat.evaluation.timing import LatencyOptions
from trtqat.numerics import difference
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel

# A skip, squeeze-and-excitation, a Concat of skips with ConvTranspose, attention of one operator
# and of two inputs, rolled windows.
IN_THE_ENGINE = (
    "resnet_basic",
    "mobilenet_v3",
    "unet",
    "vit_sdpa",
    "transformer_decoder",
    "swin",
)
ATTENTION = ("vit_sdpa", "transformer_decoder", "swin")
# Multiply-accumulates a sample.
SMALL = 200_000


@pytest.mark.parametrize("name", IN_THE_ENGINE)
def test_the_engine_computes_what_the_graph_does(
    name: str, tmp_path: Path, build_engine: Build
) -> None:
    file = export_float(name, tmp_path)
    result = file.quantized(for_="8.6")
    assert [each for each in result.findings if each.severity == "warning"] == []
    plan = tmp_path / "int8.engine"
    built = build_engine(result.path, plan, batch=(1, 8, 8))
    assert built.coverage is not None
    assert {layer.name for layer in built.coverage.wanted} == {
        layer.name for layer in result.layers if not layer.kept
    }
    for layer in built.coverage.missed:
        # 8.6 compiles attention into a subgraph that tells nothing of its layers; and of a small
        # convolution it may find a float kernel faster.
        told = layer.runs_int8 is None if name in ATTENTION else (layer.macs or SMALL) < SMALL
        assert told, (layer.name, layer.reason)
    engine, reference = Engine(plan), OnnxModel(result.path, as_written=True)
    inputs = {key: array[:8] for key, array in file.arrays.items()}
    expected = reference.session(8).run(inputs)
    for output, actual in engine.session(8).run(inputs).items():
        assert difference(expected[output], actual).sqnr_db > 20, output


def test_the_float_file_is_the_baseline_of_the_engine(tmp_path: Path, build_engine: Build) -> None:
    """Compared on every output, and not timed beside the engine, whoever runs it."""
    file = export_float("resnet_basic", tmp_path)
    result = file.quantized(for_="8.6")
    plan = tmp_path / "int8.engine"
    build_engine(result.path, plan, batch=(1, 8, 8))
    report = evaluate(
        plan, file.data, batch_size=8, latency=LatencyOptions(50, 0.1), baseline=file.graph
    )
    baseline, comparison = report.baseline, report.subject.to_baseline
    assert baseline is not None
    assert comparison is not None
    where = {"cpu": "CPU", "cuda": "CUDA"}[baseline.device]
    assert baseline.name == f"float.onnx on ONNX Runtime ({where})"
    assert baseline.timings == ()
    assert report.speedup is None
    (timing,) = report.subject.timings
    assert timing.timing.throughput is not None
    assert all(each.sqnr_db > 20 for each in comparison.agreement.outputs)
