"""The workshop of a search: engines of a graph, some regions of which are in floating point."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from trtqat.building.builder import build_plan
from trtqat.building.options import BuildOptions, LowestPrecision
from trtqat.data.batches import full_batch
from trtqat.data.dataset import open_dataset
from trtqat.errors import DataError
from trtqat.evaluation.accuracy import measure_accuracy
from trtqat.evaluation.contenders import Contender
from trtqat.evaluation.intervals import Ratio
from trtqat.evaluation.latency import measure_in_turns, measure_latency
from trtqat.evaluation.timing import LatencyOptions
from trtqat.files import write_together
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.lenses.regions import Region
from trtqat.graph.passes.keep_float import keep_float
from trtqat.graph.passes.name_nodes import name_unnamed
from trtqat.graph_file.reading import read_model
from trtqat.graph_file.serialized import files_of
from trtqat.inspection.engine_layers import inspect_engine
from trtqat.runtime.engine import Engine
from trtqat.runtime.protocol import Session
from trtqat.search.speed.logged_trials import Measured
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.region_times import region_times_ms
from trtqat.search.speed.within_target import Counted
from trtqat.tensors import Arrays

_PASSES = 20


@dataclass(frozen=True)
class EngineWorkshop:
    """Builds the engines of assignments into a folder, and measures them on this GPU.

    Attributes:
        graph: The Q/DQ graph.
        regions: Of it.
        options: How to build; the timing cache among them.
        batch: The batch size that is measured.
        data: Specification of the data: times are of its first batch, accuracy of all of it.
        latency: How long to measure.
        folder: Where graphs and engines go. What is there is taken.
    """

    graph: Path
    regions: Sequence[Region]
    options: BuildOptions
    batch: int
    data: str
    latency: LatencyOptions
    folder: Path

    def make(self, assignment: Assignment) -> Measured:
        """Builds and measures the engine of an assignment.

        Raises:
            BuildError: TensorRT does not build it.
            TrtqatError: It cannot be loaded, or run on the data.
        """
        with Engine(self.plan_of(assignment)) as engine:
            with engine.session(self.batch) as session:
                timing = measure_latency(session, self._inputs(engine), self.latency)
            found = inspect_engine(engine, batch_size=self.batch, passes=_PASSES)
        time_ms = timing.compute.median_ms
        assert found.times is not None
        times = found.times.median_ms
        # Events between the layers cost time, which the engine does not take without them.
        scale = time_ms / found.times.sum_ms
        told = region_times_ms(self.regions, found.layers, times)
        return Measured(time_ms, {place: scale * each for place, each in told.items()})

    def compare(self, one: Assignment, other: Assignment) -> Ratio:
        """How many times one engine is as fast as another, measured in turns.

        Raises:
            TrtqatError: One cannot be built, loaded or run.
        """
        with ExitStack() as held:
            engines = [held.enter_context(Engine(self.plan_of(each))) for each in (one, other)]
            sessions: list[Session] = [
                held.enter_context(engine.session(self.batch)) for engine in engines
            ]
            inputs = self._inputs(engines[0])
            _, (ratio,) = measure_in_turns(sessions, inputs, self.latency)
        return ratio

    def count(self, assignment: Assignment) -> Counted:
        """Right answers of an engine on all samples of the data.

        Raises:
            DataError: The data has no labels, or does not fit.
            TrtqatError: The engine cannot be built, loaded or run.
        """
        with Engine(self.plan_of(assignment)) as engine:
            dataset = open_dataset(self.data, engine.inputs)
            run = measure_accuracy(
                [Contender(engine, "subject")], dataset, batch_size=self.batch, in_flight=2
            )
        (subject,) = run.contenders
        if subject.accuracy is None:
            raise no_labels(self.data)
        return Counted(subject.accuracy.top1, subject.accuracy.count)

    def graph_of(self, assignment: Assignment) -> Path:
        """The graph of an assignment, written unless it is there."""
        path = self.folder / f"{_name(assignment)}.onnx"
        if not path.exists():
            model = read_model(self.graph)
            # As when its regions were found, which hold names.
            name_unnamed(model)
            floats = {node for place in assignment for node in self.regions[place].nodes}
            keep_float(model, floats)
            # Whole or not there: an interrupted search takes what it finds.
            write_together(files_of(model, path))
        return path

    def plan_of(self, assignment: Assignment) -> Path:
        """The plan of an assignment, built unless it is there.

        Raises:
            BuildError: TensorRT does not build it.
        """
        path = self.folder / f"{_name(assignment)}.engine"
        if not path.exists():
            graph = self.graph_of(assignment)
            operators = {node.op_type for node in read_model(graph).graph}
            lowest: LowestPrecision = "int8" if DEQUANTIZE in operators else "fp16"
            build_plan(graph, path, replace(self.options, precision=lowest))
        return path

    def _inputs(self, engine: Engine) -> Arrays:
        return full_batch(open_dataset(self.data, engine.inputs), self.batch)


def no_labels(data: str) -> DataError:
    """The error that nothing can be counted on the data."""
    return DataError(
        f"'{data}' has no labels, so there is no accuracy to hold.",
        "Give --data with labels: an array 'labels' of class indices in an .npz file.",
    )


def _name(assignment: Assignment) -> str:
    """Of the files; which regions are in floating point stands in the log."""
    if not assignment:
        return "int8"
    digest = hashlib.sha256(repr(sorted(assignment)).encode()).hexdigest()[:12]
    return f"float-{len(assignment)}-{digest}"
