"""The search for the fastest engine, on a real GPU: never slower than INT8 or FP16 throughout."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import trtqat
from tests.support.exported_architectures import export_architecture
from tests.support.planted import LOSERS, planted
from trtqat.building.options import BuildOptions
from trtqat.building.tuned_options import TunedOptions
from trtqat.errors import GateError
from trtqat.evaluation.timing import LatencyOptions
from trtqat.files import sha256_of
from trtqat.graph.lenses.regions import Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.host.gpu import describe_gpu
from trtqat.plan.manifest import read_manifest
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.forms import Batches
from trtqat.search.speed.logged_trials import LoggedTrials
from trtqat.search.speed.strategy import Found, search
from trtqat.search.speed.trials import SearchRegion
from trtqat.search.speed.tune_log import read_log

BATCH = 8
PLANTED_BATCH = 32


def regions_in(graph: Path) -> tuple[Region, ...]:
    model = read_model(graph)
    infer_shapes(model)
    return regions_of(model)


def open_trials(
    graph: Path, options: BuildOptions, sizes: Batches, latency: LatencyOptions, most_builds: int
) -> LoggedTrials:
    regions, log = regions_in(graph), graph.with_name("log.json")
    data = f"random:{max(sizes.measured)}"
    workshop = EngineWorkshop(graph, regions, options, sizes.measured, data, latency, graph.parent)
    return LoggedTrials(workshop, log, read_log(log, "key"), 600, most_builds, sizes.searched(None))


def searched(trials: LoggedTrials, regions: tuple[Region, ...]) -> Found:
    described = [SearchRegion(each.kind, each.share, each.is_quantized) for each in regions]
    found = search(described, trials)
    assert found is not None
    assert len(found.ends) == 2
    return found


@pytest.mark.parametrize("name", ["resnet_basic", "vit_sdpa"])
def test_the_best_is_no_slower_than_either_end(
    name: str, tmp_path: Path, tactic_sources: str, timing_cache: Path
) -> None:
    graph = export_architecture(name, tmp_path)
    regions = regions_in(graph)
    options = BuildOptions(tactic_sources=tactic_sources, timing_cache=timing_cache)
    latency = LatencyOptions(warm_up_ms=50, duration_s=0.3)
    given = graph, options, Batches((BATCH,), (str(BATCH),)), latency, 8
    trials = open_trials(*given)
    found = searched(trials, regions)
    for end in found.ends:
        if end is not found.best:
            assert trials.ratio(found.best, end).interval.high > 0.99
    # In the convolutional network TensorRT tells the time of every region.
    if name == "resnet_basic":
        untold = [
            region.name
            for place, region in enumerate(regions)
            if place not in found.ends[0].region_ms
        ]
        assert not untold
    assert searched(open_trials(*given), regions) == found


def test_planted_losers_are_found_and_both_ends_beaten(
    tmp_path: Path, tactic_sources: str, timing_cache: Path
) -> None:
    """Not to be had by choosing the better end: blocks that lose stand among others that win."""
    graph = tmp_path / "planted.onnx"
    onnx.save(planted(batch=PLANTED_BATCH), graph)
    regions = regions_in(graph)
    options = BuildOptions(tactic_sources=tactic_sources, timing_cache=timing_cache)
    latency = LatencyOptions(warm_up_ms=100, duration_s=0.5)
    trials = open_trials(graph, options, Batches((PLANTED_BATCH,), ()), latency, 12)
    found = searched(trials, regions)
    assert len(trials.log.tries) <= 12
    # What it says of a failure: the times of each region in both ends, and the answer.
    said = {
        region.name: (
            place in found.best.assignment,
            *(end.region_ms.get(place) for end in found.ends),
        )
        for place, region in enumerate(regions)
    }
    for end in found.ends:
        assert trials.ratio(found.best, end).interval.low > 1, said
    floats = " ".join(regions[place].name for place in found.best.assignment)
    for kind in LOSERS:
        assert kind in floats, said


def test_a_graph_that_lost_all_pairs_is_fp16_and_says_so(
    tmp_path: Path, tactic_sources: str, timing_cache: Path
) -> None:
    """As where FP16 wins everywhere, which no graph of ours is sure to do."""
    graph = export_architecture("resnet_basic", tmp_path)
    options = BuildOptions(tactic_sources=tactic_sources, timing_cache=timing_cache)
    sizes = Batches((BATCH,), (str(BATCH),))
    trials = open_trials(graph, options, sizes, LatencyOptions(), 2)
    assert isinstance(trials.workshop, EngineWorkshop)
    plain = trials.workshop.graph_of(range(len(regions_in(graph))))
    tuned_for = TunedOptions(
        plain.name, sha256_of(plain), describe_gpu().name, "any", "any", "fp16", ("8", "1:8:16")
    )
    path = tmp_path / "plain.json"
    path.write_text(tuned_for.to_json())
    built = trtqat.build(
        plain, tmp_path / "plain.engine", path,
        timing_cache=timing_cache, tactic_sources=tactic_sources,
    )  # fmt: skip
    manifest = read_manifest(built.path)
    assert manifest is not None
    assert manifest.options.precision == "fp16"
    assert manifest.coverage is not None
    assert not any(layer.runs_int8 for layer in manifest.coverage.layers)
    with pytest.raises(GateError, match="0 of"):
        built.check_int8()
