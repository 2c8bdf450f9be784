"""trtqat: from an FP32 PyTorch model to a measured INT8 TensorRT engine.

    FP32 model ──quantize──▶ int8.pt ──export──▶ model.onnx ──build──▶ model.engine ──eval──▶ report
    (PyTorch)                recipe              explicit Q/DQ         plan + manifest

The same in Python, as each command is one function here::

    import trtqat

    inputs = ["images:1x3x224x224"]
    fp32 = "model.py:fp32"
    trtqat.quantize_source(fp32, "int8.pt", checkpoint="fp32.pt", data="npz:train.npz")
    trtqat.export(fp32, "model.onnx", checkpoint="int8.pt", inputs=inputs)
    trtqat.build("model.onnx", "model.engine", batch="1:32:128")
    baseline = trtqat.Torch("model.py:fp32", checkpoint="fp32.pt")
    with trtqat.open("model.engine") as engine:
        print(trtqat.evaluate(engine, "npz:test.npz", baseline=baseline))
    print(trtqat.lint("model.onnx"))
    print(trtqat.inspect("model.engine"))

A model is a PyTorch module, a graph is ONNX, a plan is bytes, an engine is a loaded plan. The
rooms, each of which imports from those below it alone:

    cli/         one file a command: parse, call one function, print
    report/      what people read of an evaluation: words, charts, a page
    search/      which layers cost accuracy, and the best INT8 model of an FP32 one; which regions
                 of a graph cost time, and its fastest engine
    evaluation/  accuracy, latency and throughput of what is compared, and the layers that lose
    building/    TensorRT's builder, with what differs between its versions; Triton
    exporting/   loads a model, traces it, verifies the graph, writes it
    inspection/  what a graph or an engine consists of: lint; layers in INT8, time, roofline
    graph/       ONNX in memory: passes change it, lenses look at it, lint judges it
    runtime/     one protocol for what runs: TensorRT, ONNX Runtime, PyTorch
    host/        what this host has, which TensorRT runs which plan, preflight
    plan/        what a plan file is: header, manifest, signature
    graph_file/  what an ONNX file is: reading, checking, hashing
    quant/       quantizers: placed, given ranges, trained, and read, of any toolkit
    data/        labelled batches: CIFAR-10, MNIST's family, images, COCO, .npz, a factory, random

Where is

    a quantizer placed       quant/placing/placement.py
    a Q/DQ pair made         graph/passes/expand_fake_quantize.py
    a plan refused           host/preflight.py
    a speed-up computed      evaluation/intervals.py
    the HTML page made       report/page.py, into report/page.html.jinja

The names below load on first use, so that ``import trtqat`` imports neither torch nor tensorrt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trtqat.extras import require
from trtqat.version import __version__ as __version__

if TYPE_CHECKING:
    from trtqat.building.builder import BuildResult, build
    from trtqat.building.options import BuildOptions
    from trtqat.data.dataset import open_dataset
    from trtqat.errors import TrtqatError
    from trtqat.evaluation.options import EvaluateOptions
    from trtqat.evaluation.timing import LatencyOptions
    from trtqat.exporting.checkpoint import load_state
    from trtqat.exporting.export import export
    from trtqat.exporting.loading import load_model, load_quantized
    from trtqat.exporting.options import ExportOptions, ExportResult
    from trtqat.exporting.pipeline import export_onnx
    from trtqat.exporting.source import ModelSource
    from trtqat.host.preflight import preflight
    from trtqat.inspection.inspected_engine import InspectedEngine
    from trtqat.inspection.inspected_graph import InspectedGraph, lint
    from trtqat.inspection.inspected_layers import InspectedLayers
    from trtqat.inspection.inspected_plan import InspectedPlan
    from trtqat.inspection.inspecting import inspect
    from trtqat.inspection.options import InspectOptions
    from trtqat.pixels import Pixels
    from trtqat.quant.quantize import Quantized, quantize
    from trtqat.quant.recipe import save_quantized
    from trtqat.report.readable import ReadableReport, evaluate
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.onnx_model import OnnxModel
    from trtqat.runtime.opening import open
    from trtqat.runtime.pytorch import PyTorchModel
    from trtqat.search.quantizing import quantize_source
    from trtqat.search.result import QuantizeResult
    from trtqat.search.speed.options import TuneOptions
    from trtqat.search.speed.tuning import TuneResult, tune
    from trtqat.tensors import TensorSpec

    Report = ReadableReport
    Torch = ModelSource

__all__ = [
    "BuildOptions",
    "BuildResult",
    "Engine",
    "EvaluateOptions",
    "ExportOptions",
    "ExportResult",
    "InspectOptions",
    "InspectedEngine",
    "InspectedGraph",
    "InspectedLayers",
    "InspectedPlan",
    "LatencyOptions",
    "ModelSource",
    "OnnxModel",
    "Pixels",
    "PyTorchModel",
    "QuantizeResult",
    "Quantized",
    "Report",
    "TensorSpec",
    "Torch",
    "TrtqatError",
    "TuneOptions",
    "TuneResult",
    "build",
    "evaluate",
    "export",
    "export_onnx",
    "fine_tune",
    "inspect",
    "lint",
    "load_model",
    "load_quantized",
    "load_state",
    "open",
    "open_dataset",
    "preflight",
    "quantize",
    "quantize_source",
    "save_quantized",
    "tune",
]

# The module of each name; a short name is followed by the one that it stands for.
_HOMES = {
    "BuildOptions": "trtqat.building.options",
    "BuildResult": "trtqat.building.builder",
    "Engine": "trtqat.runtime.engine",
    "EvaluateOptions": "trtqat.evaluation.options",
    "ExportOptions": "trtqat.exporting.options",
    "ExportResult": "trtqat.exporting.options",
    "InspectOptions": "trtqat.inspection.options",
    "InspectedEngine": "trtqat.inspection.inspected_engine",
    "InspectedGraph": "trtqat.inspection.inspected_graph",
    "InspectedLayers": "trtqat.inspection.inspected_layers",
    "InspectedPlan": "trtqat.inspection.inspected_plan",
    "LatencyOptions": "trtqat.evaluation.timing",
    "ModelSource": "trtqat.exporting.source",
    "OnnxModel": "trtqat.runtime.onnx_model",
    "Pixels": "trtqat.pixels",
    "PyTorchModel": "trtqat.runtime.pytorch",
    "QuantizeResult": "trtqat.search.result",
    "Quantized": "trtqat.quant.quantize",
    "Report": "trtqat.report.readable:ReadableReport",
    "TensorSpec": "trtqat.tensors",
    "Torch": "trtqat.exporting.source:ModelSource",
    "TrtqatError": "trtqat.errors",
    "TuneOptions": "trtqat.search.speed.options",
    "TuneResult": "trtqat.search.speed.tuning",
    "build": "trtqat.building.builder",
    "evaluate": "trtqat.report.readable",
    "export": "trtqat.exporting.export",
    "export_onnx": "trtqat.exporting.pipeline",
    "fine_tune": "trtqat.quant.tuning.fine_tune",
    "inspect": "trtqat.inspection.inspecting",
    "lint": "trtqat.inspection.inspected_graph",
    "load_model": "trtqat.exporting.loading",
    "load_quantized": "trtqat.exporting.loading",
    "load_state": "trtqat.exporting.checkpoint",
    "open": "trtqat.runtime.opening",
    "open_dataset": "trtqat.data.dataset",
    "preflight": "trtqat.host.preflight",
    "quantize": "trtqat.quant.quantize",
    "quantize_source": "trtqat.search.quantizing",
    "save_quantized": "trtqat.quant.recipe",
    "tune": "trtqat.search.speed.tuning",
}

# The extra with each package that some of these modules import at their top.
_EXTRAS = {"onnx": "onnx", "onnx_ir": "onnx", "torch": "export"}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    if name not in _HOMES:
        raise AttributeError(f"module 'trtqat' has no attribute {name!r}")
    module, _, full_name = _HOMES[name].partition(":")
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name in _EXTRAS:
            require(error.name, extra=_EXTRAS[error.name], purpose=f"trtqat.{name}")
        raise
    value = getattr(home, full_name or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
