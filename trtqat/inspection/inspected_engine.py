"""``inspect model.engine``: its layers and their times, which are INT8, how far from the limit."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trtqat.errors import UsageError
from trtqat.files import write_atomically
from trtqat.host.gpu import describe_gpu
from trtqat.inspection.engine_layers import (
    Inspection,
    check_same_graph,
    cover_profiles,
    inspect_engine,
)
from trtqat.inspection.options import InspectOptions
from trtqat.inspection.roofline import Roofline, draw_roofline, find_ceilings
from trtqat.inspection.roofline_words import describe_roofline
from trtqat.inspection.words import counted, describe_coverage
from trtqat.plan.coverage import Coverage
from trtqat.plan.header import library_of
from trtqat.plan.sizes import sizes_in_words
from trtqat.runtime.engine import Engine
from trtqat.runtime.engine_graph import graph_beside, warn_of_other_graph
from trtqat.text import visible, visible_line


@dataclass(frozen=True)
class InspectedEngine:
    """An engine as TensorRT describes it on this GPU. ``print`` shows it without the tables.

    Attributes:
        path: The plan.
        graph: What it was built from; None if that is not known.
        found: Its layers and their times.
        coverage: How it runs the layers of the graph; None without the graph.
        roofline: The engine against the limits of its GPU; None if nobody asked.
    """

    path: Path
    graph: Path | None
    found: Inspection
    coverage: Coverage | None
    roofline: Roofline | None

    def check_int8(self) -> None:
        """The gate ``--require-int8``.

        Raises:
            UsageError: The graph is not known.
            GateError: A quantized layer is not seen in INT8, or there is none.
        """
        if self.coverage is None or self.graph is None:
            raise _no_graph(self.path)
        self.coverage.check_int8(self.graph)

    def describe(self) -> str:
        """Its time and which layers run in INT8, in words."""
        found = self.found
        at = f" at {sizes_in_words(found.sizes)}" if found.sizes else ""
        layers = counted(len(found.layers), "engine layer")
        lines = [f"{self.path}: {layers}, batch {found.batch_size}{visible_line(at)}"]
        if found.times is not None:
            lines.append(
                f"GPU time {found.compute_ms:.3f} ms ({found.mode}); under the profiler the layers "
                f"sum up to {found.times.sum_ms:.3f} ms ("
                f"{_passes(len(found.times.passes))})"
            )
        if self.coverage is None:
            lines.append(
                "Without the graph it was built from (--graph) nobody can say here what is INT8."
            )
        else:
            lines.append(describe_coverage(self.coverage))
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        found = self.found
        return {
            "layers": [asdict(layer) for layer in found.layers],
            "batch_size": found.batch_size,
            "sizes": found.sizes,
            "layer_times_ms": found.times.median_ms if found.times else None,
            "layer_times_sum_ms": found.times.sum_ms if found.times else None,
            "compute_ms": found.compute_ms,
            "compute_mode": found.mode,
            "coverage": self.coverage.to_dict() if self.coverage else None,
            "roofline": self.roofline.to_dict() if self.roofline else None,
        }

    def __str__(self) -> str:
        drawn = [describe_roofline(self.roofline)] if self.roofline else []
        return visible("\n".join([self.describe(), *drawn]))

    def __repr__(self) -> str:
        return (
            f"InspectedEngine('{self.path}', {len(self.found.layers)} layers, "
            f"batch {self.found.batch_size})"
        )


def inspect_plan(path: Path, options: InspectOptions) -> InspectedEngine:
    """Asks TensorRT what a plan consists of, and measures its layers on this GPU.

    Args:
        path: The plan.
        options: What to ask.

    Raises:
        UsageError: The options do not fit each other or this engine.
        PlanError: The plan is damaged, or for another TensorRT or GPU.
        GraphError: The graph cannot be read, or the engine was not built from it.
        MissingError: There is no TensorRT, no GPU, or for a roofline no PyTorch.
        InferenceError: TensorRT or PyTorch failed to compute.
    """
    export_profile = options.path("export_profile")
    if export_profile is not None and not options.passes:
        raise UsageError("There are no times to export with --passes 0.", "Give --passes 50.")
    if options.has_roofline and not options.passes:
        raise UsageError("There are no times for a roofline with --passes 0.", "Give --passes 50.")
    engine = Engine(
        path,
        allow_engine_code=options.allow_engine_code,
        trust=options.trust,
        # The one runtime of its library that has an inspector.
        flavour="rtx" if library_of(path) == "rtx" else "full",
        weights=options.weights,
        plugins=options.plugins,
    )
    with closing(engine):
        graph = options.path("graph")
        if graph is None:
            graph = graph_beside(path, engine.manifest)
        else:
            warn_of_other_graph(graph, path, engine.manifest)
        if graph is None and (options.needs_coverage or options.has_roofline):
            raise _no_graph(path)
        if options.shapes is not None:
            engine.choose_sizes(options.sizes_asked)
        found = inspect_engine(engine, batch_size=options.batch_asked, passes=options.passes)
        names = engine.profiles.names
        # Who names a batch size asks about its profile alone.
        every = range(len(names)) if options.batch_asked is None else (found.profile,)
        inspected = {found.profile: found} | {
            index: inspect_engine(engine, profile=index)
            for index in every
            if index != found.profile
        }
    _export(found, options.path("export_layer_info"), export_profile)
    if graph is None:
        return InspectedEngine(path, None, found, None, None)
    coverage = cover_profiles(
        graph,
        {index: each.layers for index, each in sorted(inspected.items())},
        names,
        found.times.median_ms if found.times else None,
        main=found.profile,
    )
    check_same_graph(coverage, found.layers, graph, str(path))
    roofline = None
    if options.has_roofline:
        roofline = draw_roofline(
            found.layers,
            coverage,
            find_ceilings(options.path("ceilings"), describe_gpu().name),
            batch_size=found.batch_size,
            compute_ms=found.compute_ms,
        )
    return InspectedEngine(path, graph, found, coverage, roofline)


def _export(found: Inspection, layer_info: Path | None, profile: Path | None) -> None:
    """Writes what was found as trtexec does, before anything that can still fail."""
    if layer_info is not None:
        write_atomically(layer_info, json.dumps(found.information, indent=1).encode())
    if profile is not None and found.times is not None:
        write_atomically(profile, json.dumps(found.times.trtexec(), indent=1).encode())


def _passes(number: int) -> str:
    return "one pass" if number == 1 else f"medians of {number} passes"


def _no_graph(path: Path) -> UsageError:
    return UsageError(
        f"What '{path}' should run, and in INT8, is not known: no graph that a manifest of it "
        "names is beside it.",
        "Give the graph that it was built from: --graph model.onnx",
    )
