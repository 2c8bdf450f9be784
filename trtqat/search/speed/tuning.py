"""``trtqat.tune``: the graph whose engine is the fastest on this GPU, and how that was found."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trtqat.building.library import load_builder
from trtqat.building.rtx import is_rtx
from trtqat.building.source_graph import SourceGraph, read_source_graph
from trtqat.errors import BuildError, MissingError, UsageError
from trtqat.evaluation.intervals import Ratio
from trtqat.files import check_writable, write_together
from trtqat.graph.lenses.regions import Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.host.gpu import describe_gpu
from trtqat.host.tensorrt_library import open_device
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.logged_trials import LoggedTrials, read_log
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.strategy import Found, SearchRegion, Tried, search


@dataclass(frozen=True)
class TunedEngine:
    """An engine of the verdict.

    Attributes:
        name: ``"INT8 as exported"``, ``"FP16"`` or ``"tuned"``.
        time_ms: Median GPU compute time.
        speed_up: How many times the tuned engine is as fast, measured in turns; None for itself.
        floats: Names of its regions in floating point.
    """

    name: str
    time_ms: float
    speed_up: Ratio | None
    floats: tuple[str, ...]


@dataclass(frozen=True)
class TuneResult:
    """What was found, and written.

    Attributes:
        graph: What was tuned.
        output: The graph of the fastest engine.
        batch: The batch size that was measured.
        regions: Names of all regions.
        verdict: The two ends, as far as they were built, and the answer.
        builds: How many engines were built, in this and interrupted runs.
        seconds: What building and measuring took, in all of these runs.
        is_complete: Whether the search ended by itself, not by its budget.
    """

    graph: Path
    output: Path
    batch: int
    regions: tuple[str, ...]
    verdict: tuple[TunedEngine, ...]
    builds: int
    seconds: float
    is_complete: bool


def tune(graph: Path | str, output: Path | str, options: TuneOptions) -> TuneResult:
    """Searches which regions of a graph are INT8 in the fastest engine, on this GPU.

    An interrupted search goes on where it was, from the folder ``OUTPUT.tune``.

    Args:
        graph: ONNX file with explicit Q/DQ.
        output: The ONNX file to write: the same graph, with the pairs taken out that cost more
            than they gain. It is never slower than the better of INT8 and FP16 throughout.
        options: How to search.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: It is an FP16 graph, has no INT8 layer, or the output cannot be written.
        BuildError: TensorRT builds neither end.
        MissingError: There is no TensorRT, or no GPU.
    """
    graph, output = Path(graph), Path(output)
    source = _check(graph, output)
    model = read_model(graph)
    infer_shapes(model)
    regions = regions_of(model)
    if not any(region.layers for region in regions):
        raise UsageError(
            f"No layer of '{graph}' is INT8, so there is nothing to tune.",
            "See what its pairs do not reach: trtqat lint",
        )
    folder = output.with_name(f"{output.name}.tune")
    folder.mkdir(exist_ok=True)
    workshop = _workshop(graph, regions, options, folder)
    log = folder / "log.json"
    trials = LoggedTrials(
        workshop,
        log,
        read_log(log, _key(source, options)),
        options.budget_s,
        options.most_builds,
    )
    found = search(
        [SearchRegion(each.kind, each.share, each.is_quantized) for each in regions], trials
    )
    if found is None:
        raise BuildError(
            f"TensorRT builds '{graph.name}' neither in INT8 nor in floating point.",
            f"See why in '{log}'.",
        )
    best = read_model(workshop.graph_of(found.best.assignment))
    write_together(files_of(best, output))
    result = TuneResult(
        graph,
        output,
        workshop.batch,
        tuple(region.name for region in regions),
        tuple(_verdict(found, trials, regions)),
        len(trials.log.tries),
        trials.log.seconds,
        found.is_complete,
    )
    shutil.rmtree(folder)
    return result


def _check(graph: Path, output: Path) -> SourceGraph:
    """Refuses what cannot be tuned, before anything is built."""
    source = read_source_graph(graph)
    if source.has_half_scales:
        raise UsageError(
            f"'{graph}' is an FP16 graph; tuning is of the FP32 graph, whose rest runs in FP16.",
            "Give what trtqat export --precision fp32 writes.",
        )
    if output.resolve() == graph.resolve():
        raise UsageError(f"'{output}' is the graph itself.", "Give another name with -o.")
    check_writable(output)
    if is_rtx(load_builder(None)):
        raise MissingError(
            "Here is TensorRT for RTX alone, whose plans are not run where they are built.",
            "Tune where TensorRT and the GPU are that will run the engine.",
        )
    open_device("Tuning")
    return source


def _workshop(
    graph: Path, regions: Sequence[Region], options: TuneOptions, folder: Path
) -> EngineWorkshop:
    asked = options.build.profile.batch or (1, 32, 32)
    batch = asked[1]
    # A profile of one size is what the engine can do; what a wide one costs is another question.
    profile = replace(options.build.profile, batch=(batch, batch, batch))
    cache = options.build.timing_cache or folder / "timing.cache"
    build = replace(options.build, profile=profile, timing_cache=cache)
    return EngineWorkshop(graph, regions, build, batch, options.data, options.latency, folder)


def _key(source: SourceGraph, options: TuneOptions) -> str:
    """What is the same if and only if the log's figures are of this search."""
    gpu = describe_gpu()
    trt = load_builder(None).__version__
    words = [source.sha256, gpu.name, gpu.driver, trt, options.build, options.data, options.latency]
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _verdict(found: Found, trials: LoggedTrials, regions: Sequence[Region]) -> list[TunedEngine]:
    named: list[tuple[str, Tried]] = [
        ("FP16" if each.assignment else "INT8 as exported", each) for each in found.ends
    ]
    verdict = []
    for name, tried in (*named, ("tuned", found.best)):
        is_best = tried.assignment == found.best.assignment
        floats = tuple(regions[place].name for place in sorted(tried.assignment))
        speed_up = None if is_best else trials.ratio(found.best, tried)
        verdict.append(TunedEngine(name, tried.time_ms, speed_up, floats))
    return verdict
