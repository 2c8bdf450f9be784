"""The workshop of a search: engines of a graph, some regions of which are in floating point."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from trtqat.building.apart import build_plan_apart
from trtqat.building.options import BuildOptions
from trtqat.building.plan_files import write_plan
from trtqat.building.proof import prove_by_inspector
from trtqat.data.batches import full_batch
from trtqat.data.dataset import is_random, open_dataset
from trtqat.errors import DataError, GraphError, first_line
from trtqat.evaluation.accuracy import AccuracyRun, measure_accuracy
from trtqat.evaluation.contenders import Contender
from trtqat.evaluation.intervals import Ratio
from trtqat.evaluation.latency import time_in_turns
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.open_sizes import take_sizes
from trtqat.evaluation.timed_apart import TimingPlaces
from trtqat.evaluation.timing import LatencyOptions, Timing
from trtqat.files import write_together
from trtqat.graph.lenses.macs import summarize
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.lenses.regions import Region
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph_file.hashing import graph_sha256
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.inspection.engine_layers import Inspection, cover_graph, inspect_engine
from trtqat.inspection.inspector import EngineLayer
from trtqat.plan.coverage import int8_share
from trtqat.plan.manifest import read_manifest
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.runtime.engine import Engine
from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.points import (
    Point,
    at_point,
    batch_of,
    largest,
    points_for,
    sizes_of,
)
from trtqat.search.speed.region_times import region_times_ms
from trtqat.search.speed.searched_graph import nodes_of, read_searched
from trtqat.search.speed.tune_log import Int8Part, Measured, MeasuredTime
from trtqat.search.speed.within_target import Counted, Score, Valued
from trtqat.tensors import Arrays, random_arrays

if TYPE_CHECKING:
    import onnx_ir as ir

_LOG = logging.getLogger(__name__)
_PASSES = 20


@dataclass(frozen=True)
class EngineWorkshop:
    """Builds engines into a folder, and measures them on this GPU.

    Attributes:
        graph: The Q/DQ graph as it was exported.
        regions: Of it.
        options: How to build all of them; the timing cache among them.
        batches: Where they are measured: at batch sizes, or at batches of a size.
        data: Specification of the data: times are of its first batch, accuracy of all of it. At
            other sizes than its own times are of random numbers.
        latency: How long to measure.
        folder: Where graphs and engines go. What is there is taken.
        repaired: Regions of the graph with exact repairs; empty where nothing is to be repaired.
        metric: What accuracy is; None counts right answers.
    """

    graph: Path
    regions: Sequence[Region]
    options: BuildOptions
    batches: Sequence[Point]
    data: str
    latency: LatencyOptions
    folder: Path
    repaired: Sequence[Region] = ()
    metric: Metric | None = None

    def regions_of(self, form: Form) -> Sequence[Region]:
        """The regions of the graph that a form is built from."""
        return self.repaired if form.is_repaired else self.regions

    def make(self, candidate: Candidate) -> Measured:
        """Builds and measures an engine.

        Raises:
            BuildError: TensorRT does not build it.
            TrtqatError: It cannot be loaded, or run on the data.
        """
        times: dict[Point, MeasuredTime] = {}
        told: dict[Point, dict[int, float]] = {}
        layers: tuple[EngineLayer, ...] = ()
        with self._open(candidate) as engine:
            for batch in self.batches:
                compute = self._timed([engine], batch)[0][0].compute
                times[batch] = MeasuredTime(compute.median_ms, compute.interval_ms)
                told[batch] = {}
                try:
                    found = inspect_engine(engine, batch_size=batch_of(batch), passes=_PASSES)
                except GraphError as error:
                    # Of several profiles; its time is known all the same.
                    _LOG.warning("%s", first_line(error))
                    continue
                told[batch] = self._regions_ms(candidate, found, compute.median_ms)
                layers = found.layers
        # Of the largest batch: by its profile most of the work is done.
        int8 = self._int8_part(candidate, layers) if layers else None
        return Measured(times, told, int8)

    def _regions_ms(
        self, candidate: Candidate, found: Inspection, time_ms: float
    ) -> dict[int, float]:
        """Time of the regions that layers tell, by place."""
        assert found.times is not None
        # Events between the layers cost time, which the engine does not take without them.
        scale = time_ms / found.times.sum_ms
        told = region_times_ms(self.regions_of(candidate.form), found.layers, found.times.median_ms)
        return {place: scale * each for place, each in told.items()}

    def _int8_part(self, candidate: Candidate, layers: tuple[EngineLayer, ...]) -> Int8Part:
        coverage = cover_graph(self._graph_of(candidate), layers)
        runs = [layer.runs_int8 for layer in coverage.layers]
        # What the graph does not quantize is floating point, whether the engine names it or not.
        unknown = sum(each.runs_int8 is None and each.wants_int8 for each in coverage.layers)
        share = int8_share(
            (each.runs_int8 if each.wants_int8 else False, each.macs) for each in coverage.layers
        )
        return Int8Part(runs.count(True), len(runs), unknown, None if unknown else share)

    def compare(self, one: Candidate, other: Candidate) -> dict[Point, Ratio]:
        """How many times one engine is as fast as another at each batch, measured in turns.

        Raises:
            TrtqatError: One cannot be built, loaded or run.
        """
        ratios = {}
        with ExitStack() as held:
            engines = [held.enter_context(self._open(each)) for each in (one, other)]
            for batch in self.batches:
                (ratios[batch],) = self._timed(engines, batch)[1]
        return ratios

    def _timed(self, engines: Sequence[Engine], point: Point) -> tuple[list[Timing], list[Ratio]]:
        """Times engines in turns, each in a process that has run nothing before."""
        # Where they are opened again it is at this size.
        for each in engines:
            take_sizes(each, sizes_of(point))
        inputs = self._inputs(engines[0], point)
        with (
            TimingPlaces(engines) as places,
            places.open(inputs, batch_of(point), wanted=1) as timed,
        ):
            return time_in_turns(timed, self.latency)

    def count(self, candidate: Candidate) -> Score:
        """Right answers of an engine, or a metric, on all of the data, at its largest batch.

        Raises:
            DataError: The data has no labels, or does not fit.
            TrtqatError: The engine cannot be built, loaded or run.
        """
        with self._open(candidate) as engine:
            dataset = open_dataset(self.data, engine.inputs)
            point = largest(points_for(dataset, engine.inputs, self.batches))
            take_sizes(engine, sizes_of(point))
            run = measure_accuracy(
                [Contender(engine, "subject")],
                dataset,
                batch_size=batch_of(point),
                in_flight=2,
                metrics=(self.metric,) if self.metric else (),
                counts_classes=self.metric is None,
            )
        if self.metric is not None:
            return _value(self.metric, run)
        (subject,) = run.contenders
        if subject.accuracy is None:
            raise no_labels(self.data)
        return Counted(subject.accuracy.top1, subject.accuracy.count)

    def graph_of(self, floats: Iterable[int], form: Form | None = None) -> Path:
        """The graph with some regions in floating point, written unless it is there.

        Args:
            floats: Their places.
            form: Of the plan, which may be of the repaired graph; None is of the exported one.
        """
        form = form or Form()
        places = tuple(sorted(floats))
        path = self.folder / f"{_name(places, form)}.onnx"
        if not path.exists():
            # As when its regions were found, which hold names.
            model, _ = read_searched(self.graph, is_repaired=form.is_repaired)
            regions = self.regions_of(form)
            keep_float(model, nodes_of([regions[place] for place in places]))
            _record_what_is_left(model)
            # Whole or not there: an interrupted search takes what it finds.
            write_together(files_of(model, path))
        return path

    def precision_of(self, candidate: Candidate) -> Literal["int8", "fp16"]:
        """What a graph is built in: FP16 where no pair is left."""
        operators = {node.op_type for node in read_model(self._graph_of(candidate)).graph}
        return "int8" if DEQUANTIZE in operators else "fp16"

    def plan_of(self, candidate: Candidate) -> Path:
        """The plan of an engine, built unless it is there.

        Raises:
            BuildError: TensorRT does not build it.
        """
        form = candidate.form
        path = self.folder / f"{_name(candidate.floats, form)}.{_digest(form)}.engine"
        if not path.exists():
            options = replace(
                self.options,
                precision=self.precision_of(candidate),
                profile=form.profile,
                optimization_level=form.optimization_level,
                fp16=form.fp16,
            )
            build_plan_apart(self._graph_of(candidate), path, options)
        return path

    def hand_out(self, candidate: Candidate, graph: Path, plan: Path) -> None:
        """Writes the plan that was measured, as one of the graph that is handed out.

        A build of the same graph may choose other kernels: inside of compiled subgraphs, which no
        timing cache holds, and where two take about the same time.

        Args:
            candidate: Whose plan it is.
            graph: What is written as the candidate's graph.
            plan: The file to write; its manifest goes beside it.

        Raises:
            BuildError: It is gone and cannot be built again.
            UsageError: It cannot be written.
        """
        measured = self.plan_of(candidate)
        manifest = read_manifest(measured)
        assert manifest is not None
        manifest = replace(manifest, graph=graph.name, graph_sha256=graph_sha256(graph))
        if manifest.coverage is None:
            plugins = self.options.plugins
            proof = prove_by_inspector(measured, graph, None, manifest, plugins=plugins)
            manifest = replace(manifest, coverage=proof.coverage)
        write_plan(plan, measured.read_bytes(), manifest)

    def _open(self, candidate: Candidate) -> Engine:
        return Engine(self.plan_of(candidate), plugins=self.options.plugins)

    def _graph_of(self, candidate: Candidate) -> Path:
        return self.graph_of(candidate.floats, candidate.form)

    def _inputs(self, engine: Engine, point: Point) -> Arrays:
        """The first batch of the data; where it is of another size, random numbers."""
        batch, specs = batch_of(point), at_point(engine.inputs, point)
        if is_random(self.data):
            return full_batch(open_dataset(self.data, specs), batch)
        dataset = open_dataset(self.data, engine.inputs)
        if point in points_for(dataset, engine.inputs, self.batches):
            return full_batch(dataset, batch)
        return random_arrays([spec.with_batch(batch) for spec in specs], seed=0)


def _record_what_is_left(model: ir.Model) -> None:
    """What the graph says of its pairs, which are fewer now."""
    recorded = read_provenance(model.metadata_props.get(METADATA_KEY, "{}"))
    if recorded.qdq_pairs is None:
        return
    infer_shapes(model)
    summary = summarize(model)
    left = replace(recorded, qdq_pairs=summary.pairs, int8_share=summary.int8_share)
    model.metadata_props[METADATA_KEY] = left.to_json()


def _value(metric: Metric, run: AccuracyRun) -> Valued:
    ((kept,),) = run.samples
    (value,) = metric.values(kept, np.ones((1, len(kept))))
    return Valued(metric.label, float(value), metric.unit, metric.higher_is_better)


def no_labels(data: str) -> DataError:
    """The error that nothing can be counted on the data."""
    return DataError(
        f"'{data}' has no labels, so there is no accuracy to hold.",
        "Give --data with labels: an array 'labels' of class indices in an .npz file.",
    )


def _name(places: Sequence[int], form: Form) -> str:
    """Of the files; which regions are in floating point stands in the log."""
    name = f"float-{len(places)}-{_digest(tuple(places))}" if places else "int8"
    return f"{name}-repaired" if form.is_repaired else name


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
