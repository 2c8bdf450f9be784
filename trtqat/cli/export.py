"""``trtqat export``."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtqat.cli.console import (
    CheckpointOption,
    EmaOption,
    FactoryArgOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    check_outputs,
    command,
    print_json,
    say,
)
from trtqat.errors import GateError, UsageError
from trtqat.files import is_onnx
from trtqat.report.agreement_words import describe_agreement
from trtqat.report.graph_words import describe_findings, describe_summary

if TYPE_CHECKING:
    from trtqat.exporting.options import ExportOptions, ExportResult
    from trtqat.exporting.source import ModelSource


_LOG = logging.getLogger(__name__)


class ExporterChoice(str, Enum):
    """Which of PyTorch's exporters."""

    auto = "auto"
    dynamo = "dynamo"
    torchscript = "torchscript"


class PrecisionChoice(str, Enum):
    """Type of what is not quantized."""

    fp32 = "fp32"
    fp16 = "fp16"


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="pkg.module:factory, file.py:factory, a TorchScript file, a .pt2 program, or an "
            "ONNX file with Q/DQ.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    checkpoint: CheckpointOption = None,
    ema: EmaOption = None,
    factory_arg: FactoryArgOption = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME:1x3x32x32[:dtype]",
            help="Shape of an input of forward; repeatable. The first dimension is dynamic.",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(
            min=13,
            help="17 if not given, the newest that TensorRT 8.6 reads; 19 with --precision fp16.",
        ),
    ] = None,
    precision: Annotated[
        PrecisionChoice,
        typer.Option(help="Type of what is not INT8; fp16 for strongly typed TensorRT 10.12+."),
    ] = PrecisionChoice.fp32,
    exporter: Annotated[
        ExporterChoice,
        typer.Option(help="auto is dynamo (torch.export), with torchscript to fall back to."),
    ] = ExporterChoice.auto,
    static_batch: Annotated[
        bool, typer.Option("--static-batch", help="Fix the batch to the --input shapes.")
    ] = False,
    fold_batch_norm: Annotated[
        bool,
        typer.Option(
            "--fold-batch-norm/--keep-batch-norm",
            help="Fold BatchNorms into the scales of quantized layers; no INT8 code changes.",
        ),
    ] = True,
    int8_weights: Annotated[
        bool | None,
        typer.Option(
            "--int8-weights/--float-weights",
            help="Weights as INT8 initializers, or as float ones through QuantizeLinear; if "
            "neither is given, INT8 where every TensorRT that reads the opset takes it.",
        ),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair/--no-repair", help="Repairs of Q/DQ placement that change no output bit."
        ),
    ] = False,
    quantized_input: Annotated[
        bool,
        typer.Option(
            "--quantized-input",
            help="Take inputs as INT8 codes: the caller quantizes, and sends a quarter of the "
            "bytes.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Samples to verify the graph with, and to find what FP16 can hold: "
            "cifar10:DIR, npz:FILE or file.py:factory. Random numbers if not given.",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 3 if lint warns; the file is written anyway."),
    ] = False,
    min_sqnr_db: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Agreement of graph and model end to end, in dB, below which every layer must "
            "agree by itself.",
        ),
    ] = 20.0,
    json: JsonOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Export a fake-quantized PyTorch model to ONNX with explicit Q/DQ.

    The model's quantizers become QuantizeLinear/DequantizeLinear pairs, and the graph is
    compared with the model on ONNX Runtime before the file is written.

    Example: trtqat export model.py:qat --checkpoint qat.pt --input x:1x3x224x224 -o model.onnx
    """
    with command(quiet=quiet, verbose=verbose):
        from trtqat.extras import require

        is_graph = is_onnx(source)
        # To improve an ONNX file in its place is a sound wish.
        is_in_place = is_graph and Path(source).resolve() == output.resolve()
        read = [checkpoint] if is_in_place else [checkpoint, source]
        check_outputs({"--output": output, "--json": json}, read)
        torch = () if is_graph else ("torch", "onnxscript")
        for module in ("onnx", "onnx_ir", "onnxruntime", *torch):
            require(module, extra="export", purpose="Exporting a model")

        from trtqat.exporting.options import ExportOptions
        from trtqat.graph.passes.improve import ImproveOptions
        from trtqat.tensors import parse_tensor_spec

        options = ExportOptions(
            inputs=tuple(parse_tensor_spec(text) for text in inputs or []),
            opset=opset or (19 if precision is PrecisionChoice.fp16 else 17),
            exporter=exporter.value,
            static_batch=static_batch,
            improve=ImproveOptions(
                fold_batch_norm=fold_batch_norm, int8_weights=int8_weights, repair=repair
            ),
            precision=precision.value,
            quantized_input=quantized_input,
            min_sqnr_db=min_sqnr_db,
            data=data,
        )
        if is_graph:
            if checkpoint or factory_arg or ema is not None:
                raise UsageError(
                    f"'{source}' is an ONNX file; it brings its weights and takes no arguments.",
                    "Leave out --checkpoint, --ema and --factory-arg.",
                )
            if static_batch or exporter is not ExporterChoice.auto:
                raise UsageError(
                    f"'{source}' is an ONNX file; its batch stays as it is, and nothing is traced.",
                    "Leave out --static-batch and --exporter.",
                )
            from trtqat.exporting.from_onnx import improve_onnx

            result = improve_onnx(Path(source), output, options)
        else:
            from trtqat.exporting.source import ModelSource

            of = ModelSource(source, checkpoint, factory_arg or (), ema)
            result = _export_model(of, output, options)
        if not print_json(_as_json(result), json):
            _print(result)
        if strict and result.warnings:
            raise GateError(
                f"Lint warns {len(result.warnings)} times, first of '{result.warnings[0].where}'.",
                f"Read the findings with: trtqat inspect {quote(str(output))}",
            )


def _export_model(source: ModelSource, output: Path, options: ExportOptions) -> ExportResult:
    from trtqat.exporting.loading import load_model
    from trtqat.exporting.pipeline import export_onnx

    return export_onnx(load_model(source), output, options, provenance=source.describe())


def _as_json(result: ExportResult) -> dict[str, Any]:
    return {**asdict(result), "int8_share": result.summary.int8_share}


def _print(result: ExportResult) -> None:
    for note in result.notes:
        say(f"note: {note}", err=True)
    for repair in result.improvements.repairs:
        _LOG.debug("%s", repair.what)
    for finding in result.warnings:
        say(f"warning: {finding.problem} [{finding.rule}]", err=True)
    verified, folded = result.verification, result.batch_norms
    say(
        f"{result.path}: {result.pairs} Q/DQ pairs for {result.quantizers} quantizers"
        f"{f' ({result.disabled} disabled)' if result.disabled else ''}, "
        f"opset {result.opset}, {result.size_bytes / 1e6:.1f} MB, {result.seconds:.1f} s\n"
        f"made by the {result.exporter}"
    )
    if folded is not None:
        found = {finding.where for finding in result.findings}
        say(
            f"BatchNorm: {folded.count} folded, {folded.codes_changed} INT8 codes changed, "
            f"{len(folded.kept)} kept"
        )
        for batch_norm in (each for each in folded.kept if each.name not in found):
            say(f"  {batch_norm.name} stays: {batch_norm.reason}")
    repairs = Counter(repair.name for repair in result.improvements.repairs)
    if repairs:
        listed = ", ".join(f"{count} by {name}" for name, count in repairs.items())
        say(f"repairs: {listed} (no output bit changed; -v lists them)")
    for name, scale in result.quantized_inputs.items():
        say(f"input '{name}' arrives as INT8 codes of scale {scale:.9g}, or as floats")
    if result.half is not None:
        report = result.half.report
        say(
            f"FP16: {len(report.half)} nodes, {len(report.kept)} kept in FP32, {report.casts} casts"
        )
        for line in describe_agreement(result.half.agreement, "the FP32 graph"):
            say(f"  {line}")
        for node in report.kept:
            _LOG.debug("FP32: %s", node)
        for note in report.notes:
            _LOG.debug("%s", note)
    say(describe_summary(result.summary))
    for line in describe_agreement(verified):
        say(line)
    say(describe_findings(result.findings))
    if result.findings:
        say(f"what they cost and how to mend them: trtqat inspect {quote(str(result.path))}")
