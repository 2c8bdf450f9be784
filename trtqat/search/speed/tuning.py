"""``trtqat.tune``: the graph and the build options whose engine is the fastest on this GPU."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.building.tuned_options import (
    SCHEMA_VERSION,
    TunedOptions,
    cache_path,
    options_path,
    plan_path,
)
from trtqat.checks import check_kind
from trtqat.errors import UsageError
from trtqat.files import write_atomically, write_together
from trtqat.graph.repair import Repair
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.search.asked_metric import asked_metric
from trtqat.search.speed.checking import (
    TuneHost,
    check_data,
    check_files,
    check_host,
    check_regions,
    describe_host,
    inputs_of,
    key_of,
)
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.folder import LOG, opened_folder, remove_folder
from trtqat.search.speed.forms import Batches, Candidate, batches_for
from trtqat.search.speed.logged_trials import LoggedTrials
from trtqat.search.speed.options import TuneOptions, parse_tune_options
from trtqat.search.speed.points import sizes_of
from trtqat.search.speed.searched_graph import read_searched, regions_to_search
from trtqat.search.speed.searching import Searching
from trtqat.search.speed.strategy import Found
from trtqat.search.speed.trials import Tried
from trtqat.search.speed.tune_log import Try
from trtqat.search.speed.verdict import (
    RegionTimes,
    TunedEngine,
    engines_of,
    named_ends,
    regions_in,
)
from trtqat.version import __version__

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from trtqat.search.speed.options import TuneKeywords


@dataclass(frozen=True, repr=False)
class TuneResult:
    """What was found, and written.

    Attributes:
        graph: What was tuned.
        output: The graph of the fastest engine.
        plan: The fastest engine itself, as it was measured, with its manifest.
        options: The build options that go with the graph, for ``trtqat build --options``.
        timing_cache: The timings of all builds; with it a build takes the kernels that were
            measured.
        host: What all times are of.
        batches: What was measured, and what the plan takes.
        regions: All regions that have pairs, those first whose times differ most.
        verdict: The two ends, as far as they were built, and the answer.
        static: The answer with a profile for each measured batch alone, where that is faster
            beyond the interval than what takes all batches; else None.
        repairs: What exact repairs change in the graph; the tuned engine's form says whether it has
            them.
        plugins: The libraries that every engine was built with, and needs again.
        builds: How many engines were asked for, in this and interrupted runs; those that TensorRT
            refused are among them.
        seconds: What building and measuring took, in all of these runs.
        is_complete: Whether the search ended by itself, not by its budget.
        promised_gain: Which part of the time the costs of regions promised for an engine that the
            budget left out; None if for none.
        is_out_of_builds: Whether it is the number of engines (``most_builds``) that ended an
            incomplete search, not its time.
        max_drop_points: What the accuracy was allowed to drop; None if it was not asked for.
        tries: All engines, in their order; regions by their place among those of the graph.
    """

    graph: Path
    output: Path
    plan: Path
    options: Path
    timing_cache: Path
    host: TuneHost
    batches: Batches
    regions: tuple[RegionTimes, ...]
    verdict: tuple[TunedEngine, ...]
    static: TunedEngine | None
    repairs: tuple[Repair, ...]
    plugins: tuple[Path | str, ...]
    builds: int
    seconds: float
    is_complete: bool
    promised_gain: float | None
    is_out_of_builds: bool
    max_drop_points: float | None
    tries: tuple[Try, ...]

    @property
    def tuned(self) -> TunedEngine:
        """The answer."""
        return self.verdict[-1]

    def __repr__(self) -> str:
        return f"TuneResult('{self.output}', {self.builds} builds)"


def tune(
    graph: Path | str,
    output: Path | str,
    options: TuneOptions | None = None,
    **keywords: Unpack[TuneKeywords],
) -> TuneResult:
    """Searches which regions of a graph are INT8 in the fastest engine, on this GPU.

    Writes the graph, without the pairs that cost more than they gain, and beside it the plan that
    was measured and the options to build it again: ``tuned.onnx``, ``tuned.engine`` and
    ``tuned.json``. The plan takes every batch that was asked for. It is never slower than the
    better of INT8 and FP16 throughout. An interrupted search goes on where it was, from the folder
    ``tuned.onnx.tune``. The timing cache ``tuned.cache`` stays.

    Example: ``trtqat.tune("model.onnx", "tuned.onnx", batch="1:32:128", budget="10m")``

    Args:
        graph: ONNX file with explicit Q/DQ.
        output: The ONNX file to write; the other files have its name with other suffixes.
        options: How to search; or else keywords say so.
        **keywords: The options of ``trtqat tune``, as ``TuneKeywords`` lists them.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: It is an FP16 graph, has no INT8 layer or other dynamic dimensions than the
            batch whose sizes are not given, an option has a wrong form, or the output or its folder
            cannot be written.
        DataError: The data does not fit, or has no labels to count accuracy by.
        BuildError: TensorRT builds neither end.
        MissingError: There is no TensorRT, or no GPU.
    """
    if options is None:
        options = parse_tune_options(**keywords)
    elif keywords:
        raise UsageError(
            f"A search got options, and {next(iter(keywords))} besides.",
            "Give TuneOptions alone, or keywords alone.",
        )
    check_kind("The options of a search", options, TuneOptions, "TuneOptions()")
    with ExitStack() as held:
        searching = _open(Path(graph), Path(output), options, held)
        found = searching.search()
        best = searching.finish(found)
        _write(searching, best)
        result = _result(searching, found, best)
        remove_folder(searching.workshop.folder)
    return result


def _result(searching: Searching, found: Found, best: Tried) -> TuneResult:
    """The verdict, all of it from the log or measured now."""
    trials, options, output = searching.trials, searching.options, searching.output
    plain = [each for each in found.ends if each.assignment]
    named, today = named_ends([*searching.both_graphs(), *plain]), searching.today()
    if today is not None and (today.assignment, today.form) != (best.assignment, best.form):
        named += named_ends([today])
    is_counted = options.max_drop_points is not None
    return TuneResult(
        graph=searching.graph,
        output=output,
        plan=plan_path(output),
        options=options_path(output),
        timing_cache=_cache_of(output, options),
        host=searching.host,
        batches=searching.batches,
        regions=regions_in(found.ends, best, trials, searching.regions),
        verdict=engines_of(named, best, trials, searching.regions, is_counted=is_counted),
        static=_static(searching, found, best),
        repairs=trials.log.repairs,
        plugins=options.build.plugins,
        builds=len(trials.log.tries),
        seconds=trials.log.seconds,
        is_complete=searching.is_complete,
        promised_gain=searching.promised_gain,
        is_out_of_builds=not searching.is_complete and trials.is_out_of_builds,
        max_drop_points=options.max_drop_points,
        tries=trials.log.tries,
    )


def _static(searching: Searching, found: Found, best: Tried) -> TunedEngine | None:
    """The same regions with each measured batch alone, if that is faster."""
    same = next((each for each in found.tried if each.assignment == best.assignment), None)
    if same is None or best.form.profiles == same.form.profiles:
        return None
    if best.form.is_repaired != same.form.is_repaired:
        return None
    if not searching.trials.is_faster(same, best):
        return None
    (engine, _) = engines_of(
        [("static", same)], best, searching.trials, searching.regions, is_counted=False
    )
    return engine


def _open(graph: Path, output: Path, options: TuneOptions, held: ExitStack) -> Searching:
    """Checks everything, and opens the folder of the search, which ``held`` holds."""
    # Before anything is read, which takes longer.
    metric = asked_metric(options.metric)
    source = check_files(graph, output, options.data, _cache_of(output, options))
    model, _ = read_searched(graph, is_repaired=False)
    inputs = inputs_of(model)
    batches = batches_for(inputs, options.build.profile)
    check_data(options, inputs, batches.measured)
    sizes = sizes_of(batches.measured[-1])
    regions = regions_to_search(model, sizes)
    check_regions(regions, graph)
    other, repairs = read_searched(graph, is_repaired=True)
    repaired = regions_to_search(other, sizes) if repairs else ()
    check_host()
    host = describe_host()
    folder = output.with_name(f"{output.name}.tune")
    key = key_of(source, options, [regions, repaired], host)
    log = held.enter_context(opened_folder(folder, key))
    build = replace(options.build, timing_cache=_cache_of(output, options))
    workshop = EngineWorkshop(
        graph,
        regions,
        build,
        batches.measured,
        options.data,
        options.latency,
        folder,
        repaired,
        metric,
    )
    searched = batches.searched(options.build.optimization_level)
    trials = LoggedTrials(
        workshop,
        folder / LOG,
        replace(log, repairs=repairs),
        options.budget_s,
        options.most_builds,
        searched,
        reserved=len(batches.final(searched)),
    )
    return Searching(graph, output, options, batches, host, workshop, trials)


def _write(searching: Searching, best: Tried) -> None:
    """Writes the graph, the options that go with it, and its plan."""
    output, build = searching.output, searching.options.build
    candidate = Candidate.of(best.assignment, best.form)
    made = searching.workshop.graph_of(best.assignment, best.form)
    write_together(files_of(read_model(made), output))
    host = searching.host
    tuned = TunedOptions(
        graph=output.name,
        graph_sha256=graph_sha256(output),
        gpu=host.gpu,
        tensorrt=host.tensorrt,
        trtqat=__version__,
        precision=searching.workshop.precision_of(candidate),
        batches=best.form.batches,
        shapes=best.form.shapes,
        fp16=best.form.fp16,
        optimization_level=best.form.optimization_level,
        workspace_bytes=build.workspace_bytes,
        tactic_sources=build.tactic_sources,
        schema_version=SCHEMA_VERSION if best.form.shapes else 1,
    )
    write_atomically(options_path(output), tuned.to_json().encode())
    searching.workshop.hand_out(candidate, output, plan_path(output))


def _cache_of(output: Path, options: TuneOptions) -> Path:
    given = options.build.timing_cache
    return cache_path(options_path(output)) if given is None else Path(given)
