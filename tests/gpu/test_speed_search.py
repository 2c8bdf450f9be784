"""The search for the fastest engine, on a real GPU: never slower than INT8 or FP16 throughout."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import trtqat
from tests.support.architectures import ARCHITECTURES, batches, trained_like
from tests.support.planted import LOSERS, planted
from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.options import ExportOptions
from trtqat.graph.lenses.regions import regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.logged_trials import LoggedTrials, read_log
from trtqat.search.speed.strategy import SearchRegion, search

BATCH = 8
PLANTED_BATCH = 32


@pytest.mark.parametrize("name", ["resnet_basic", "vit_sdpa"])
def test_the_best_is_no_slower_than_either_end(
    name: str, tmp_path: Path, tactic_sources: str, timing_cache: Path
) -> None:
    architecture = ARCHITECTURES[name]
    graph = tmp_path / "model.onnx"
    quantized = trtqat.quantize(trained_like(name), batches(architecture, 3, 8), for_="8.6").model
    trtqat.export_onnx(quantized, graph, ExportOptions(architecture.inputs))
    model = read_model(graph)
    infer_shapes(model)
    regions = regions_of(model)
    options = BuildOptions(
        profile=ProfileOptions(batch=(BATCH, BATCH, BATCH)),
        tactic_sources=tactic_sources,
        timing_cache=timing_cache,
    )
    latency = LatencyOptions(warm_up_ms=50, duration_s=0.3)
    workshop = EngineWorkshop(graph, regions, options, BATCH, "random:8", latency, tmp_path)
    log = tmp_path / "log.json"
    trials = LoggedTrials(workshop, log, read_log(log, "key"), budget_s=600, most_builds=8)
    described = [SearchRegion(each.kind, each.share, each.is_quantized) for each in regions]
    found = search(described, trials)
    assert found is not None
    assert len(found.ends) == 2
    for end in found.ends:
        if end is not found.best:
            assert trials.ratio(found.best, end).interval.high > 0.99
    # In the convolutional network TensorRT tells the time of every region.
    if name == "resnet_basic":
        assert set(found.ends[0].region_ms) == set(range(len(regions)))
    again = LoggedTrials(workshop, log, read_log(log, "key"), budget_s=600, most_builds=8)
    assert search(described, again) == found


def test_planted_losers_are_found_and_both_ends_beaten(
    tmp_path: Path, tactic_sources: str, timing_cache: Path
) -> None:
    """Not to be had by choosing the better end: blocks that lose stand among others that win."""
    graph = tmp_path / "planted.onnx"
    onnx.save(planted(batch=PLANTED_BATCH), graph)
    model = read_model(graph)
    infer_shapes(model)
    regions = regions_of(model)
    options = BuildOptions(tactic_sources=tactic_sources, timing_cache=timing_cache)
    latency = LatencyOptions(warm_up_ms=100, duration_s=0.5)
    workshop = EngineWorkshop(
        graph, regions, options, PLANTED_BATCH, f"random:{PLANTED_BATCH}", latency, tmp_path
    )
    log = tmp_path / "log.json"
    trials = LoggedTrials(workshop, log, read_log(log, "key"), budget_s=600, most_builds=12)
    described = [SearchRegion(each.kind, each.share, each.is_quantized) for each in regions]
    found = search(described, trials)
    assert found is not None
    assert len(found.ends) == 2
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
