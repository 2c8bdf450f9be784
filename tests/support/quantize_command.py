"""``trtqat quantize`` in this process, on the model of ``uneven``."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from tests.support.uneven import Files
from trtqat.cli.app import app


def run(*arguments: object) -> Result:
    """What a command prints, and its exit code."""
    return CliRunner().invoke(app, list(map(str, arguments)))


def quantize(files: Files, output: Path, *arguments: object, checkpoint: bool = True) -> Result:
    """The command on the model's file and its training data."""
    weights = ["--checkpoint", files.checkpoint] if checkpoint else []
    data = [] if "--data" in arguments else ["--data", files.data]
    return run("quantize", files.source, *weights, *data, "-o", output, *arguments)


def target(files: Files, points: float) -> tuple[object, ...]:
    """The options for a drop of at most so many points."""
    return ("--eval-data", files.eval_data, "--max-accuracy-drop", points)
