"""``trtqat.open``: an engine or a graph by its file, ready to run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from trtqat.checks import check_choice, check_kind, refuse_for_graphs
from trtqat.errors import UsageError
from trtqat.files import is_onnx, is_plan
from trtqat.host.flavours import Flavour
from trtqat.pointers import is_pointer

if TYPE_CHECKING:
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.onnx_model import OnnxModel


def open(  # as builtins.open: a file by its name, for ``with``
    path: Path | str,
    *,
    cuda_graph: bool = True,
    allow_engine_code: bool = False,
    trust: Path | str | None = None,
    flavour: Flavour | None = None,
    weights: Path | str | None = None,
    graph: Path | str | None = None,
    runtime_cache: Path | str | None = None,
    plugins: Sequence[Path | str] = (),
) -> Engine | OnnxModel:
    """Opens an ONNX file on the CPU, or any other file as a plan on the GPU.

    Example: ``with trtqat.open("model.engine") as engine: ...``

    Args:
        path: The file.
        cuda_graph: Whether an engine captures a CUDA graph where that works.
        allow_engine_code: Whether a version-compatible plan may bring a library of its own.
        trust: File of the public key that an engine's manifest must be signed with.
        flavour: Which TensorRT runs an engine; None takes the first installed that may.
        weights: The graph of an engine that was built without its weights.
        graph: The graph of any engine, for the order of its outputs.
        runtime_cache: The file that keeps the kernels that TensorRT for RTX compiles for an engine,
            or ``"none"``; None takes the one beside it, and none with ``trust``.
        plugins: Libraries of the plugins that an engine needs. They are loaded, and run.

    Returns:
        What is held until it is closed, best by ``with``.

    Raises:
        UsageError: An argument has another type, ``path`` names a PyTorch model, or an option of
            engines is given for an ONNX file.
        GraphError: ONNX Runtime does not accept the ONNX file.
        PlanError: The plan is damaged, or for another TensorRT or GPU.
        MissingError: There is no TensorRT, no GPU or no ONNX Runtime.
    """
    check_kind("The file to open", path, (str, os.PathLike), "'model.engine'")
    for name, given in (
        ("trust", trust),
        ("weights", weights),
        ("graph", graph),
        ("runtime_cache", runtime_cache),
    ):
        if given is not None:
            check_kind(f"{name} of open", given, (str, os.PathLike), "'file'")
    if flavour is not None:
        check_choice("flavour of open", flavour, get_args(Flavour))
    if is_onnx(path):
        engines_only = {
            "--trust": trust is not None,
            "--runtime": flavour is not None,
            "--weights": weights is not None,
            "--allow-engine-code": allow_engine_code,
            "--no-cuda-graph": not cuda_graph,
            "--graph": graph is not None,
            "--runtime-cache": runtime_cache is not None,
            "--plugins": bool(plugins),
        }
        refuse_for_graphs(path, engines_only)
        from trtqat.runtime.onnx_model import OnnxModel

        return OnnxModel(path)
    if _is_pytorch(Path(path)):
        raise UsageError(
            f"'{path}' is a PyTorch model, and what runs here is an engine or a graph.",
            "Give it to --baseline, and first model.engine or model.onnx.",
        )
    from trtqat.runtime.engine import Engine

    return Engine(
        path,
        cuda_graph=cuda_graph,
        allow_engine_code=allow_engine_code,
        trust=trust,
        flavour=flavour,
        weights=weights,
        graph=graph,
        runtime_cache=runtime_cache,
        plugins=plugins,
    )


def _is_pytorch(path: Path) -> bool:
    """Whether a path has the form of what names a PyTorch model, and is no plan."""
    if is_plan(path):
        return False
    return path.suffix == ".pt2" or (is_pointer(str(path)) and not os.path.lexists(path))
