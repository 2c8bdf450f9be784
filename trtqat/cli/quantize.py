"""``trtqat quantize``."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, print_table, say
from trtqat.cli.progress import progress_bars
from trtqat.cli.quantize_options import CalibrationGroup, SearchGroup
from trtqat.cli.shared_options import OutputGroup, PyTorchGroup
from trtqat.report.quantize_words import closing_lines, describe_cost, opening_lines, tables

if TYPE_CHECKING:
    from trtqat.search.result import QuantizeResult
    from trtqat.search.running import Cost

_LOG = logging.getLogger(__name__)


@grouped
def quantize(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="The function that makes the FP32 model: pkg.module:factory or file.py:factory; "
            "or an FP32 ONNX file.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: weights and recipe; of an ONNX file one with Q/DQ.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="Training data to choose ranges on, without labels too: images:DIR, coco:DIR, "
            "npz:FILE, cifar10:DIR or idx:DIR (their training splits), or file.py:factory.",
        ),
    ],
    *,
    model: PyTorchGroup,
    calibration: CalibrationGroup,
    searching: SearchGroup,
    printed: OutputGroup,
) -> None:
    """Quantize an FP32 PyTorch model, or an ONNX file, to INT8 without training it.

    Quantizers are put where TensorRT needs them, and get their ranges from data. With an accuracy
    target, the layers that cost most go back to floating point. trtqat export takes the file as
    its --checkpoint, with the same SOURCE. An interrupted search goes on where it was. An ONNX
    file becomes one with explicit Q/DQ, for trtqat build.

    Example: trtqat quantize model.py:fp32 --checkpoint fp32.pt --data npz:train.npz -o int8.pt
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        _check_files(source, output, data, model, searching, printed)
        from trtqat.runtime.pytorch_devices import require_pytorch

        require_pytorch("Quantizing a model")
        from trtqat.search.quantizing import quantize_source

        with progress_bars(quiet=printed.quiet) as progress:
            result = quantize_source(
                source,
                output,
                data=data,
                checkpoint=model.checkpoint,
                factory_args=model.factory_arg or (),
                ema=model.ema,
                inputs=calibration.inputs or (),
                images=calibration.images,
                method=calibration.method.value,
                keep=calibration.keep or (),
                for_=calibration.for_.value if calibration.for_ else None,
                batch_size=calibration.batch_size,
                seed=calibration.seed,
                **vars(searching),
                announce=_announce,
                progress=progress,
            )
        if not print_json(_as_json(result), printed.json):
            _print(result, source, model, is_verbose=printed.verbose)
        result.check_target()


def _check_files(
    source: str,
    output: Path,
    data: str,
    model: PyTorchGroup,
    searching: SearchGroup,
    printed: OutputGroup,
) -> None:
    """Refuses files that cannot be read or written, before anything is computed."""
    from trtqat.data.dataset import files_of

    specs = [each for each in (data, searching.eval_data) if each is not None]
    read = [source, model.checkpoint, *(file for spec in specs for file in files_of(spec))]
    check_outputs({"--output": output, "--json": printed.json}, read)


def _announce(cost: Cost) -> None:
    _LOG.info("%s", describe_cost(cost))


def _as_json(result: QuantizeResult) -> dict[str, object]:
    return asdict(result)


def _print(result: QuantizeResult, source: str, model: PyTorchGroup, *, is_verbose: bool) -> None:
    for note in result.notes:
        say(f"note: {note}", err=True)
    for line in opening_lines(result):
        say(line)
    for title, columns, rows in tables(result, in_full=is_verbose):
        say(f"\n{title}")
        print_table(columns, rows)
    for finding in result.findings:
        if finding.severity == "warning":
            say(f"warning: {finding.problem} [{finding.rule}]", err=True)
    for line in closing_lines(result, source, model.factory_arg or ()):
        say(line)
