"""The options of ``trtqat eval`` alone, in the order of its help, and what belongs to what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from trtqat.checks import refuse_for_graphs
from trtqat.cli.shared_options import (
    DeviceOption,
    PyTorchGroup,
    RuntimeCacheOption,
    RuntimeOption,
    WeightsOption,
)
from trtqat.errors import UsageError
from trtqat.files import is_onnx


class BaselinePrecision(str, Enum):
    """Arithmetic of the PyTorch baseline."""

    fp32 = "fp32"
    tf32 = "tf32"
    fp16 = "fp16"


class LikeTrtexec(str, Enum):
    """Whose defaults."""

    trtexec_10 = "trtexec-10"
    trtexec_11 = "trtexec-11"


@dataclass(frozen=True)
class ContenderGroup:
    """What the model is compared with.

    Attributes:
        baseline: Source of the PyTorch model, or an ONNX file.
        baseline_report: Report that recorded a baseline.
        fake_quantized: Source of the quantization-aware model.
        fake_quantized_checkpoint: Its state dict.
        fake_quantized_ema: Whether to take its averaged weights; None if the user did not say.
        reference: Whether the graph on ONNX Runtime is a step.
        compare: Rivals by name, with commas between them.
        graph: What the engine was built from.
    """

    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE|FLOAT.onnx",
            help="What to compare with: the PyTorch model, as for export, or a float ONNX file, "
            "which ONNX Runtime runs.",
        ),
    ] = None
    baseline_report: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT.json", help="Instead: a baseline that an earlier eval --json recorded."
        ),
    ] = None
    fake_quantized: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The quantization-aware model that was exported: a step between the two.",
        ),
    ] = None
    fake_quantized_checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its state dict.")
    ] = None
    fake_quantized_ema: Annotated[
        bool | None,
        typer.Option("--fake-quantized-ema/--no-fake-quantized-ema", help="As --ema, of that."),
    ] = None
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Engines: the graph on ONNX Runtime is a step, too."),
    ] = False
    compare: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Engines: what to measure besides: fp16, fp32 (float engines of the same graph), "
            "torch-fp32, torch-tf32, torch-fp16, torch-compile.",
        ),
    ] = ""
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="What the engine was built from, for --reference, --compare and --locate, and for "
            "the order of outputs that its manifest lacks. Default: the file beside it.",
        ),
    ] = None


@dataclass(frozen=True)
class MeasureGroup:
    """What is measured, on how much, and how.

    Attributes:
        baseline_precision: Arithmetic of the baseline.
        batch_size: One or several, with commas between them.
        latency_budget: Of 99 % of requests, in ms.
        metric: What to measure on labelled data instead of top-1.
        limit: Images at most.
        warm_up_ms: Before the timing, per model.
        duration: Seconds per figure; 0 times nothing.
        in_flight: Queries at once.
        cuda_graph: Whether to capture CUDA graphs; None if the user did not say.
        like: Whose defaults to time with besides.
    """

    baseline_precision: Annotated[
        BaselinePrecision,
        typer.Option(help="fp32 is IEEE, without TF32; tf32 and fp16 need a GPU."),
    ] = BaselinePrecision.fp32
    batch_size: Annotated[
        str,
        typer.Option(
            metavar="N[,N…]", help="Several are timed each; accuracy is measured with the largest."
        ),
    ] = "32"
    latency_budget: Annotated[
        float | None,
        typer.Option(
            metavar="MS", min=0, help="Which batch size is best if 99 % of requests take no longer."
        ),
    ] = None
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[@OUTPUT][:KEY=VALUE,…]",
            help="What to measure: top1, top5, miou, mse, psnr, cer, map, map50, or "
            "file.py:function; repeatable. Default: top-1 and top-5.",
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N images.")
    ] = None
    warm_up_ms: Annotated[float, typer.Option(min=0, help="Before the timing, per model.")] = 200
    duration: Annotated[
        float, typer.Option(min=0, help="Seconds of timing per figure; 0 times nothing.")
    ] = 3
    in_flight: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Engines: queries at once. Default: 6."),
    ] = None
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="For engine and baseline. Default: where that works.",
        ),
    ] = None
    like: Annotated[
        LikeTrtexec | None,
        typer.Option(
            help="Engines: time with the defaults of trtexec up to 10 or from 11, too. trtexec-10 "
            "agrees with a trtexec where the GPU is the limit, not where the host is: Python "
            "launches more slowly."
        ),
    ] = None


@dataclass(frozen=True)
class EngineGroup:
    """By what an engine is run.

    Attributes:
        runtime: Which TensorRT.
        weights: The graph of an engine without weights.
        runtime_cache: Where compiled kernels are kept, or ``"none"``.
        device: Which GPU runs it, and the baseline; None for the first one.
    """

    runtime: RuntimeOption = None
    weights: WeightsOption = None
    runtime_cache: RuntimeCacheOption = None
    device: DeviceOption = None


@dataclass(frozen=True)
class GateGroup:
    """What is demanded.

    Attributes:
        max_accuracy_drop: Top-1 points that may be lost.
        max_drop: How much worse a metric may be, as ``miou:0.5``.
        min_sqnr_db: Least SQNR of every output.
        min_speedup: Least speed-up over the baseline.
    """

    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(min=0, metavar="POINTS", help="Gate: top-1 lost to the baseline."),
    ] = None
    max_drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC:POINTS",
            help="Gate: how much worse a metric may be than the baseline's, in its own unit; "
            "repeatable.",
        ),
    ] = None
    min_sqnr_db: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Gate: SQNR of every output, against the baseline or else the step before.",
        ),
    ] = None
    min_speedup: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Gate: median compute time, baseline / model."),
    ] = None


@dataclass(frozen=True)
class LocateGroup:
    """Where accuracy goes.

    Attributes:
        locate: Whether to say in which layers.
        timing_cache: Kernel timings for what is built to compare.
    """

    locate: Annotated[
        bool,
        typer.Option(
            "--locate",
            help="Say in which layers accuracy goes, too: by quantization, and from "
            "--fake-quantized over the graph to the engine, which is built once more for it.",
        ),
    ] = False
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For what --compare and --locate build: kernel timings to read and update.",
        ),
    ] = None


def check_baseline(
    contenders: ContenderGroup, precision: BaselinePrecision, rivals: tuple[str, ...]
) -> None:
    """Refuses two baselines, and a rival that is the baseline.

    Raises:
        UsageError: There are such.
    """
    if contenders.baseline is not None and contenders.baseline_report is not None:
        raise UsageError(
            "--baseline and --baseline-report name two baselines.", "Give one of them."
        )
    if contenders.baseline is not None and f"torch-{precision.value}" in rivals:
        raise UsageError(
            f"--compare torch-{precision.value} is the baseline itself.",
            "Leave it out, or choose another --baseline-precision.",
        )


def check_for_graphs(
    model: Path, measuring: MeasureGroup, engine: EngineGroup, cache: Path | None
) -> None:
    """Refuses what a graph would ignore and is no option of opening one, which refuses its own.

    Raises:
        UsageError: One of them is given.
    """
    engines_only = {
        "--in-flight": measuring.in_flight is not None,
        "--cuda-graph": measuring.cuda_graph is True,
        "--timing-cache": cache is not None,
        "--device": engine.device is not None,
    }
    refuse_for_graphs(model, engines_only)


def check_belonging(
    contenders: ContenderGroup,
    pytorch: PyTorchGroup,
    precision: BaselinePrecision,
    locating: LocateGroup,
    rivals: tuple[str, ...],
) -> None:
    """Refuses options without the one that they belong to.

    Raises:
        UsageError: One of them stands alone.
    """
    baseline, fake_quantized = contenders.baseline, contenders.fake_quantized
    if baseline is not None and is_onnx(baseline):
        _check_graph_baseline(baseline, contenders, pytorch, precision)
    checkpoint = contenders.fake_quantized_checkpoint
    needed = (
        ("--checkpoint", pytorch.checkpoint, "--baseline", baseline),
        ("--ema", pytorch.ema is not None, "--checkpoint", pytorch.checkpoint),
        (
            "--fake-quantized-ema",
            contenders.fake_quantized_ema is not None,
            "--fake-quantized-checkpoint",
            checkpoint,
        ),
        ("--fake-quantized-checkpoint", checkpoint, "--fake-quantized", fake_quantized),
        (
            "--baseline-precision",
            precision is not BaselinePrecision.fp32,
            "--baseline",
            baseline,
        ),
        ("--factory-arg", pytorch.factory_arg, "--baseline", baseline or fake_quantized),
        (
            "--timing-cache",
            locating.timing_cache,
            "--compare or --locate",
            rivals or locating.locate,
        ),
    )
    for option, value, of, other_value in needed:
        if value and not other_value:
            raise UsageError(f"{option} belongs to {of}.", f"Give {of}, too, or leave it out.")


def _check_graph_baseline(
    baseline: str, contenders: ContenderGroup, pytorch: PyTorchGroup, precision: BaselinePrecision
) -> None:
    """Refuses options of PyTorch where a graph is the baseline, which would ignore them."""
    ignored = {
        "--checkpoint": pytorch.checkpoint is not None,
        "--factory-arg": bool(pytorch.factory_arg) and contenders.fake_quantized is None,
        "--baseline-precision": precision is not BaselinePrecision.fp32,
    }
    for option, is_given in ignored.items():
        if is_given:
            raise UsageError(
                f"'{baseline}' is a graph; {option} is for a PyTorch --baseline.",
                f"Leave out {option}.",
            )
