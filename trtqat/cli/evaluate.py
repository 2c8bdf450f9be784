"""``trtqat eval``."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtqat.cli.console import (
    AllowEngineCodeOption,
    CheckpointOption,
    FactoryArgOption,
    JsonOption,
    QuietOption,
    RuntimeOption,
    TrustOption,
    VerboseOption,
    WeightsOption,
    check_json,
    command,
    print_json,
    print_table,
    progress_bar,
)
from trtqat.errors import UsageError

if TYPE_CHECKING:
    from trtqat.evaluation.evaluate import Report
    from trtqat.evaluation.latency import Latency
    from trtqat.evaluation.sweep import BatchPoint


class BaselinePrecision(str, Enum):
    """Arithmetic of the PyTorch baseline."""

    fp32 = "fp32"
    fp16 = "fp16"


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="model.engine (GPU) or model.onnx (CPU).")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help="cifar10:DIR, npz:FILE, file.py:factory, random or random:COUNT.",
        ),
    ],
    baseline: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="The PyTorch model to compare with, as for export."),
    ] = None,
    baseline_report: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT.json", help="Instead: a baseline that an earlier eval --json recorded."
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    factory_arg: FactoryArgOption = None,
    baseline_precision: Annotated[
        BaselinePrecision, typer.Option(help="fp32 is IEEE, without TF32; fp16 needs a GPU.")
    ] = BaselinePrecision.fp32,
    batch_size: Annotated[
        str,
        typer.Option(
            metavar="N[,N…]", help="Several are timed each; accuracy is measured with the largest."
        ),
    ] = "32",
    latency_budget: Annotated[
        float | None,
        typer.Option(
            metavar="MS", min=0, help="Which batch size is best if 99 % of requests take no longer."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N images.")
    ] = None,
    warm_up_ms: Annotated[float, typer.Option(min=0, help="Before the timing, per model.")] = 200,
    duration: Annotated[
        float, typer.Option(min=0, help="Seconds of timing per figure; 0 measures no latency.")
    ] = 3,
    cuda_graph: Annotated[
        bool, typer.Option("--cuda-graph/--no-cuda-graph", help="For engine and baseline.")
    ] = True,
    allow_engine_code: AllowEngineCodeOption = False,
    trust: TrustOption = None,
    runtime: RuntimeOption = None,
    weights: WeightsOption = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Gate: top-1 lost to the baseline.")
    ] = None,
    min_speedup: Annotated[
        float | None, typer.Option(metavar="X", help="Gate: median compute time, baseline / model.")
    ] = None,
    locate: Annotated[
        bool,
        typer.Option(
            "--locate", help="Graphs: which layers quantization changes most, instead of timing."
        ),
    ] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure accuracy over every image, and latency, beside the PyTorch baseline.

    Example: trtqat eval model.engine --data cifar10:data --baseline model.py:fp32
    --checkpoint fp32.pt
    """
    with command(quiet=quiet, verbose=verbose):
        check_json(json)

        from trtqat.data.dataset import open_dataset
        from trtqat.evaluation.evaluate import EvaluateOptions
        from trtqat.evaluation.evaluate import evaluate as measure
        from trtqat.evaluation.latency import LatencyOptions
        from trtqat.evaluation.open import open_baseline, open_model
        from trtqat.evaluation.recorded import read_baseline
        from trtqat.evaluation.sweep import parse_batch_sizes

        if locate:
            _locate(model, data, limit, batch_size, json, quiet=quiet)
            return
        if baseline is not None and baseline_report is not None:
            raise UsageError(
                "--baseline and --baseline-report name two baselines.", "Give one of them."
            )
        recorded = read_baseline(baseline_report) if baseline_report is not None else None
        opened = open_model(
            model,
            cuda_graph=cuda_graph,
            allow_engine_code=allow_engine_code,
            trust=trust,
            flavour=runtime.value if runtime else None,
            weights=weights,
        )
        dataset = open_dataset(data, opened.inputs, limit=limit)
        reference = None
        if baseline is not None:
            reference = open_baseline(
                baseline,
                opened,
                checkpoint=checkpoint,
                factory_args=factory_arg or [],
                precision=baseline_precision.value,
                cuda_graph=cuda_graph,
            )
        sizes = parse_batch_sizes(batch_size)
        options = EvaluateOptions(
            batch_size=sizes[-1],
            latency=LatencyOptions(warm_up_ms, duration) if duration else None,
            sweep=sizes[:-1],
            latency_budget_ms=latency_budget,
            max_accuracy_drop=max_accuracy_drop,
            min_speedup=min_speedup,
        )
        with progress_bar("Evaluating", quiet=quiet) as progress:
            report = measure(
                opened,
                dataset,
                options,
                baseline=reference,
                recorded=recorded,
                progress=progress,
            )
        if not print_json(report.to_dict(), json):
            _render(report, latency_budget)
        report.check_gates()


