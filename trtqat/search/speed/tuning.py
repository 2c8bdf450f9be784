"""``trtqat.tune``: the graph and the build options whose engine is the fastest on this GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.building.tuned_options import TunedOptions, cache_path, options_path
from trtqat.checks import check_kind
from trtqat.errors import BuildError, UsageError
from trtqat.files import write_atomically, write_together
from trtqat.graph.lenses.regions import Region, regions_of
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.search.speed.checking import (
    TuneHost,
    check_files,
    check_host,
    check_labels,
    check_regions,
    describe_host,
    inputs_of,
    key_of,
)
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.folder import LOG, open_folder, remove_folder
from trtqat.search.speed.forms import Batches, batches_for, levers_of
from trtqat.search.speed.logged_trials import LoggedTrials
from trtqat.search.speed.options import TuneOptions, parse_tune_options
from trtqat.search.speed.strategy import (
    Found,
    SearchRegion,
    Tried,
    choose_form,
    pull_levers,
    search,
)
from trtqat.search.speed.tune_log import Try
from trtqat.search.speed.verdict import (
    FP16,
    INT8,
    RegionTimes,
    TunedEngine,
    engines_of,
    regions_in,
)
from trtqat.search.speed.within_target import fastest_within, is_within
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
        options: The build options that go with it, for ``trtqat build --options``.
        timing_cache: The timings of all builds; with it a build takes the kernels that were
            measured.
        host: What all times are of.
        batches: What was measured, and what the plan takes.
        regions: All regions that have pairs, those first whose times differ most.
        verdict: The two ends, as far as they were built, and the answer.
        static: The answer with a profile for each measured batch alone, where that is faster
            beyond the interval than what takes all batches; else None.
        builds: How many engines were built, in this and interrupted runs.
        seconds: What building and measuring took, in all of these runs.
        is_complete: Whether the search ended by itself, not by its budget.
        max_drop_points: What the accuracy was allowed to drop; None if it was not asked for.
        tries: All engines, in their order; regions by their place among those of the graph.
    """

    graph: Path
    output: Path
    options: Path
    timing_cache: Path
    host: TuneHost
    batches: Batches
    regions: tuple[RegionTimes, ...]
    verdict: tuple[TunedEngine, ...]
    static: TunedEngine | None
    builds: int
    seconds: float
    is_complete: bool
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

    Writes the graph, without the pairs that cost more than they gain, and beside it the options to
    build it with: ``tuned.onnx`` and ``tuned.json``. Its plan takes every batch that was asked for.
    It is never slower than the better of INT8 and FP16 throughout. An interrupted search goes on
    where it was, from the folder ``tuned.onnx.tune``. The timing cache ``tuned.cache`` stays.

    Example: ``trtqat.tune("model.onnx", "tuned.onnx", batch="1:32:128", budget="10m")``

    Args:
        graph: ONNX file with explicit Q/DQ.
        output: The ONNX file to write.
        options: How to search; or else keywords say so.
        **keywords: The options of ``trtqat tune``, as ``TuneKeywords`` lists them.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: It is an FP16 graph, has no INT8 layer or other dynamic dimensions than the
            batch, an option has a wrong form, or the output or its folder cannot be written.
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
    searching = _open(Path(graph), Path(output), options)
    found = searching.search()
    best = searching.finish(found)
    _write(searching, best)
    result = searching.result(found, best)
    remove_folder(searching.workshop.folder)
    return result


