"""trtqat: from a QAT PyTorch model to a measured INT8 TensorRT engine.

    QAT model ──export──▶ model.onnx ──build──▶ model.engine (+ .json) ──eval──▶ report
    (PyTorch)             explicit Q/DQ         plan + manifest                accuracy, latency

Where what happens:

    quant/       reads trained quantizers (quantizers.py); inserts and calibrates them (training.py)
    export/      loads a model, traces it, verifies the graph, writes it (pipeline.py)
    graph/       passes over ONNX; a Q/DQ pair is made in expand_fake_quantize.py
    engine/      TensorRT's builder (builder.py); what differs between versions (versions.py)
    runtime/     may this host run a plan (preflight.py), and by which TensorRT (flavours.py);
                 TensorRT engines and sessions, ONNX Runtime, PyTorch: one protocol, three files
    evaluation/  accuracy.py, latency.py, throughput.py (several queries in flight: running.py) and
                 the report on them (evaluate.py; page.py as HTML); what might run instead
                 (rivals.py); which layer loses accuracy (locate.py)
    data/        labelled batches: CIFAR-10, .npz, a factory, random
    cli/         one file per subcommand: parse, call one function, render

Imports point one way: cli → (export, engine, evaluation) → (graph, runtime, quant, data) → errors.
Only quant/, export/ and runtime/pytorch*.py import torch; only engine/ and runtime/ import
tensorrt. The names below load on first use, so that ``import trtqat`` imports neither.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trtqat.building.builder import BuildResult, build
    from trtqat.building.options import BuildOptions
    from trtqat.data.dataset import open_dataset
    from trtqat.errors import TrtqatError
    from trtqat.evaluation.evaluate import evaluate
    from trtqat.evaluation.options import EvaluateOptions
    from trtqat.evaluation.report import Report
    from trtqat.evaluation.timing import LatencyOptions
    from trtqat.exporting.checkpoint import load_state
    from trtqat.exporting.loading import load_model
    from trtqat.exporting.pipeline import ExportOptions, ExportResult, export_onnx
    from trtqat.exporting.source import ModelSource
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.onnx_model import OnnxModel
    from trtqat.runtime.pytorch import PyTorchModel
    from trtqat.tensors import TensorSpec

__all__ = [
    "BuildOptions",
    "BuildResult",
    "Engine",
    "EvaluateOptions",
    "ExportOptions",
    "ExportResult",
    "LatencyOptions",
    "ModelSource",
    "OnnxModel",
    "PyTorchModel",
    "Report",
    "TensorSpec",
    "TrtqatError",
    "build",
    "evaluate",
    "export_onnx",
    "load_model",
    "load_state",
    "open_dataset",
]

_HOMES = {
    "BuildOptions": "trtqat.building.options",
    "BuildResult": "trtqat.building.builder",
    "Engine": "trtqat.runtime.engine",
    "EvaluateOptions": "trtqat.evaluation.options",
    "ExportOptions": "trtqat.exporting.pipeline",
    "ExportResult": "trtqat.exporting.pipeline",
    "LatencyOptions": "trtqat.evaluation.timing",
    "ModelSource": "trtqat.exporting.source",
    "OnnxModel": "trtqat.runtime.onnx_model",
    "PyTorchModel": "trtqat.runtime.pytorch",
    "Report": "trtqat.evaluation.report",
    "TensorSpec": "trtqat.tensors",
    "TrtqatError": "trtqat.errors",
    "build": "trtqat.building.builder",
    "evaluate": "trtqat.evaluation.evaluate",
    "export_onnx": "trtqat.exporting.pipeline",
    "load_model": "trtqat.exporting.loading",
    "load_state": "trtqat.exporting.checkpoint",
    "open_dataset": "trtqat.data.dataset",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'trtqat' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
