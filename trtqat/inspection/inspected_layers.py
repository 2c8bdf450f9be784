"""``inspect layers.json``: what exported files say of an engine, on a host without a GPU."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trtqat.errors import UsageError
from trtqat.host.ceilings import Ceilings, read_ceilings
from trtqat.inspection.engine_layers import check_same_graph, cover_graph, cover_profiles
from trtqat.inspection.inspector import EngineLayer, read_layers
from trtqat.inspection.layer_times import read_profile
from trtqat.inspection.options import InspectOptions
from trtqat.inspection.profiles import count_profiles, split_profiles
from trtqat.inspection.roofline import Roofline, batch_size_of, draw_roofline
from trtqat.inspection.roofline_words import describe_roofline
from trtqat.inspection.words import counted, describe_coverage
from trtqat.plan.coverage import Coverage
from trtqat.text import visible


@dataclass(frozen=True)
class InspectedLayers:
    """An engine as a file of its layers describes it. ``print`` shows it without the tables.

    Attributes:
        path: The file.
        graph: What the engine was built from.
        layers: The layers.
        coverage: The graph's layers as the engine runs them.
        roofline: The engine against the limits of its GPU; None if nobody asked.
    """

    path: Path
    graph: Path
    layers: tuple[EngineLayer, ...]
    coverage: Coverage
    roofline: Roofline | None

    def check_int8(self) -> None:
        """The gate ``--require-int8``.

        Raises:
            GateError: A quantized layer is not seen in INT8, or there is none.
        """
        self.coverage.check_int8(self.graph)

    def describe(self) -> str:
        """How many layers there are and which run in INT8, in words."""
        layers = counted(len(self.layers), "engine layer")
        return f"{self.path}: {layers}\n{describe_coverage(self.coverage)}"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        roofline = self.roofline.to_dict() if self.roofline else None
        return {**self.coverage.to_dict(), "roofline": roofline}

    def __str__(self) -> str:
        drawn = [describe_roofline(self.roofline)] if self.roofline else []
        return visible("\n".join([self.describe(), *drawn]))

    def __repr__(self) -> str:
        return f"InspectedLayers('{self.path}', {len(self.layers)} layers)"


def inspect_layer_file(path: Path, options: InspectOptions) -> InspectedLayers:
    """Reads the layers of an engine and, from a file of their own, its times.

    Args:
        path: What ``trtexec --exportLayerInfo`` wrote.
        options: What to ask. ``profile`` is what ``trtexec --exportProfile`` wrote: the
            inspector's file holds no times. ``ceilings`` is what ``Ceilings.write`` wrote on the
            engine's GPU: no other file names a GPU, so nobody can check that it is the same.
            ``batch_size`` is the one for which both were written; what the shapes of the inputs
            say if None.

    Raises:
        UsageError: An option is not for layer files, a file is not what it should be, the
            roofline lacks one, or they are of different engines or batch sizes.
        GraphError: The graph cannot be read, or the engine was not built from it.
    """
    graph, profile = options.path("graph"), options.path("profile")
    if graph is None:
        raise UsageError(
            f"Which layers '{path}' should run in INT8 is not known.",
            "Give the graph that the engine was built from: --graph model.onnx",
        )
    _check_is_for_layer_files(path, options)
    layers = read_layers(path)
    times_ms = None if profile is None else read_profile(profile)
    names = {layer.name for layer in layers}
    if times_ms is not None and not names & times_ms.keys():
        raise UsageError(
            f"No layer of '{path}' has a time in '{profile}'.",
            "Give two files that were exported together: --export-layer-info and "
            "--export-profile of trtqat inspect, or trtexec's.",
        )
    coverage, timed = _cover(path, graph, layers, times_ms)
    check_same_graph(coverage, layers, graph, str(path))
    roofline = None
    if options.has_roofline:
        if times_ms is None:
            raise UsageError(
                f"'{path}' has no times, so there is no roofline.",
                "Give those that were exported with it: --profile profile.json, from trtqat "
                "inspect --export-profile or trtexec --exportProfile.",
            )
        limits = _ceilings(path, options.path("ceilings"))
        size = batch_size_of(timed, options.batch_size)
        roofline = draw_roofline(timed, coverage, limits, batch_size=size)
    return InspectedLayers(path, graph, layers, coverage, roofline)


def _cover(
    path: Path,
    graph: Path,
    layers: tuple[EngineLayer, ...],
    times_ms: Mapping[str, float] | None,
) -> tuple[Coverage, tuple[EngineLayer, ...]]:
    """Joins graph and file; of several profiles each, as TensorRT's list is of all.

    Returns:
        The coverage, and the layers of the profile that the times are of.
    """
    coverage = cover_graph(graph, layers, times_ms)
    count = count_profiles(layers, (each.name for each in coverage.layers))
    if count == 1:
        return coverage, layers
    profiles = split_profiles(layers, count, str(path))
    timed = [sum(each.name in (times_ms or {}) for each in profile) for profile in profiles]
    main = timed.index(max(timed))
    called = [f"profile {index}" for index in range(count)]
    by_index = dict(enumerate(profiles))
    return cover_profiles(graph, by_index, called, times_ms, main=main), profiles[main]


def _check_is_for_layer_files(path: Path, options: InspectOptions) -> None:
    """Nothing that was asked for is ignored."""
    ignored = {
        "--export-layer-info": options.export_layer_info,
        "--export-profile": options.export_profile,
        "--trust": options.trust,
        "--weights": options.weights,
        "--allow-engine-code": options.allow_engine_code,
        "--plugins": bool(options.plugins),
        "--shapes": options.shapes,
    }
    for option, value in ignored.items():
        if value:
            raise UsageError(
                f"'{path}' is a layer file, and {option} is not for those.", "Leave it out."
            )
    if options.batch_size is not None and not options.has_roofline:
        raise UsageError(
            f"'{path}' is a layer file, where --batch-size is for --roofline alone.",
            "Leave it out, or add --roofline.",
        )


def _ceilings(path: Path, ceilings: Path | None) -> Ceilings:
    if ceilings is None or not os.path.exists(ceilings):
        raise UsageError(
            f"What the GPU of '{path}' reaches at most is not known"
            + (f": there is no file '{ceilings}'." if ceilings else "."),
            "Give --ceilings FILE.json that trtqat inspect --roofline wrote on that GPU.",
        )
    return read_ceilings(ceilings, gpu=None)