@dataclass
class _Searching:
    """A search whose folder is open."""

    graph: Path
    output: Path
    options: TuneOptions
    regions: tuple[Region, ...]
    batches: Batches
    host: TuneHost
    workshop: EngineWorkshop
    trials: LoggedTrials
    is_complete: bool = True

    def search(self) -> Found:
        """Which regions are INT8."""
        found = search(
            [SearchRegion(each.kind, each.share, each.is_quantized) for each in self.regions],
            self.trials,
        )
        if found is None:
            raise BuildError(
                f"TensorRT builds '{self.graph.name}' neither in INT8 nor in floating point.",
                f"See why in '{self.trials.path}'.",
            )
        self.is_complete = found.is_complete
        return found

    def finish(self, found: Found) -> Tried:
        """The plan that is handed out."""
        answer, is_accurate = self._within_target(found)
        forms = self.batches.final(self.trials.searched)
        formed = choose_form(answer, found.ends, forms, self.trials, is_accurate)
        if formed is None:
            raise BuildError(
                f"TensorRT builds no plan of '{self.graph.name}' that takes every batch.",
                f"See why in '{self.trials.path}', or ask for one batch alone.",
            )
        # Before the levers, which may take what is left of the budget.
        self._today()
        levers = levers_of(
            frozenset(place for place, each in enumerate(self.regions) if each.is_quantized),
            level_is_given=self.options.build.optimization_level is not None,
        )
        pulled = pull_levers(formed.best, levers, self.trials, is_accurate)
        self.is_complete &= formed.is_complete and pulled.is_complete
        return pulled.best

    def result(self, found: Found, best: Tried) -> TuneResult:
        """The verdict, all of it from the log or measured now."""
        is_counted = self.options.max_drop_points is not None
        ends = {FP16 if each.assignment else INT8: each for each in found.ends}
        named, today = list(ends.items()), self._today()
        if today is not None and (today.assignment, today.form) != (best.assignment, best.form):
            named.append((INT8, today))
        verdict = engines_of(named, best, self.trials, self.regions, is_counted=is_counted)
        return TuneResult(
            graph=self.graph,
            output=self.output,
            options=options_path(self.output),
            timing_cache=_cache_of(self.output, self.options),
            host=self.host,
            batches=self.batches,
            regions=regions_in(ends, best, self.trials, self.regions),
            verdict=verdict,
            static=self._static(found, best),
            builds=len(self.trials.log.tries),
            seconds=self.trials.log.seconds,
            is_complete=self.is_complete,
            max_drop_points=self.options.max_drop_points,
            tries=self.trials.log.tries,
        )

    def _today(self) -> Tried | None:
        """INT8 as exported, built as it was asked for: what a plain build makes."""
        forms = self.batches.final(self.trials.searched)
        if not forms or not self.trials.may_run(frozenset(), forms[0]):
            return None
        return self.trials.run(frozenset(), forms[0])

    def _static(self, found: Found, best: Tried) -> TunedEngine | None:
        """The same regions with each measured batch alone, if that is faster."""
        same = next((each for each in found.tried if each.assignment == best.assignment), None)
        if same is None or best.form.batches == same.form.batches:
            return None
        if not self.trials.is_faster(same, best):
            return None
        (engine, _) = engines_of(
            [("static", same)], best, self.trials, self.regions, is_counted=False
        )
        return engine

    def _within_target(self, found: Found) -> tuple[Tried, Callable[[Tried], bool]]:
        """The fastest within the accuracy target, and whether another one is."""
        drop = self.options.max_drop_points
        if drop is None:
            return found.best, lambda tried: True
        plain = next((each for each in found.ends if each.assignment), None)
        if plain is None:
            raise BuildError(
                "TensorRT does not build the graph in floating point, so no accuracy can be held.",
                "Leave out --max-accuracy-drop; the reason stands in the log.",
            )
        count, reference = self.trials.count, self.trials.count(plain)
        answer = fastest_within(found, plain, drop, count)
        return (
            answer,
            lambda tried: (
                tried.assignment == plain.assignment or is_within(count(tried), reference, drop)
            ),
        )


def _open(graph: Path, output: Path, options: TuneOptions) -> _Searching:
    """Checks everything, and opens the folder of the search."""
    source = check_files(graph, output)
    model = read_model(graph)
    name_unnamed(model)
    infer_shapes(model)
    inputs = inputs_of(model)
    batches = batches_for(inputs, options.build.profile)
    check_labels(options, inputs)
    regions = regions_of(model)
    check_regions(regions, graph)
    # Codes that are computed otherwise are refused here, not when one engine is built already.
    keep_float(model, {node for region in regions for node in region.nodes})
    check_host()
    host = describe_host()
    folder = output.with_name(f"{output.name}.tune")
    log = open_folder(folder, key_of(source, options, regions, host))
    build = replace(options.build, timing_cache=_cache_of(output, options))
    workshop = EngineWorkshop(
        graph, regions, build, batches.measured, options.data, options.latency, folder
    )
    searched = batches.searched(options.build.optimization_level)
    trials = LoggedTrials(
        workshop,
        folder / LOG,
        log,
        options.budget_s,
        options.most_builds,
        searched,
        reserved=len(batches.final(searched)),
    )
    return _Searching(graph, output, options, regions, batches, host, workshop, trials)


def _write(searching: _Searching, best: Tried) -> None:
    """Writes the graph, and the options that go with it."""
    output, build = searching.output, searching.options.build
    write_together(files_of(read_model(searching.workshop.graph_of(best.assignment)), output))
    host = searching.host
    tuned = TunedOptions(
        graph=output.name,
        graph_sha256=graph_sha256(output),
        gpu=host.gpu,
        tensorrt=host.tensorrt,
        trtqat=__version__,
        precision=searching.workshop.precision_of(best.assignment),
        batches=best.form.batches,
        fp16=best.form.fp16,
        optimization_level=best.form.optimization_level,
        workspace_bytes=build.workspace_bytes,
        tactic_sources=build.tactic_sources,
    )
    write_atomically(options_path(output), tuned.to_json().encode())


def _cache_of(output: Path, options: TuneOptions) -> Path:
    given = options.build.timing_cache
    return cache_path(options_path(output)) if given is None else Path(given)
