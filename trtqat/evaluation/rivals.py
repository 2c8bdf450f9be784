"""What an engine is compared with besides its baseline.

Rivals are what a user might run instead of it: float engines, and PyTorch in several ways. Steps
are what lies between the baseline and the engine, to see where accuracy changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trtqat.errors import UsageError
from trtqat.evaluation.open_pytorch import OpenOptions, open_pytorch
from trtqat.runtime.opening import open as open_model
from trtqat.runtime.protocol import Model
from trtqat.runtime.runtime_cache import NO_CACHE

if TYPE_CHECKING:
    from trtqat.exporting.source import ModelSource
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.onnx_model import OnnxModel
    from trtqat.runtime.pytorch import PyTorchModel, PyTorchPrecision

_ENGINES: dict[str, Literal["fp16", "fp32"]] = {"fp16": "fp16", "fp32": "fp32"}
# Name on the command line: precision, and whether it is compiled.
_PYTORCH: dict[str, tuple[PyTorchPrecision, bool]] = {
    "torch-fp32": ("fp32", False),
    "torch-tf32": ("tf32", False),
    "torch-fp16": ("fp16", False),
    "torch-compile": ("fp16", True),
}


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


def open_rivals(
    names: Sequence[str],
    subject: Model,
    options: OpenOptions,
    source: ModelSource | None = None,
) -> Iterator[Model]:
    """Opens rivals of an engine, one by one; float engines are built where there are none yet.

    Args:
        names: Which, as ``parse_rivals`` returns them.
        subject: The INT8 engine.
        options: How. With a key to trust, float engines are built anew, as none is signed.
        source: The PyTorch model; needed for those in PyTorch.

    Raises:
        UsageError: A rival lacks its graph or its source, or the subject is no engine.
        TrtqatError: It cannot be built or loaded; the class says why.
    """
    if not names:
        return
    if subject.engine is None:
        raise UsageError(
            f"'{subject.path or subject.name}' is a graph; --compare is for engines.",
            "Give the engine built from it.",
        )
    for name in names:
        # Before minutes go into a build.
        if name in _PYTORCH and source is None:
            raise UsageError(f"'{name}' needs the PyTorch model.", "Give --baseline SOURCE.")
    for name in names:
        if name in _PYTORCH and source is not None:
            precision, compiled = _PYTORCH[name]
            yield open_pytorch(
                source,
                subject,
                precision=precision,
                compiled=compiled,
                cuda_graph=options.cuda_graph,
            )
        else:
            yield _float_engine(_ENGINES[name], subject.engine, options)


def open_fake_quantized(source: ModelSource, subject: Model) -> PyTorchModel:
    """Loads the model that was exported.

    Args:
        source: Where it comes from.
        subject: The engine or graph that was made of it.

    Raises:
        SourceError: It cannot be loaded, or lacks the graph's quantizers.
        QuantizerError: One of them is not calibrated.
        MissingError: PyTorch is not installed, or sees no GPU.
    """
    # Toolkits' quantizers may look at their values, which no CUDA graph captures.
    return open_pytorch(
        source, subject, name="Fake-quantized PyTorch", cuda_graph=False, has_quantizers=True
    )


def open_reference(subject: Model, graph: Path | None = None) -> OnnxModel:
    """Loads an engine's graph into ONNX Runtime, as it is written.

    Args:
        subject: The engine.
        graph: What it was built from; None takes the file beside it.

    Raises:
        UsageError: The graph is not there, or the subject is no engine.
        GraphError: ONNX Runtime does not accept it.
    """
    if subject.engine is None:
        raise UsageError(
            f"'{subject.path or subject.name}' is a graph; --reference is for engines.",
            "Leave it out.",
        )
    from trtqat.runtime.onnx_model import OnnxModel

    found = subject.source_graph(graph)
    return OnnxModel(found, as_written=True, name=f"{found.name} on ONNX Runtime")


def _float_engine(
    precision: Literal["fp16", "fp32"], engine: Engine, options: OpenOptions
) -> Model:
    from trtqat.building.float_engine import float_engine

    graph = None if options.graph is None else Path(options.graph)
    cache = None if options.timing_cache is None else Path(options.timing_cache)
    built = float_engine(
        engine.path,
        engine.manifest,
        engine.source_graph(graph),
        precision,
        reuse=options.trust is None,
        timing_cache=cache,
        plugins=engine.plugins,
    )
    is_rtx = engine.tensorrt.library == "rtx"
    return open_model(
        built.path,
        cuda_graph=options.cuda_graph,
        # What this process has just built may bring its library; what lay there may be anybody's.
        allow_engine_code=built.is_new or options.allow_engine_code,
        flavour="rtx" if is_rtx else "full",
        runtime_cache=_cache_of_rival(options) if is_rtx else None,
        plugins=engine.plugins,
    )


def _cache_of_rival(options: OpenOptions) -> str | None:
    """A float engine has a file of its own, if the subject's is not left out or mistrusted."""
    is_none = options.trust is not None or str(options.runtime_cache) == NO_CACHE
    return NO_CACHE if is_none else None
