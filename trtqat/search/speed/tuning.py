"""``trtqat.tune``: the graph whose engine is the fastest on this GPU, and how that was found."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.building.library import load_builder
from trtqat.building.profiles import ProfileOptions, resolve_profile
from trtqat.building.rtx import is_rtx
from trtqat.building.source_graph import SourceGraph, read_source_graph
from trtqat.data.dataset import open_dataset
from trtqat.errors import BuildError, MissingError, UsageError
from trtqat.evaluation.intervals import Ratio
from trtqat.files import check_writable, write_together
from trtqat.graph.lenses.regions import Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph.passes.take_codes import recorded_scales
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.host.gpu import describe_gpu
from trtqat.host.tensorrt_library import open_device
from trtqat.search.speed.engines import EngineWorkshop, no_labels
from trtqat.search.speed.folder import CACHE, LOG, open_folder, remove_folder
from trtqat.search.speed.logged_trials import LoggedTrials, Try
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.strategy import Found, SearchRegion, Tried, search
from trtqat.search.speed.within_target import Counted, fastest_within
from trtqat.tensors import DYNAMIC, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class TunedEngine:
    """An engine of the verdict.

    Attributes:
        name: ``"INT8 as exported"``, ``"FP16"`` or ``"tuned"``.
        time_ms: Median GPU compute time.
        speed_up: How many times the tuned engine is as fast, measured in turns; None for itself.
        floats: Names of its regions in floating point.
        counted: Its right answers on the data; None unless accuracy was asked for.
    """

    name: str
    time_ms: float
    speed_up: Ratio | None
    floats: tuple[str, ...]
    counted: Counted | None


@dataclass(frozen=True)
class TuneResult:
    """What was found, and written.

    Attributes:
        graph: What was tuned.
        output: The graph of the fastest engine.
        batch: The batch size that was measured.
        regions: Names of all regions that have pairs.
        verdict: The two ends, as far as they were built, and the answer.
        builds: How many engines were built, in this and interrupted runs.
        seconds: What building and measuring took, in all of these runs.
        is_complete: Whether the search ended by itself, not by its budget.
        max_drop_points: What the accuracy was allowed to drop; None if it was not asked for.
        tries: All engines, in their order; regions by their place among those of the graph.
    """

    graph: Path
    output: Path
    batch: int
    regions: tuple[str, ...]
    verdict: tuple[TunedEngine, ...]
    builds: int
    seconds: float
    is_complete: bool
    max_drop_points: float | None
    tries: tuple[Try, ...]


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
        UsageError: It is an FP16 graph, has no INT8 layer or other dynamic dimensions than the
            batch, or the output or its folder cannot be written.
        DataError: The data does not fit, or has no labels to count accuracy by.
        BuildError: TensorRT builds neither end.
        MissingError: There is no TensorRT, or no GPU.
    """
    graph, output = Path(graph), Path(output)
    source = _check(graph, output)
    model = read_model(graph)
    name_unnamed(model)
    infer_shapes(model)
    inputs = _inputs_of(model)
    batch, profile = measured_batch(inputs, options.build.profile.batch)
    is_counted = options.max_drop_points is not None
    if is_counted and open_dataset(options.data, inputs).batch(0, 1).labels is None:
        raise no_labels(options.data)
    regions = regions_of(model)
    if not any(region.layers for region in regions):
        raise UsageError(
            f"No layer of '{graph}' is INT8, so there is nothing to tune.",
            "See what its pairs do not reach: trtqat lint",
        )
    # Codes that are computed otherwise are refused here, not when one engine is built already.
    keep_float(model, {node for region in regions for node in region.nodes})
    _check_host()
    folder = output.with_name(f"{output.name}.tune")
    log = open_folder(folder, _key(source, options, regions))
    cache = options.build.timing_cache or folder / CACHE
    build = replace(options.build, profile=profile, timing_cache=cache)
    workshop = EngineWorkshop(graph, regions, build, batch, options.data, options.latency, folder)
    trials = LoggedTrials(workshop, folder / LOG, log, options.budget_s, options.most_builds)
    described = [SearchRegion(each.kind, each.share, each.is_quantized) for each in regions]
    found = search(described, trials)
    if found is None:
        raise BuildError(
            f"TensorRT builds '{graph.name}' neither in INT8 nor in floating point.",
            f"See why in '{folder / LOG}'.",
        )
    answer = _answer(found, trials, options)
    write_together(files_of(read_model(workshop.graph_of(answer.assignment)), output))
    result = TuneResult(
        graph,
        output,
        batch,
        tuple(region.name for region in regions if region.is_quantized),
        tuple(_verdict(found, answer, trials, regions, options)),
        len(trials.log.tries),
        trials.log.seconds,
        found.is_complete,
        options.max_drop_points,
        trials.log.tries,
    )
    remove_folder(folder)
    return result


