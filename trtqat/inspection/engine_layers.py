"""What a loaded engine consists of, and which layers of its graph it runs in INT8."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trtqat.errors import GraphError
from trtqat.inspection.coverage import cover, has_compiled_subgraph
from trtqat.inspection.inspector import EngineLayer, parse_information
from trtqat.inspection.layer_times import LayerTimes, measure_layers
from trtqat.inspection.profiles import join_profiles, layers_of_profile
from trtqat.plan.coverage import Coverage
from trtqat.plan.sizes import Sizes, sized_inputs
from trtqat.plan.targets import TURING
from trtqat.runtime.engine import Engine
from trtqat.tensors import random_arrays

_QUERIES = 200
# Engines name what runs inside of these, and not always the node itself.
_WITH_GRAPHS = ("If", "Loop", "Scan")
# Elsewhere the same convolution may be INT8, whatever lint finds at it.
_ON_TURING = "no convolution is INT8 where sm75 (Turing) is a target"


@dataclass(frozen=True)
class Inspection:
    """A plan as TensorRT's inspector and profiler describe it.

    Attributes:
        information: The inspector's JSON, as ``trtexec --exportLayerInfo`` writes it.
        layers: The same, read; of an engine of several profiles those of the one that was asked.
        batch_size: For which shapes and times hold.
        times: Time by layer; None if they were not measured.
        compute_ms: Median GPU time of the whole engine without the profiler; None if no times were
            measured.
        mode: How that was enqueued; empty if no times were measured.
        profile: The index of the engine's profile that this batch size ran by.
        sizes: Shape of one sample by input, of those whose size the engine leaves open.
    """

    information: Mapping[str, Any]
    layers: tuple[EngineLayer, ...]
    batch_size: int
    times: LayerTimes | None
    compute_ms: float | None
    mode: str
    profile: int = 0
    sizes: Sizes = field(default_factory=dict)


def inspect_engine(
    engine: Engine,
    *,
    batch_size: int | None = None,
    passes: int = 0,
    profile: int | None = None,
) -> Inspection:
    """Asks TensorRT's inspector and, in a run of its own, the profiler.

    Args:
        engine: The engine.
        batch_size: For which; if None what the engine is tuned for, or the profile.
        passes: How many passes the profiler measures; 0 measures no times.
        profile: The index of the profile; None takes the one that a session takes.

    Raises:
        UsageError: The engine does not take that batch size.
        GraphError: The layers of several profiles cannot be told apart.
        InferenceError: TensorRT makes no execution context, or its enqueue fails.
    """
    ranges = engine.profiles.ranges
    if batch_size is None:
        batch_size = engine.optimal_batch if profile is None else ranges[profile].opt
    with closing(engine.session(batch_size, profile=profile)) as session:
        profile = session.profile
        opened = sized_inputs(engine.profiles.shapes)
        sizes = {each.name: each.shape[1:] for each in session.input_specs if each.name in opened}
        inputs = random_arrays(session.input_specs, seed=0)
        session.load(inputs)
        # Formats of tensors are known only to a context whose shapes are set.
        text = engine.layer_information(session)
        information = json.loads(text, strict=False)
        compute_ms = statistics.median(session.compute_times_ms(_QUERIES)) if passes else None
        mode = session.mode if passes else ""
    times = None
    if passes:
        # A profiler sees no layers in a graph that the library replays, as that for RTX may.
        with closing(engine.session(batch_size, cuda_graph=False, profile=profile)) as profiled:
            profiled.load(inputs)
            times = measure_layers(engine, profiled, passes=passes)
    layers = layers_of_profile(
        parse_information(information, engine.name), profile, len(ranges), engine.name
    )
    return Inspection(information, layers, batch_size, times, compute_ms, mode, profile, sizes)


def ask_inspector(engine: Engine, profile: int) -> Mapping[str, Any]:
    """What TensorRT's inspector says of an engine by one of its profiles, at its optimum.

    Args:
        engine: The engine.
        profile: The index of the profile.

    Raises:
        InferenceError: TensorRT makes no execution context, or its enqueue fails.
    """
    batch_size = engine.profiles.ranges[profile].opt
    with closing(engine.session(batch_size, profile=profile)) as session:
        # Formats of tensors are known only to a context whose shapes are set.
        found: Mapping[str, Any] = json.loads(engine.layer_information(session), strict=False)
    return found


def cover_graph(
    graph: Path, layers: tuple[EngineLayer, ...], times_ms: Mapping[str, float] | None = None
) -> Coverage:
    """Joins the layers of an ONNX file with those of its engine.

    Args:
        graph: What the engine was built from.
        layers: Of the engine.
        times_ms: Time by layer of the engine, if it was measured.

    Raises:
        GraphError: The graph cannot be read.
    """
    return cover_profiles(graph, {0: layers}, (), times_ms)


def cover_profiles(
    graph: Path,
    profiles: Mapping[int, tuple[EngineLayer, ...]],
    batches: Sequence[str],
    times_ms: Mapping[str, float] | None = None,
    *,
    main: int = 0,
    targets: Sequence[str] = (),
) -> Coverage:
    """Joins the layers of an ONNX file with those of each profile of its engine.

    Args:
        graph: What the engine was built from.
        profiles: Layers of the engine, by the index of their profile: of all or some.
        batches: Of every profile that the engine has, as ``--batch`` takes them, or ``--shapes``
            where sizes differ; where they are not known, what to call the profiles.
        times_ms: Time by layer of one profile, if it was measured.
        main: The index of that profile, whose kernels and other layers are told, too.
        targets: The compute capabilities that a plan of TensorRT for RTX is for, as ``"8.9"``.

    Returns:
        A layer is INT8 there if it is in each of these profiles.

    Raises:
        GraphError: The graph cannot be read.
    """
    from trtqat.graph.lenses.exits import float_exits
    from trtqat.graph.lint import examine
    from trtqat.graph.passes.tidy import inline_functions
    from trtqat.graph_file.reading import read_model

    model = read_model(graph)
    inline_functions(model)
    findings, summary = examine(model)
    hints = {
        finding.where: f"{finding.problem.rstrip('.')} (inferred)"
        for finding in findings
        if finding.rule in ("channels-unaligned", "one-sided")
    }
    if TURING in targets:
        hints |= {each.name: _ON_TURING for each in summary.layers if each.operator == "Conv"}
    exits = float_exits(model)
    coverages = {
        index: cover(
            summary.layers,
            layers,
            times_ms if index == main else None,
            hints=hints,
            exits=exits,
        )
        for index, layers in profiles.items()
    }
    return coverages[main] if len(batches) < 2 else join_profiles(coverages, batches, main)


def check_same_graph(
    coverage: Coverage, layers: tuple[EngineLayer, ...], graph: Path, name: str
) -> None:
    """Refuses a graph that has nothing in common with an engine.

    Args:
        coverage: Of both.
        layers: Of the engine.
        graph: What a user said that it was built from.
        name: Of the engine or its layer file.

    Raises:
        GraphError: No engine layer names a layer of the graph, though some might.
    """
    named = any(layer.engine_layer for layer in coverage.layers)
    nameable = any(layer.operator not in _WITH_GRAPHS for layer in coverage.layers)
    if nameable and not named and not has_compiled_subgraph(layers):
        raise GraphError(
            f"No layer of '{name}' names a layer of '{graph}'.",
            "Give the graph that this very engine was built from, and build it with detailed "
            "profiling verbosity, as trtqat build does.",
        )
