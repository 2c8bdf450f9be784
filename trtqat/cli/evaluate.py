"""``trtqat eval``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtqat.cli.console import (
    AllowEngineCodeOption,
    CheckpointOption,
    EmaOption,
    FactoryArgOption,
    JsonOption,
    QuietOption,
    RuntimeOption,
    TrustOption,
    VerboseOption,
    WeightsOption,
    check_outputs,
    command,
    command_line,
    print_json,
    print_table,
    progress_bar,
    say,
)
from trtqat.errors import UsageError
from trtqat.files import is_onnx, write_atomically
from trtqat.report.words import answers, report_tables, where_measured

if TYPE_CHECKING:
    from trtqat.evaluation.report import Report
    from trtqat.report.wording import Table


class BaselinePrecision(str, Enum):
    """Arithmetic of the PyTorch baseline."""

    fp32 = "fp32"
    tf32 = "tf32"
    fp16 = "fp16"


class LikeTrtexec(str, Enum):
    """Whose defaults."""

    trtexec_10 = "trtexec-10"
    trtexec_11 = "trtexec-11"


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
    fake_quantized: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The quantization-aware model that was exported: a step between the two.",
        ),
    ] = None,
    fake_quantized_checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its state dict.")
    ] = None,
    fake_quantized_ema: Annotated[
        bool | None,
        typer.Option("--fake-quantized-ema/--no-fake-quantized-ema", help="As --ema, of that."),
    ] = None,
    reference: Annotated[
        bool,
        typer.Option("--reference", help="Engines: the graph on ONNX Runtime is a step, too."),
    ] = False,
    compare: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Engines: what to measure besides: fp16, fp32 (float engines of the same graph), "
            "torch-fp32, torch-tf32, torch-fp16, torch-compile.",
        ),
    ] = "",
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL.onnx",
            help="What the engine was built from, for --reference, --compare and --locate, and for "
            "the order of outputs that its manifest lacks. Default: the file beside it.",
        ),
    ] = None,
    checkpoint: CheckpointOption = None,
    ema: EmaOption = None,
    factory_arg: FactoryArgOption = None,
    baseline_precision: Annotated[
        BaselinePrecision,
        typer.Option(help="fp32 is IEEE, without TF32; tf32 and fp16 need a GPU."),
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
        float, typer.Option(min=0, help="Seconds of timing per figure; 0 times nothing.")
    ] = 3,
    in_flight: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Engines: queries at once. Default: 6."),
    ] = None,
    cuda_graph: Annotated[
        bool | None,
        typer.Option(
            "--cuda-graph/--no-cuda-graph",
            help="For engine and baseline. Default: where that works.",
        ),
    ] = None,
    like: Annotated[
        LikeTrtexec | None,
        typer.Option(help="Engines: time with the defaults of trtexec up to 10 or from 11, too."),
    ] = None,
    allow_engine_code: AllowEngineCodeOption = False,
    trust: TrustOption = None,
    runtime: RuntimeOption = None,
    weights: WeightsOption = None,
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(min=0, metavar="POINTS", help="Gate: top-1 lost to the baseline."),
    ] = None,
    min_sqnr_db: Annotated[
        float | None,
        typer.Option(
            metavar="DB",
            help="Gate: SQNR of every output, against the baseline or else the step before.",
        ),
    ] = None,
    min_speedup: Annotated[
        float | None,
        typer.Option(min=0, metavar="X", help="Gate: median compute time, baseline / model."),
    ] = None,
    locate: Annotated[
        bool,
        typer.Option(
            "--locate",
            help="Say in which layers accuracy goes, too: by quantization, and from "
            "--fake-quantized over the graph to the engine, which is built once more for it.",
        ),
    ] = False,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For what --compare and --locate build: kernel timings to read and update.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write the report as one page, with charts."),
    ] = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Measure accuracy over every image, and latency, beside the PyTorch baseline.

    Example: trtqat eval model.engine --data cifar10:data --baseline model.py:fp32
    --checkpoint fp32.pt
    """
    with command(quiet=quiet, verbose=verbose):
        from trtqat.data.dataset import files_of, open_dataset

        check_outputs(
            {"--json": json, "--html": html, "--timing-cache": timing_cache},
            [
                *(model, baseline, baseline_report, checkpoint, graph, weights, trust),
                *(fake_quantized, fake_quantized_checkpoint, *files_of(data)),
            ],
            plan=None if is_onnx(model) else model,
        )

        from trtqat.evaluation.evaluate import evaluate as measure
        from trtqat.evaluation.locate import LocateOptions
        from trtqat.evaluation.open import PyTorchSource, open_model, open_pytorch
        from trtqat.evaluation.options import EvaluateOptions
        from trtqat.evaluation.recorded import read_baseline
        from trtqat.evaluation.rivals import (
            RivalOptions,
            find_graph,
            open_rivals,
            open_steps,
            parse_rivals,
        )
        from trtqat.evaluation.sweep import parse_batch_sizes
        from trtqat.evaluation.timing import LatencyOptions
        from trtqat.report.page import render_page

        sizes = parse_batch_sizes(batch_size)
        if baseline is not None and baseline_report is not None:
            raise UsageError(
                "--baseline and --baseline-report name two baselines.", "Give one of them."
            )
        names = parse_rivals(compare)
        if baseline is not None and f"torch-{baseline_precision.value}" in names:
            raise UsageError(
                f"--compare torch-{baseline_precision.value} is the baseline itself.",
                "Leave it out, or choose another --baseline-precision.",
            )
        needed = (
            ("--checkpoint", checkpoint, "--baseline", baseline),
            ("--ema", ema is not None, "--checkpoint", checkpoint),
            (
                "--fake-quantized-ema",
                fake_quantized_ema is not None,
                "--fake-quantized-checkpoint",
                fake_quantized_checkpoint,
            ),
            (
                "--fake-quantized-checkpoint",
                fake_quantized_checkpoint,
                "--fake-quantized",
                fake_quantized,
            ),
            (
                "--baseline-precision",
                baseline_precision is not BaselinePrecision.fp32,
                "--baseline",
                baseline,
            ),
            ("--factory-arg", factory_arg, "--baseline", baseline or fake_quantized),
            ("--timing-cache", timing_cache, "--compare or --locate", names or locate),
        )
        if is_onnx(model):
            engines_only = {
                "--in-flight": in_flight is not None,
                "--cuda-graph": cuda_graph is True,
                "--no-cuda-graph": cuda_graph is False,
                "--allow-engine-code": allow_engine_code,
                "--timing-cache": timing_cache is not None,
                "--graph": graph is not None,
            }
            for option, given in engines_only.items():
                if given:
                    raise UsageError(
                        f"'{model}' is a graph itself; {option} is for engines.",
                        f"Leave out {option}.",
                    )
        cuda_graph = cuda_graph is not False
        for option, value, of, other_value in needed:
            if value and not other_value:
                raise UsageError(f"{option} belongs to {of}.", f"Give {of}, too, or leave it out.")
        recorded = read_baseline(baseline_report) if baseline_report is not None else None
        opened = open_model(
            model,
            cuda_graph=cuda_graph,
            allow_engine_code=allow_engine_code,
            trust=trust,
            flavour=runtime.value if runtime else None,
            weights=weights,
            graph=graph,
        )
        located_in = find_graph(opened, model, graph) if locate else None
        dataset = open_dataset(data, opened.inputs, limit=limit)
        source = PyTorchSource.parse(baseline, checkpoint, factory_arg, ema)
        rivals = open_rivals(
            RivalOptions(
                names,
                graph,
                source,
                cuda_graph,
                allow_engine_code=allow_engine_code,
                trust_nothing_found=trust is not None,
                timing_cache=timing_cache,
            ),
            opened,
            model,
        )
        steps = open_steps(
            opened,
            model,
            fake_quantized=PyTorchSource.parse(
                fake_quantized, fake_quantized_checkpoint, factory_arg, fake_quantized_ema
            ),
            reference=reference,
            graph=graph,
        )
        other = None
        if source is not None:
            other = open_pytorch(
                source, opened, precision=baseline_precision.value, cuda_graph=cuda_graph
            )
        options = EvaluateOptions(
            batch_size=sizes[-1],
            latency=LatencyOptions(warm_up_ms, duration) if duration else None,
            sweep=sizes[:-1],
            latency_budget_ms=latency_budget,
            max_accuracy_drop=max_accuracy_drop,
            min_sqnr_db=min_sqnr_db,
            min_speedup=min_speedup,
            in_flight=in_flight or EvaluateOptions.in_flight,
            like=like.value if like else None,
            layer_times=bool(duration) and (html is not None or json is not None),
        )
        where = None
        if located_in is not None:
            where = LocateOptions(located_in, steps[0] if fake_quantized else None, timing_cache)
        with progress_bar("Evaluating", quiet=quiet) as progress:
            report = measure(
                opened,
                dataset,
                options,
                baseline=other,
                recorded=recorded,
                rivals=rivals,
                steps=steps,
                locate=where,
                progress=progress,
            )
        tables, words = report_tables(report), answers(report)
        # Files come before standard output, whose reader may have gone; and one that cannot be
        # written takes neither the other nor the table, which hours of measuring may be in.
        with contextlib.ExitStack() as results:
            if json == "-":
                results.callback(print_json, report.to_dict(), json)
            else:
                results.callback(_print, report, tables, words)
                results.callback(print_json, report.to_dict(), json)
            if html is not None:
                page = render_page(report, command=command_line())
                results.callback(write_atomically, html, page.encode())
        report.check_gates()


def _print(report: Report, tables: Sequence[Table], words: str) -> None:
    from trtqat.evaluation.trtexec import describe

    for _, columns, rows in tables:
        print_table(columns, rows)
    if words:
        say(words)
    say(f"\n{where_measured(report)}")
    if report.trtexec is not None:
        say(f"\n{describe(report.trtexec)}")
    for warning in report.warnings:
        say(warning, err=True)