def measured_batch(
    inputs: Sequence[TensorSpec], asked: tuple[int, int, int] | None
) -> tuple[int, ProfileOptions]:
    """The batch size that is measured, and the profile of that size alone.

    A profile of one size is what an engine can do; what a wide one costs is another question.

    Args:
        inputs: Of the graph, dynamic dimensions as -1.
        asked: ``--batch``, of which the optimum is measured.

    Raises:
        UsageError: A dimension other than the batch is dynamic, the inputs have different fixed
            batches, or one that is not the batch that was asked for.
    """
    for spec in inputs:
        if DYNAMIC in spec.shape[1:]:
            raise UsageError(
                f"Input '{spec.name}' has dynamic dimensions besides the batch, and tuning takes a "
                "batch size alone.",
                "Export the graph with its other dimensions fixed.",
            )
    fixed = {spec.shape[0] for spec in inputs if spec.shape} - {DYNAMIC}
    is_dynamic = any(spec.shape[:1] == (DYNAMIC,) for spec in inputs)
    if asked is None and len(fixed) == 1 and not is_dynamic:
        return fixed.pop(), ProfileOptions()
    batch = asked[1] if asked else 32
    profile = ProfileOptions(batch=(batch, batch, batch))
    resolve_profile(inputs, profile)
    return batch, profile


def _inputs_of(model: ir.Model) -> list[TensorSpec]:
    specs, recorded = [], recorded_scales(model)
    for value in model.graph.inputs:
        dims = tuple(dim if isinstance(dim, int) else DYNAMIC for dim in value.shape or ())
        # What arrives as codes is given as floats.
        has_type = value.dtype is not None and value.name not in recorded
        dtype = value.dtype.numpy().name if has_type and value.dtype else "float32"
        specs.append(TensorSpec(str(value.name), dims, dtype))
    return specs


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
    return source


def _check_host() -> None:
    """Refuses a host that cannot build and measure both ends."""
    trt = load_builder(None)
    if is_rtx(trt):
        raise MissingError(
            "Here is TensorRT for RTX alone, whose plans are not run where they are built.",
            "Tune where TensorRT and the GPU are that will run the engine.",
        )
    if not hasattr(trt.BuilderFlag, "FP16"):
        raise MissingError(
            f"TensorRT {trt.__version__} builds no FP16 engine from an FP32 graph, so there is "
            "nothing to compare INT8 with.",
            "Tune with a TensorRT up to 10.",
        )
    open_device("Tuning")


def _key(source: SourceGraph, options: TuneOptions, regions: Sequence[Region]) -> str:
    """What is the same if and only if the log's figures are of this search."""
    gpu = describe_gpu()
    trt = load_builder(None).__version__
    # The log names regions by their places, which another version may cut otherwise.
    places = [(region.name, region.nodes) for region in regions]
    words = [source.sha256, gpu.name, gpu.driver, trt, places]
    words += [options.build, options.data, options.latency]
    return hashlib.sha256(repr(words).encode()).hexdigest()


def _plain(found: Found) -> Tried | None:
    """The engine in floating point throughout; None if TensorRT does not build it."""
    return next((each for each in found.ends if each.assignment), None)


def _answer(found: Found, trials: LoggedTrials, options: TuneOptions) -> Tried:
    if options.max_drop_points is None:
        return found.best
    plain = _plain(found)
    if plain is None:
        raise BuildError(
            "TensorRT does not build the graph in floating point, so no accuracy can be held.",
            "Leave out --max-accuracy-drop; the reason stands in the log.",
        )
    return fastest_within(found, plain, options.max_drop_points, trials.count)


def _verdict(
    found: Found,
    answer: Tried,
    trials: LoggedTrials,
    regions: Sequence[Region],
    options: TuneOptions,
) -> list[TunedEngine]:
    named: list[tuple[str, Tried]] = [
        ("FP16" if each.assignment else "INT8 as exported", each) for each in found.ends
    ]
    verdict = []
    for name, tried in (*named, ("tuned", answer)):
        is_answer = tried.assignment == answer.assignment
        floats = tuple(regions[place].name for place in sorted(tried.assignment))
        speed_up = None if is_answer else trials.ratio(answer, tried)
        counted = None if options.max_drop_points is None else trials.count(tried)
        verdict.append(TunedEngine(name, tried.time_ms, speed_up, floats, counted))
    return verdict
