"""The stages of what is shipped: the ONNX graph on ONNX Runtime, and the engine on the GPU.

Each runs all test images. The graph needs no GPU, and may be run on another host: ``comparing.py``
counts how many answers are others than those of the model and of the graph.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import trtqat
from scripts.fashion_mnist.stages import Outcome, Stage, Work
from scripts.fitting import to_unit
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.runtime.protocol import Model
from trtqat.tensors import Array

MODELS_FILE = Path(__file__).with_name("models.py")
INPUT = "images:1x1x28x28"
# One engine for every batch: the last one of all test images is smaller.
BATCHES = "1:128:128"
BATCH = 128
WARM_UP, TIMES = 50, 200

Start = Callable[[Work], str]


def run_graph(start: Start) -> Callable[[Work], Outcome]:
    """Runs ``START.onnx`` on the CPU, every operator as it is written."""

    def run(work: Work) -> Outcome:
        path = _graph(work, start(work))
        # ONNX Runtime's own INT8 kernels round otherwise: of MobileNetV2 they change 38 answers.
        with OnnxModel(path, as_written=True) as graph:
            answers, _ = _run(graph, work)
        findings = trtqat.lint(path).findings
        figures = {
            "of": path.stem,
            "lint_warnings": sum(each.severity == "warning" for each in findings),
            "bytes": path.stat().st_size,
        }
        return Outcome(torch.from_numpy(answers).to(work.device), figures)

    return run


def run_engine(start: Start) -> Callable[[Work], Outcome]:
    """Builds ``START.engine``, runs it on the GPU, and times it."""

    def run(work: Work) -> Outcome:
        graph = _graph(work, start(work))
        path = graph.with_suffix(".engine")
        built = trtqat.build(
            graph,
            path,
            batch=BATCHES,
            tactic_sources=work.choices.tactic_sources,
            timing_cache=work.folder.parent / "timing.cache",
        )
        with trtqat.open(path) as engine:
            answers, times_ms = _run(engine, work)
        coverage = built.coverage
        figures = {
            "of": path.stem,
            "layers_wanted_in_int8": None if coverage is None else len(coverage.wanted),
            "layers_not_in_int8": (
                None if coverage is None else [each.name for each in coverage.missed]
            ),
            "gpu_ms": statistics.median(times_ms) if times_ms else None,
            "gpu_ms_batch": BATCH,
            "bytes": path.stat().st_size,
        }
        return Outcome(torch.from_numpy(answers).to(work.device), figures)

    return run


def _graph(work: Work, name: str) -> Path:
    """``NAME.onnx``, exported unless it is there and as new as its checkpoint."""
    path, checkpoint = work.folder / f"{name}.onnx", work.folder / f"{name}.pt"
    if not path.exists() or path.stat().st_mtime < checkpoint.stat().st_mtime:
        trtqat.export(
            f"{MODELS_FILE}:{work.model}",
            path,
            checkpoint=checkpoint,
            inputs=[INPUT],
            data=f"idx:{work.choices.data}",
        )
    return path


def _run(model: Model, work: Work) -> tuple[Array, list[float]]:
    """The class of each test image, int64 ``(N,)``; compute times of a whole batch, in ms."""
    pixels = work.test.pixels.cpu()
    size = min(BATCH, len(pixels))
    answers = []
    times_ms: list[float] = []
    session = model.session(size)
    try:
        for part in torch.split(pixels, size):
            if len(part) < size:
                session.close()
                session = model.session(len(part))
            inputs = {model.inputs[0].name: to_unit(part).numpy()}
            (logits,) = session.run(inputs).values()
            answers.append(np.argmax(logits, axis=1))
            if not times_ms and model.device == "cuda":
                session.load(inputs)
                session.compute_times_ms(WARM_UP)
                times_ms = session.compute_times_ms(TIMES)
    finally:
        session.close()
    return np.concatenate(answers).astype(np.int64), times_ms


def _lacks_tensorrt() -> str:
    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT"
    return "" if torch.cuda.is_available() else "GPU"


def _tensorrt() -> str:
    try:
        return version("tensorrt")
    except PackageNotFoundError:
        return "none"


def _qat(work: Work) -> str:
    return f"qat-seed{work.seed}"


def _ptq(_: Work) -> str:
    return "ptq-auto"


def _stages(ending: str, start: Start) -> tuple[Stage, Stage]:
    def graph_settings(work: Work) -> dict[str, Any]:
        return {"of": start(work), "as_written": True}

    def engine_settings(work: Work) -> dict[str, Any]:
        return {
            "of": start(work),
            "tensorrt": _tensorrt(),
            "batches": BATCHES,
            "tactic_sources": work.choices.tactic_sources,
        }

    return (
        Stage(f"onnx-{ending}", run_graph(start), graph_settings, is_seeded=False),
        Stage(
            f"engine-{ending}",
            run_engine(start),
            engine_settings,
            is_seeded=False,
            lacks=_lacks_tensorrt,
        ),
    )


GRAPH_QAT, ENGINE_QAT = _stages("qat", _qat)
GRAPH_PTQ, ENGINE_PTQ = _stages("ptq", _ptq)
