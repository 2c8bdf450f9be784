"""Networks of every kind, as ``trtqat quantize`` and ``export`` make them: right in the engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.architectures import ARCHITECTURES
from tests.support.exported_architectures import export_architecture
from tests.support.workloads import Build
from trtqat.numerics import difference
from trtqat.runtime.engine import Engine
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import random_arrays

BATCH = 4
# What TensorRT 8.6.0 makes wrong engines of (scripts/results/wrong-engines.txt).
WRONG_BY_8_6 = {"detr", "high_resolution", "llama", "mixer"}
# test_quantize has these.
ELSEWHERE = {"resnet_basic", "mobilenet_v3", "unet", "vit_sdpa", "transformer_encoder"}


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - ELSEWHERE))
def test_the_engine_computes_what_the_graph_does(
    name: str, tmp_path: Path, build_engine: Build, caplog: pytest.LogCaptureFixture
) -> None:
    graph, plan = export_architecture(name, tmp_path), tmp_path / "model.engine"
    built = build_engine(graph, plan, batch=(BATCH, BATCH, BATCH))
    with OnnxModel(graph, as_written=True) as reference, Engine(plan) as engine:
        inputs = random_arrays([each.with_batch(BATCH) for each in reference.inputs], seed=0)
        with reference.session(BATCH) as session:
            expected = session.run(inputs)
        with engine.session(BATCH) as session:
            found = session.run(inputs)
    assert set(found) == set(expected)
    seen = {output: difference(expected[output], found[output]).sqnr_db for output in found}
    is_wrong = name in WRONG_BY_8_6 and built.manifest.tensorrt.startswith("8.6.")
    assert (min(seen.values()) < 20) is is_wrong, seen
    # The build has seen it, and has said so.
    assert built.agreement is not None
    assert not built.agreement.reason
    assert bool(built.agreement.wrong) is is_wrong, built.agreement
    assert ("does not compute what its graph says" in caplog.text) is is_wrong
