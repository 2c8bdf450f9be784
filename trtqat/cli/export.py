"""``trtqat export``."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import (
    CheckpointOption,
    FactoryArgOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    check_json,
    command,
    print_json,
)


class ExporterChoice(str, Enum):
    """Which of PyTorch's exporters."""

    auto = "auto"
    dynamo = "dynamo"
    torchscript = "torchscript"


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="pkg.module:factory, file.py:factory, or a TorchScript file.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The ONNX file to write.")],
    checkpoint: CheckpointOption = None,
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
        int, typer.Option(min=13, max=23, help="17 is the newest that TensorRT 8.6 reads.")
    ] = 17,
    exporter: Annotated[
        ExporterChoice,
        typer.Option(help="auto is dynamo (torch.export), with torchscript to fall back to."),
    ] = ExporterChoice.auto,
    static_batch: Annotated[
        bool, typer.Option("--static-batch", help="Fix the batch to the --input shapes.")
    ] = False,
    min_sqnr_db: Annotated[
        float,
        typer.Option(help="Least agreement of graph and fake-quantized model, in dB."),
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

        check_json(json)
        for module in ("torch", "onnx", "onnx_ir", "onnxruntime", "onnxscript"):
            require(module, extra="export", purpose="Exporting a model")

        from trtqat.export.loading import ModelSource, load_model, parse_factory_args
        from trtqat.export.pipeline import ExportOptions, export_onnx
        from trtqat.tensors import parse_tensor_spec

        model_source = ModelSource(source, checkpoint, parse_factory_args(factory_arg or []))
        options = ExportOptions(
            inputs=tuple(parse_tensor_spec(text) for text in inputs or []),
            opset=opset,
            exporter=exporter.value,
            static_batch=static_batch,
            min_sqnr_db=min_sqnr_db,
        )
        model = load_model(model_source)
        result = export_onnx(model, output, options, provenance=model_source.describe())
        if print_json(asdict(result), json):
            return
        found = result.verification
        batches = ", ".join(map(str, sorted(found.batch_sizes)))
        for note in result.notes:
            typer.echo(f"note: {note}", err=True)
        typer.echo(
            f"{result.path}: {result.pairs} Q/DQ pairs for {result.quantizers} quantizers"
            f"{f' ({result.disabled} disabled)' if result.disabled else ''}, "
            f"opset {result.opset}, {result.size_bytes / 1e6:.1f} MB, {result.seconds:.1f} s\n"
            f"made by the {result.exporter}\n"
            f"verified with ONNX Runtime at batch {batches}: SQNR {found.sqnr_db:.1f} dB, "
            f"worst difference {found.worst:.3g} ({found.worst_at})"
        )
