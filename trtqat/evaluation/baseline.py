"""What a baseline is that is given by name: a report, a PyTorch model or an ONNX file."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.evaluation.contenders import Measured
from trtqat.evaluation.recorded import read_baseline
from trtqat.exporting.source import ModelSource
from trtqat.files import is_onnx
from trtqat.pointers import is_pointer
from trtqat.runtime.protocol import Model


def named_baseline(
    given: Model | ModelSource | Measured | str | Path | None,
) -> Model | ModelSource | Measured | Path | None:
    """Reads a report, or makes a source of what names a PyTorch model.

    Args:
        given: A ``.json`` or another file of text is a report; ``file.py:factory``, a TorchScript
            file and a ``.pt2`` are models, and an ``.onnx`` is a graph, whose path is returned.
            What is no name is returned as it is.

    Raises:
        UsageError: It names neither, or the report cannot be read.
    """
    if isinstance(given, Measured):
        # The subject of one evaluation may be the baseline of another.
        return replace(given, role="baseline", to_baseline=None, to_step_before=None)
    if not isinstance(given, (str, os.PathLike)):
        return given
    path = Path(given)
    if path.suffix.lower() == ".json":
        return read_baseline(path)
    if is_onnx(path):
        return path
    # Both forms of a model in a file are archives.
    if path.suffix == ".pt2" or zipfile.is_zipfile(path):
        return ModelSource(given)
    if os.path.exists(given):
        return read_baseline(path)
    if is_pointer(str(given)):
        return ModelSource(given)
    raise UsageError(
        f"The baseline '{given}' is neither a file nor the pointer of a PyTorch model.",
        "Give the report of an earlier evaluation, trtqat.Torch('model.py:fp32') or an ONNX file.",
    )
