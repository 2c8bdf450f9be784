"""An engine built once more with its INT8 tensors as outputs, to look into it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.building.apart import build_plan_apart
from trtqat.building.options import options_again
from trtqat.errors import MissingError
from trtqat.inspection.engine_layers import inspect_engine
from trtqat.runtime.engine import Engine
from trtqat.runtime.runtime_cache import NO_CACHE

if TYPE_CHECKING:
    import onnx_ir as ir

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class TappedEngine:
    """The second engine, and how far it is the first one.

    Attributes:
        engine: Has the tensors that ``graph.passes.tap.tap`` takes out as outputs, dequantized.
        layers: Number of the first engine's layers, without reformats.
        missing: Those of them that the second one has not by the same name, that is with the same
            nodes of the graph fused.
        same_kernels: How many of the others run the same kernel; TensorRT times kernels in each
            build anew, and an output more can ask for another format.
    """

    engine: Engine
    layers: int
    missing: tuple[str, ...]
    same_kernels: int


@contextmanager
def tapped_engine(
    engine: Engine, graph: ir.Model, *, timing_cache: Path | None = None
) -> Iterator[TappedEngine]:
    """Builds it with the shapes and options of the first one; it is gone at exit.

    Args:
        engine: The engine under test.
        graph: What it was built from, after ``graph.passes.tap.tap``.
        timing_cache: File to read and update; that of the first build gives the same kernels.

    Raises:
        UsageError: The engine has no manifest.
        BuildError: TensorRT does not build it.
        MissingError: There is no TensorRT builder, or the engine is run by one that has no
            inspector.
    """
    options = options_again(
        engine.manifest,
        engine.name,
        "int8",
        timing_cache=timing_cache,
        plugins=engine.plugins,
    )
    if not engine.has_inspector:
        raise MissingError(
            f"The {engine.tensorrt.flavour} runtime does not tell what '{engine.name}' consists "
            "of, so no engine that was built again can be set beside it.",
            "Add --runtime full, or leave out --locate.",
        )
    from trtqat.graph_file.serialized import save

    count = len(graph.graph.outputs) - len(engine.outputs)
    _LOG.info("Building '%s' again, with its %d INT8 tensors as outputs.", engine.name, count)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tapped.onnx"
        save(graph, source)
        plan = Path(folder) / engine.name
        build_plan_apart(source, plan, options)
        is_rtx = engine.tensorrt.library == "rtx"
        tapped = Engine(
            plan,
            cuda_graph=False,
            allow_engine_code=True,
            flavour=engine.tensorrt.flavour,
            # It would be gone with the plan.
            runtime_cache=NO_CACHE if is_rtx else None,
            plugins=engine.plugins,
        )
    try:
        if engine.profiles.sizes:
            tapped.choose_sizes(engine.profiles.sizes)
        # Reformats come and go with the formats that kernels ask for.
        kernels, again = (
            {
                layer.name: layer.tactic
                for layer in inspect_engine(each).layers
                if not layer.is_reformat
            }
            for each in (engine, tapped)
        )
        missing = tuple(name for name in kernels if name not in again)
        same_kernels = sum(again.get(name) == tactic for name, tactic in kernels.items())
        yield TappedEngine(tapped, len(kernels), missing, same_kernels)
    finally:
        tapped.close()