def _locate(
    model: Path, data: str, limit: int | None, batch_size: str, json: str | None, *, quiet: bool
) -> None:
    from dataclasses import asdict

    from trtqat.data.dataset import open_dataset
    from trtqat.evaluation.locate import first_drift
    from trtqat.evaluation.locate import locate as find
    from trtqat.evaluation.open import open_model
    from trtqat.evaluation.sweep import parse_batch_sizes

    if model.suffix != ".onnx":
        raise UsageError(
            f"'{model}' is an engine, whose layers are fused and cannot be looked into.",
            "Give the graph that it was built from: trtqat eval model.onnx --locate",
        )
    dataset = open_dataset(data, open_model(model).inputs, limit=limit)
    size = parse_batch_sizes(batch_size)[-1]
    with progress_bar("Locating", quiet=quiet) as progress:
        drifts = find(model, dataset, batch_size=size, progress=progress)
    first = first_drift(drifts)
    result = {
        "layers": [asdict(each) for each in drifts],
        "first": first.name if first else None,
        "images": len(dataset),
        "data": dataset.name,
    }
    if print_json(result, json):
        return
    ranked = sorted(drifts, key=lambda each: -each.fall_db)
    columns = ["layer, most lost first", "operator", "SQNR", "lost here", "lint"]
    rows = [
        [
            each.name,
            each.operator,
            f"{each.sqnr_db:.1f} dB",
            f"{each.fall_db:.1f} dB",
            ", ".join(each.findings),
        ]
        for each in ranked
    ]
    print_table(columns, rows)
    typer.echo(
        f"\nFirst layer in the graph's order below 20 dB: {first.name if first else 'none'}; "
        f"{len(dataset)} images of {dataset.name}"
    )


def _render(report: Report, latency_budget: float | None) -> None:
    columns = [f"{report.images} images, batch {report.batch_size}"]
    columns += [report.baseline.name] if report.baseline else []
    columns.append(report.model.name)
    print_table(columns, [row for row in _rows(report) if any(row[1:])])
    if report.curve:
        columns = ["batch", "images/s", "compute", "request", "request, 99 %", "speed-up"]
        print_table(columns, [_point(point) for point in report.curve])
    if latency_budget is not None:
        best = report.best_batch
        found = f"batch {best}" if best else "none of the measured batch sizes"
        typer.echo(f"Best within {latency_budget:g} ms for 99 % of requests: {found}")
    gpu = report.environment.gpu
    where = f"{gpu.name}, driver {gpu.driver}" if gpu else report.environment.cpu
    typer.echo(f"\n{report.data}; {where}")
    for side in filter(None, (report.baseline, report.model)):
        for warning in side.timing.warnings if side.timing else ():
            typer.echo(f"{side.name}: {warning}", err=True)


def _point(point: BatchPoint) -> list[str]:
    timing = point.model
    return [
        str(point.batch_size),
        f"{point.images_per_second:,.0f}",
        f"{timing.compute.median_ms:.3f} ms",
        f"{timing.request.median_ms:.3f} ms",
        f"{timing.request.p99_ms:.3f} ms",
        f"{point.speedup.value:.2f}x" if point.speedup else "",
    ]


def _rows(report: Report) -> list[list[str]]:
    sides = [side for side in (report.baseline, report.model) if side is not None]
    blank = [""] * (len(sides) - 1)

    def counts(what: str) -> list[str]:
        cells = []
        for side in sides:
            hits = getattr(side.accuracy, what) if side.accuracy else None
            cells.append(_share(hits, side.accuracy.count if side.accuracy else 0))
        return cells

    def times(label: str, figure: str, statistic: str) -> list[str]:
        cells = []
        for side in sides:
            latency: Latency | None = getattr(side.timing, figure) if side.timing else None
            cells.append(f"{getattr(latency, statistic):.3f} ms" if latency else "")
        return [label, *cells]

    def intervals() -> list[str]:
        found = [side.accuracy.top1_interval if side.accuracy else None for side in sides]
        return [f"{100 * i.low:.2f} … {100 * i.high:.2f} %" if i else "" for i in found]

    def medians() -> list[str]:
        found = [side.timing.compute.interval_ms if side.timing else None for side in sides]
        return [f"{interval} ms" if interval else "" for interval in found]

    agreement, paired = report.comparison.agreement, report.comparison.paired
    device = "GPU compute time" if report.model.device == "cuda" else "compute time"
    rows = [
        ["top-1", *counts("top1")],
        ["95 % interval", *intervals()],
        ["top-5", *counts("top5")],
    ]
    if paired:
        rows.append(
            [
                "right only there, right only here",
                *blank,
                f"{paired.lost}, {paired.gained} (McNemar p = {paired.p_value:.2g})",
            ]
        )
    if agreement:
        same = _share(agreement.same_top1, agreement.count)
        rows.append(["same prediction as the baseline", *blank, same])
        if agreement.sqnr_db is not None:
            rows.append(["SQNR of the first output", *blank, f"{agreement.sqnr_db:.1f} dB"])
    rows += [
        times(f"{device}, median", "compute", "median_ms"),
        ["95 % interval of the median", *medians()],
        times("mean", "compute", "mean_ms"),
        times("90 %", "compute", "p90_ms"),
        times("95 %", "compute", "p95_ms"),
        times("99 %", "compute", "p99_ms"),
        times("request (host to host), median", "request", "median_ms"),
        times("enqueue (host), median", "enqueue", "median_ms"),
        ["mode", *(side.timing.mode if side.timing else "" for side in sides)],
    ]
    if report.speedup is not None:
        low, high = report.speedup.interval.low, report.speedup.interval.high
        ratio = f"{report.speedup.value:.2f}x ({low:.2f} … {high:.2f})"
        how = "in turns" if report.speedup.rounds else "against the record"
        rows.append([f"speed-up (compute, {how})", *blank, ratio])
    return rows


def _share(hits: Any, count: int) -> str:  # noqa: ANN401
    return "" if hits is None else f"{100 * hits / count:.2f} % ({hits}/{count})"
