"""The summary of a run for ``scripts/results``: a few kB, without the answers."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from scripts.fashion_mnist.comparing import Row, worst_ptq
from scripts.summarize import current_commit
from trtqat.files import write_atomically
from trtqat.typed_json import as_fields, json_text
from trtqat.version import __version__

PACKAGES = ("torch", "tensorrt", "onnxruntime", "numpy")


def write_summary(path: Path, rows: Sequence[Row], command: Sequence[str], commit: str) -> None:
    """Writes all rows, with what made them.

    Args:
        path: The file.
        rows: Of all models.
        command: The command's arguments.
        commit: What was run; empty asks ``current_commit``.

    Raises:
        UsageError: It cannot be written.
    """
    fields = {
        "command": " ".join(["python -m scripts.fashion_mnist.train", *command]),
        "commit": commit or current_commit(),
        "host": _host(),
        "intervals": "95 %; several seeds: two-way analysis of variance over seeds and images, "
        "Student's quantile; one seed: Wilson, and for differences Agresti and Min",
        "worst_ptq": worst_ptq(rows),
        "rows": [_rounded(as_fields(row)) for row in rows],
    }
    write_atomically(path, (json_text(fields) + "\n").encode())


def _host() -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    versions = {name: _version(name) for name in PACKAGES if importlib.util.find_spec(name)}
    return {
        "gpu": gpu,
        "cuda": torch.version.cuda,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "trtqat": __version__,
        **versions,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        module = importlib.import_module(package)
        return str(getattr(module, "__version__", "unknown"))


def _rounded(value: Any) -> Any:  # noqa: ANN401
    """The same with six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value
