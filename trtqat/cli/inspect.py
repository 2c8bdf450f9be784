"""``trtqat inspect``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import (
    JsonOption,
    QuietOption,
    VerboseOption,
    check_json,
    command,
    print_json,
)
from trtqat.cli.graph_words import describe_findings, describe_summary, explain
from trtqat.errors import GateError

_PLACES = 5


def inspect(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX graph with Q/DQ.")],
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if lint warns.")] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what in a Q/DQ graph costs speed or accuracy, or makes TensorRT refuse it.

    Needs neither a GPU nor TensorRT. Every finding says what to change in the PyTorch model;
    --json gives the rules' identifiers.

    Example: trtqat inspect model.onnx --strict
    """
    with command(quiet=quiet, verbose=verbose):
        from trtqat.extras import require

        check_json(json)
        for module in ("onnx", "onnx_ir"):
            require(module, extra="onnx", purpose="Inspecting a graph")

        from trtqat.graph.lint import lint
        from trtqat.graph.macs import summarize
        from trtqat.graph.reading import read_model

        model = read_model(graph)
        findings = lint(model)
        summary = summarize(model)
        warnings = [finding for finding in findings if finding.severity == "warning"]
        result = {
            "summary": {**asdict(summary), "int8_share": summary.int8_share},
            "findings": [asdict(finding) for finding in findings],
        }
        if not print_json(result, json):
            typer.echo(
                f"{graph}: opset {summary.opset}, {summary.pairs} Q/DQ pairs, "
                f"{summary.batch_norms} BatchNorms\n"
                f"{describe_summary(summary)}\n{describe_findings(findings)}"
            )
            shown = warnings if quiet else findings
            if shown:
                typer.echo("\n" + explain(shown, places=len(shown) if verbose else _PLACES))
        if strict and warnings:
            raise GateError(
                f"Lint warns {len(warnings)} times, first of '{warnings[0].where}'.",
                "Each finding above says what to change in the PyTorch model.",
            )
