"""The graphs of ``architectures``, quantized and exported for TensorRT 8.6."""

from __future__ import annotations

from pathlib import Path

import trtqat
from tests.support.architectures import ARCHITECTURES, batches, trained_like
from trtqat.exporting.options import ExportOptions


def export_architecture(name: str, folder: Path) -> Path:
    """Writes ``model.onnx``."""
    architecture = ARCHITECTURES[name]
    graph = folder / "model.onnx"
    quantized = trtqat.quantize(trained_like(name), batches(architecture, 3, 8), for_="8.6").model
    trtqat.export_onnx(quantized, graph, ExportOptions(architecture.inputs))
    return graph
