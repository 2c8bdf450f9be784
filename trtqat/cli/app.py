"""The ``trtqat`` command: its subcommands, and nothing that takes long to import."""

from __future__ import annotations

from typing import Annotated

import typer

from trtqat.cli.build import build
from trtqat.cli.doctor import doctor
from trtqat.cli.evaluate import evaluate
from trtqat.cli.export import export
from trtqat.cli.inspecting import inspect
from trtqat.cli.lint import lint
from trtqat.cli.quantize import quantize
from trtqat.cli.tune import tune
from trtqat.version import __version__

# No rich markup: drawing the help with rich would double the time that --help takes.
app = typer.Typer(
    name="trtqat",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("quantize")(quantize)
app.command("export")(export)
app.command("tune")(tune)
app.command("build")(build)
app.command("eval")(evaluate)
app.command("lint")(lint)
app.command("inspect")(inspect)
app.command("doctor")(doctor)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"trtqat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Turn a PyTorch model into a measured INT8 TensorRT engine.

    quantize an FP32 model, or take one that was trained with quantizers; export it to ONNX with
    explicit Q/DQ, lint the graph for what costs speed or accuracy, tune it on its GPU, build an
    engine from it, inspect which layers run in INT8, eval either against the PyTorch model,
    doctor a host.

    Exit codes: 0 done, 1 it failed, 2 wrong usage or input, 3 a gate was not met, 4 something
    needed is not here (GPU, TensorRT, an extra), 130 interrupted.
    """
