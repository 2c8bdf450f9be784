"""``trtqat export``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtqat.cli.console import command
from trtqat.cli.export_options import PassesGroup, PixelsGroup, TracingGroup
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, say
from trtqat.cli.shared_options import OutputGroup, PyTorchGroup
from trtqat.errors import GateError
from trtqat.files import is_onnx
from trtqat.inspection.words import describe_gate
from trtqat.report.export_words import describe_details, describe_export

if TYPE_CHECKING:
    from trtqat.exporting.options import ExportResult


_LOG = logging.getLogger(__name__)


@grouped
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
    *,
    model: PyTorchGroup,
    tracing: TracingGroup,
    passes: PassesGroup,
    images: PixelsGroup,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Samples to verify the graph with, and to find what FP16 can hold: "
            "images:DIR, coco:DIR, cifar10:DIR, idx:DIR, npz:FILE or file.py:factory. Random "
            "numbers if not given.",
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
    printed: OutputGroup,
) -> None:
    """Export a fake-quantized PyTorch model to ONNX with explicit Q/DQ.

    The model's quantizers become QuantizeLinear/DequantizeLinear pairs, and the graph is
    compared with the model on ONNX Runtime before the file is written.

    Example: trtqat export model.py:qat --checkpoint qat.pt --input x:1x3x224x224 -o model.onnx
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        # To improve an ONNX file in its place is a sound wish.
        is_in_place = is_onnx(source) and Path(source).resolve() == output.resolve()
        read = [model.checkpoint] if is_in_place else [model.checkpoint, source]
        check_outputs({"--output": output, "--json": printed.json}, read)
        from trtqat.exporting.export import export as export_source

        result = export_source(
            source,
            output,
            checkpoint=model.checkpoint,
            factory_args=model.factory_arg or (),
            ema=model.ema,
            inputs=tracing.inputs or (),
            opset=tracing.opset,
            exporter=tracing.exporter.value,
            static_batch=tracing.static_batch,
            dynamic=tracing.dynamic or (),
            precision=tracing.precision.value,
            **vars(passes),
            **images.keywords(),
            min_sqnr_db=min_sqnr_db,
            data=data,
        )
        if not print_json(_as_json(result), printed.json):
            _print(result)
        if strict and result.warnings:
            raise GateError(
                describe_gate(result.warnings),
                f"Read the findings with: trtqat lint {quote(str(output))}",
            )


def _as_json(result: ExportResult) -> dict[str, Any]:
    return {**asdict(result), "int8_share": result.summary.int8_share}


def _print(result: ExportResult) -> None:
    for note in result.notes:
        say(f"note: {note}", err=True)
    for detail in describe_details(result):
        _LOG.debug("%s", detail)
    for finding in result.warnings:
        say(f"warning: {finding.problem} [{finding.rule}]", err=True)
    for line in describe_export(result):
        say(line)
