"""What ``trtqat tune`` hands out, on a real GPU: as fast as it says, and for every batch."""

from __future__ import annotations

from pathlib import Path

import pytest

import trtqat
from tests.support.exported_architectures import export_architecture
from trtqat.building.tuned_options import read_tuned
from trtqat.evaluation.latency import time_in_turns
from trtqat.evaluation.timed_apart import TimingPlaces
from trtqat.evaluation.timing import LatencyOptions
from trtqat.plan.manifest import read_manifest
from trtqat.search.speed.options import TuneOptions, parse_tune_options
from trtqat.search.speed.points import batch_of
from trtqat.search.speed.tuning import TuneResult
from trtqat.tensors import random_arrays

# What the plan may be slower than the verdict says, where it is measured again.
AGAIN = 1.03


def tuned(graph: Path, batch: str, tactic_sources: str, timing_cache: Path) -> TuneResult:
    options = parse_tune_options(
        batch=batch,
        budget="3m",
        # Both ends, one more, the two forms, what a plain build makes, and FP16 left out.
        most_builds=7,
        optimization_level=3,
        tactic_sources=tactic_sources,
        timing_cache=timing_cache,
    )
    # Long enough for an interval of a hundredth.
    short = LatencyOptions(warm_up_ms=100, duration_s=0.3)
    options = TuneOptions(options.build, options.budget_s, options.most_builds, latency=short)
    return trtqat.tune(graph, graph.with_name("tuned.onnx"), options)


def built_again(result: TuneResult) -> trtqat.BuildResult:
    plan = result.output.with_name("again.engine")
    return trtqat.build(result.output, plan, result.options, timing_cache=result.timing_cache)


@pytest.mark.parametrize(
    ("name", "batch", "taken"),
    [
        ("resnet_basic", "1:8:16", (1, 3, 8, 16)),
        ("vit_sdpa", "1:8:16", (1, 3, 8, 16)),
        ("resnet_basic", "1,8", (1, 8)),
    ],
)
def test_the_plan_takes_every_batch_and_is_as_fast_as_the_verdict_says(
    name: str,
    batch: str,
    taken: tuple[int, ...],
    tmp_path: Path,
    tactic_sources: str,
    timing_cache: Path,
) -> None:
    result = tuned(export_architecture(name, tmp_path), batch, tactic_sources, timing_cache)
    ends = {each.name: each for each in result.verdict[:-1]}
    assert {"FP16", "INT8 as exported"} <= set(ends)
    built = built_again(result)
    assert built.manifest.options.precision == read_tuned(result.options).precision
    manifest = read_manifest(result.plan)
    assert manifest is not None
    assert manifest.graph_sha256 == built.manifest.graph_sha256
    assert manifest.coverage is not None
    for plan in (built.path, result.plan):
        with trtqat.Engine(plan) as engine:
            for size in taken:
                with engine.session(size) as session:
                    session.run(random_arrays(session.input_specs, seed=size))
    with trtqat.Engine(result.plan) as engine:
        for point, said in result.tuned.times.items():
            size = batch_of(point)
            inputs = random_arrays(
                [spec.with_batch(size) for spec in engine.session_inputs], seed=0
            )
            options = LatencyOptions(warm_up_ms=200, duration_s=1.0)
            with TimingPlaces([engine]) as places, places.open(inputs, size, 1) as timed:
                (timing,), _ = time_in_turns(timed, options)
            found = timing.compute.median_ms
            assert found <= AGAIN * said.median_ms, (size, found, said)
