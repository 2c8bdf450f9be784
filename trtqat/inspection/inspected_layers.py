"""``inspect layers.json``: what exported files say of an engine, on a host without a GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.host.ceilings import read_ceilings
from trtqat.inspection.coverage import Coverage
from trtqat.inspection.engine_layers import check_same_graph, cover_graph
from trtqat.inspection.inspector import EngineLayer, read_layers
from trtqat.inspection.layer_times import read_profile
from trtqat.inspection.roofline import Roofline, batch_size_of, draw_roofline


@dataclass(frozen=True)
class LayerFile:
    """An engine as a file of its layers describes it.

    Attributes:
        layers: The layers.
        coverage: The graph's layers as the engine runs them.
        roofline: The engine against the limits of its GPU; None if nobody asked.
    """

    layers: tuple[EngineLayer, ...]
    coverage: Coverage
    roofline: Roofline | None


def inspect_layer_file(
    path: Path,
    graph: Path,
    *,
    profile: Path | None = None,
    ceilings: Path | None = None,
    batch_size: int | None = None,
    with_roofline: bool = False,
) -> LayerFile:
    """Reads the layers of an engine and, from a file of their own, its times.

    Args:
        path: What ``trtexec --exportLayerInfo`` wrote.
        graph: What the engine was built from.
        profile: What ``trtexec --exportProfile`` wrote: the inspector's file holds no times.
        ceilings: What ``Ceilings.write`` wrote on the engine's GPU. Neither of the other files
            names a GPU, so nobody can check that it is the same.
        batch_size: For which both were written; what the shapes of the inputs say if None.
        with_roofline: Whether to draw the roofline.

    Raises:
        UsageError: A file is not what it should be, the roofline lacks one, or they are of
            different engines or batch sizes.
        GraphError: The graph cannot be read, or the engine was not built from it.
    """
    layers = read_layers(path)
    times_ms = None if profile is None else read_profile(profile)
    names = {layer.name for layer in layers}
    if times_ms is not None and not names & times_ms.keys():
        raise UsageError(
            f"No layer of '{path}' has a time in '{profile}'.",
            "Give two files that were exported together: --export-layer-info and "
            "--export-profile of trtqat inspect, or trtexec's.",
        )
    coverage = cover_graph(graph, layers, times_ms)
    check_same_graph(coverage, layers, graph, str(path))
    if not with_roofline:
        return LayerFile(layers, coverage, None)
    if times_ms is None:
        raise UsageError(
            f"'{path}' has no times, so there is no roofline.",
            "Give those that were exported with it: --profile profile.json, from trtqat inspect "
            "--export-profile or trtexec --exportProfile.",
        )
    if ceilings is None or not os.path.exists(ceilings):
        raise UsageError(
            f"What the GPU of '{path}' reaches at most is not known"
            + (f": there is no file '{ceilings}'." if ceilings else "."),
            "Give --ceilings FILE.json that trtqat inspect --roofline wrote on that GPU.",
        )
    limits = read_ceilings(ceilings, gpu=None)
    size = batch_size_of(layers, batch_size)
    return LayerFile(layers, coverage, draw_roofline(layers, coverage, limits, batch_size=size))
