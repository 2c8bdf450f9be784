"""What an engine is compared with besides its baseline.

Rivals are what a user might run instead of it: float engines, and PyTorch in several ways. Steps
are what lies between the baseline and the engine, to see where accuracy changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from trtqat.errors import UsageError
from trtqat.evaluation.open import PyTorchSource, open_pytorch
from trtqat.files import is_file
from trtqat.graph_file.hashing import graph_sha256
from trtqat.runtime.protocol import Model

if TYPE_CHECKING:
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.pytorch import PyTorchPrecision

_ENGINES = ("fp16", "fp32")
# Name on the command line: precision, and whether it is compiled.
_PYTORCH: dict[str, tuple[PyTorchPrecision, bool]] = {
    "torch-fp32": ("fp32", False),
    "torch-tf32": ("tf32", False),
    "torch-fp16": ("fp16", False),
    "torch-compile": ("fp16", True),
}


@dataclass(frozen=True)
class RivalOptions:
    """Which rivals, and where they come from.

    Attributes:
        names: As ``parse_rivals`` returns them.
        graph: The graph that the engine was built from; None takes the one beside it.
        source: The PyTorch model; needed for those in PyTorch.
        cuda_graph: Whether they capture CUDA graphs, as the engine does.
        allow_engine_code: Whether a float engine that lies there already may bring code.
        trust_nothing_found: Whether float engines are built anew, as none is signed.
        timing_cache: File that their builds read and update.
    """

    names: Sequence[str]
    graph: Path | None = None
    source: PyTorchSource | None = None
    cuda_graph: bool = True
    allow_engine_code: bool = False
    trust_nothing_found: bool = False
    timing_cache: Path | None = None


def parse_rivals(text: str) -> tuple[str, ...]:
    """Parses ``fp16,torch-fp16``.

    Raises:
        UsageError: A name is not known.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    known = (*_ENGINES, *_PYTORCH)
    for name in names:
        if name not in known:
            raise UsageError(
                f"There is nothing called '{name}' to compare with.",
                f"Choose from {', '.join(known)}.",
            )
    return names


def open_rivals(options: RivalOptions, engine: Model, path: Path) -> list[Model]:
    """Opens rivals of an engine; float engines are built where they are not there yet.

    Args:
        options: Which.
        engine: The INT8 engine.
        path: Its plan.

    Raises:
        UsageError: A rival lacks its graph or its source, or the model is no engine.
        TrtqatError: It cannot be built or loaded; the class says why.
    """
    if not options.names:
        return []
    if engine.device != "cuda":
        raise UsageError(
            f"'{path}' is a graph; --compare is for engines.", "Give the engine built from it."
        )
    for name in options.names:
        # Before minutes go into a build.
        if name in _PYTORCH and options.source is None:
            raise UsageError(f"'{name}' needs the PyTorch model.", "Give --baseline SOURCE.")
    return [
        _float_engine(name, options, cast("Engine", engine), path)
        if name in _ENGINES
        else _pytorch(name, options, engine)
        for name in options.names
    ]


def open_steps(
    model: Model,
    path: Path,
    *,
    fake_quantized: PyTorchSource | None = None,
    reference: bool = False,
    graph: Path | None = None,
) -> list[Model]:
    """Opens the steps from the baseline to a model, in their order.

    Args:
        model: The engine or graph.
        path: Its file.
        fake_quantized: The model that was exported.
        reference: Whether an engine's graph on ONNX Runtime, as written, is a step.
        graph: That graph; None takes the one beside the engine.

    Raises:
        UsageError: The graph is not there, or the model is one itself.
        TrtqatError: One cannot be loaded; the class says why.
    """
    steps: list[Model] = []
    if fake_quantized is not None:
        # Toolkits' quantizers may look at their values, which no CUDA graph captures.
        steps.append(
            open_pytorch(
                fake_quantized,
                model,
                name="Fake-quantized PyTorch",
                cuda_graph=False,
                has_quantizers=True,
            )
        )
    if reference:
        if model.device == "cpu":
            raise UsageError(f"'{path}' is a graph; --reference is for engines.", "Leave it out.")
        from trtqat.runtime.onnx_model import OnnxModel

        found = OnnxModel(find_graph(model, path, graph), as_written=True)
        found.name += " on ONNX Runtime"
        steps.append(found)
    return steps


def find_graph(engine: Model, path: Path, given: Path | None) -> Path:
    """The graph that an engine was built from.

    Args:
        engine: The engine; a graph is its own.
        path: Its file.
        given: By the user; else it must lie beside the plan.

    Raises:
        UsageError: It is not there, or what was given is another one.
    """
    if engine.device == "cpu":
        if given is not None:
            raise UsageError(
                f"'{path}' is a graph itself; --graph is for engines.", "Leave out --graph."
            )
        return path
    from trtqat.inspection.engine_layers import graph_beside

    manifest = getattr(engine, "manifest", None)
    recorded = manifest.graph_sha256 if manifest else None
    if given is not None and recorded and is_file(given) and graph_sha256(given) != recorded:
        raise UsageError(
            f"'{given}' is not the graph that '{path}' was built from: its SHA-256 differs.",
            "Give that graph, or build the engine of this one.",
        )
    graph = given or graph_beside(path, manifest)
    if graph is None:
        raise UsageError(
            f"The graph that '{path}' was built from does not lie beside it.",
            "Give it: --graph model.onnx",
        )
    return graph


def _float_engine(name: str, options: RivalOptions, engine: Engine, path: Path) -> Model:
    from trtqat.building.float_engine import float_engine
    from trtqat.runtime.engine import Engine

    graph = find_graph(engine, path, options.graph)
    precision = cast("Literal['fp16', 'fp32']", name)
    built = float_engine(
        path,
        engine.manifest,
        graph,
        precision,
        reuse=not options.trust_nothing_found,
        timing_cache=options.timing_cache,
    )
    return Engine(
        built.path,
        cuda_graph=options.cuda_graph,
        # What this process has just built may bring its library; what lay there may be anybody's.
        allow_engine_code=built.is_new or options.allow_engine_code,
        flavour="full",
    )


def _pytorch(name: str, options: RivalOptions, engine: Model) -> Model:
    assert options.source is not None
    precision, compiled = _PYTORCH[name]
    return open_pytorch(
        options.source,
        engine,
        precision=precision,
        compiled=compiled,
        cuda_graph=options.cuda_graph,
    )
