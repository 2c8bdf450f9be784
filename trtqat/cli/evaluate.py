"""``trtqat eval``."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtqat.cli.console import command
from trtqat.cli.evaluate_options import (
    ContenderGroup,
    EngineGroup,
    GateGroup,
    LocateGroup,
    MeasureGroup,
    check_baseline,
    check_belonging,
    check_for_graphs,
)
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import command_line, print_json, print_table, say
from trtqat.cli.progress import progress_bar
from trtqat.cli.shared_options import OutputGroup, PyTorchGroup, TrustGroup
from trtqat.files import is_onnx

if TYPE_CHECKING:
    from trtqat.evaluation.options import EvaluateOptions
    from trtqat.exporting.source import ModelSource
    from trtqat.report.readable import ReadableReport


@grouped
def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="model.engine (GPU) or model.onnx (CPU).")
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="images:DIR[,resize=256,crop=224,…], coco:DIR[,…], cifar10:DIR, idx:DIR, "
            "npz:FILE, file.py:factory, random or random:COUNT.",
        ),
    ],
    contenders: ContenderGroup,
    pytorch: PyTorchGroup,
    measuring: MeasureGroup,
    trust: TrustGroup,
    engine: EngineGroup,
    gates: GateGroup,
    locating: LocateGroup,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write the report as one page, with charts."),
    ] = None,
    printed: OutputGroup = OutputGroup(),  # noqa: B008
) -> None:
    """Measure accuracy over every image, and latency, beside a float baseline.

    Example: trtqat eval model.engine --data cifar10:data --baseline model.py:fp32
    --checkpoint fp32.pt
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        _check_files(model, data, contenders, pytorch, trust, engine, locating, html, printed)
        from trtqat.evaluation.open_pytorch import OpenOptions
        from trtqat.evaluation.recorded import read_baseline
        from trtqat.evaluation.rivals import parse_rivals
        from trtqat.host.chosen_gpu import choose_gpu
        from trtqat.report.readable import evaluate as evaluate_model

        options = _options(measuring, gates, has_file=bool(html or printed.json))
        rivals = parse_rivals(contenders.compare)
        precision = measuring.baseline_precision
        check_baseline(contenders, precision, rivals)
        if is_onnx(model):
            check_for_graphs(model, measuring, engine, locating.timing_cache)
        check_belonging(contenders, pytorch, precision, locating, rivals)
        choose_gpu(engine.device)
        source, fake_quantized = _sources(contenders, pytorch)
        report_path = contenders.baseline_report
        baseline = source if report_path is None else read_baseline(report_path)
        with progress_bar("Evaluating", quiet=printed.quiet) as progress:
            report = evaluate_model(
                model,
                data,
                options,
                baseline=baseline,
                baseline_precision=precision.value,
                rivals=rivals,
                fake_quantized=fake_quantized,
                reference=contenders.reference,
                locate=locating.locate,
                limit=measuring.limit,
                opening=OpenOptions(
                    cuda_graph=measuring.cuda_graph is not False,
                    allow_engine_code=trust.allow_engine_code,
                    trust=trust.trust,
                    flavour=engine.runtime.value if engine.runtime else None,
                    weights=engine.weights,
                    graph=contenders.graph,
                    runtime_cache=engine.runtime_cache,
                    timing_cache=locating.timing_cache,
                    plugins=trust.plugins or (),
                ),
                progress=progress,
            )
        found = replace(report, command=command_line())
        _write(found, printed.json, html, in_full=printed.verbose)
        report.check_gates()


def _check_files(
    model: Path,
    data: str,
    contenders: ContenderGroup,
    pytorch: PyTorchGroup,
    trust: TrustGroup,
    engine: EngineGroup,
    locating: LocateGroup,
    html: Path | None,
    printed: OutputGroup,
) -> None:
    """Refuses files that cannot be read or written, before anything is computed."""
    from trtqat.data.dataset import files_of
    from trtqat.runtime.runtime_cache import NO_CACHE

    check_outputs(
        {
            "--json": printed.json,
            "--html": html,
            "--timing-cache": locating.timing_cache,
            "--runtime-cache": None if engine.runtime_cache == NO_CACHE else engine.runtime_cache,
        },
        [
            *(model, contenders.baseline, contenders.baseline_report, pytorch.checkpoint),
            *(contenders.graph, engine.weights, trust.trust, contenders.fake_quantized),
            *(contenders.fake_quantized_checkpoint, *files_of(data), *(trust.plugins or ())),
        ],
        plan=None if is_onnx(model) else model,
    )


def _options(measuring: MeasureGroup, gates: GateGroup, *, has_file: bool) -> EvaluateOptions:
    from trtqat.evaluation.metrics.named import parse_drops
    from trtqat.evaluation.options import EvaluateOptions
    from trtqat.evaluation.sweep import parse_batch_sizes
    from trtqat.evaluation.timing import LatencyOptions

    sizes, duration = parse_batch_sizes(measuring.batch_size), measuring.duration
    return EvaluateOptions(
        batch_size=sizes[-1],
        latency=LatencyOptions(measuring.warm_up_ms, duration) if duration else None,
        sweep=sizes[:-1],
        latency_budget_ms=measuring.latency_budget,
        metrics=tuple(measuring.metric or ()),
        max_accuracy_drop=gates.max_accuracy_drop,
        max_drop=parse_drops(gates.max_drop or ()),
        min_sqnr_db=gates.min_sqnr_db,
        min_speedup=gates.min_speedup,
        in_flight=measuring.in_flight or EvaluateOptions.in_flight,
        like=measuring.like.value if measuring.like else None,
        layer_times=bool(duration) and has_file,
    )


def _sources(
    contenders: ContenderGroup, pytorch: PyTorchGroup
) -> tuple[ModelSource | Path | None, ModelSource | None]:
    """Where the baseline comes from, or which file it is, and the fake-quantized model."""
    from trtqat.exporting.source import ModelSource

    arguments = pytorch.factory_arg or ()
    baseline: ModelSource | Path | None = None
    fake_quantized = None
    if contenders.baseline is not None and is_onnx(contenders.baseline):
        baseline = Path(contenders.baseline)
    elif contenders.baseline is not None:
        baseline = ModelSource(contenders.baseline, pytorch.checkpoint, arguments, pytorch.ema)
    if contenders.fake_quantized is not None:
        fake_quantized = ModelSource(
            contenders.fake_quantized,
            contenders.fake_quantized_checkpoint,
            arguments,
            contenders.fake_quantized_ema,
        )
    return baseline, fake_quantized


def _write(report: ReadableReport, json: str | None, html: Path | None, *, in_full: bool) -> None:
    """Writes files and tables.

    Files come before standard output, whose reader may have gone; and one that cannot be written
    takes neither the other nor the table, which hours of measuring may be in.
    """
    with contextlib.ExitStack() as results:
        if json == "-":
            results.callback(print_json, report.to_dict(), json)
        else:
            results.callback(_print, report, in_full=in_full)
            results.callback(print_json, report.to_dict(), json)
        if html is not None:
            results.callback(report.html, html)


def _print(report: ReadableReport, *, in_full: bool) -> None:
    from trtqat.report.words import closing_words, report_tables

    for _, columns, rows in report_tables(report, in_full=in_full):
        print_table(columns, rows)
    for words in closing_words(report):
        say(words)
    for warning in report.warnings:
        say(warning, err=True)
