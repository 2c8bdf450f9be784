"""Opens an ONNX file as the baseline: what there is where nobody has the PyTorch model."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.errors import DataError, GraphError, MissingError
from trtqat.extras import require
from trtqat.io_names import match_outputs
from trtqat.runtime.protocol import Model

if TYPE_CHECKING:
    from trtqat.runtime.onnx_model import OnnxModel

_LOG = logging.getLogger(__name__)
_CUDA_PROVIDER = "CUDAExecutionProvider"


def open_graph_baseline(path: Path, subject: Model) -> OnnxModel:
    """Loads a graph into ONNX Runtime, to compare an engine or another graph with.

    It runs on the CPU. Beside an engine it runs on the GPU where the installed ONNX Runtime has a
    CUDA provider that works, which was never tried on a GPU.

    Args:
        path: The ONNX file.
        subject: What is compared with it, and whose inputs it gets.

    Raises:
        GraphError: It is no ONNX file, ONNX Runtime does not accept it, or it does not take the
            inputs of ``subject``.
        DataError: It has other outputs.
        MissingError: ONNX Runtime is not installed.
    """
    opened = _on_the_gpu(path) if subject.device == "cuda" else None
    if opened is None:
        from trtqat.runtime.onnx_model import OnnxModel

        opened = OnnxModel(path, name=_name(path, "CPU"))
    try:
        opened.take_inputs_of(subject)
        _check_outputs(opened, subject)
    except BaseException:
        opened.close()
        raise
    return opened


def _on_the_gpu(path: Path) -> OnnxModel | None:
    """The graph on CUDA; None where there is no provider, or it does not work."""
    purpose = "An ONNX baseline"
    runtime = require("onnxruntime", extra="onnxruntime", purpose=purpose)
    if _CUDA_PROVIDER not in runtime.get_available_providers():
        return None
    from trtqat.runtime.onnx_model import OnnxModel

    try:
        return OnnxModel(path, name=_name(path, "CUDA"), device="cuda")
    except (GraphError, MissingError) as error:
        # What is wrong with the graph itself the CPU says again.
        _LOG.warning("'%s' runs on the CPU, as CUDA does not take it. %s", path.name, error)
        return None


def _name(path: Path, provider: str) -> str:
    return f"{path.name} on ONNX Runtime ({provider})"


def _check_outputs(graph: OnnxModel, subject: Model) -> None:
    """Refuses other outputs before anything runs.

    Raises:
        DataError: One of the two lacks an output of the other one.
    """
    names = subject.io
    if names is None:
        return
    named = {spec.name: spec for spec in graph.outputs}
    try:
        match_outputs(named, replace(names, model=subject.name), model=graph.name)
    except DataError as error:
        raise DataError(error.problem, "Give the float graph that it was quantized from.") from None
