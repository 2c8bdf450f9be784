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
    print_table,
)
from trtqat.cli.graph_words import (
    coverage_table,
    describe_coverage,
    describe_findings,
    describe_summary,
    explain,
)
from trtqat.errors import GateError, GraphError, UsageError

_PLACES = 5


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.onnx|LAYERS.json",
            help="A graph with Q/DQ, or an engine's layers (trtexec --exportLayerInfo).",
        ),
    ],
    graph: Annotated[
        Path | None,
        typer.Option(
            "--graph",
            metavar="MODEL.onnx",
            help="With LAYERS.json: what its engine was built from.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if lint warns (graphs).")
    ] = False,
    require_int8: Annotated[
        bool,
        typer.Option(
            "--require-int8",
            help="Exit with 3 unless every quantized layer runs in INT8 (engines).",
        ),
    ] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what in a Q/DQ graph costs speed or accuracy, or which layers an engine runs in INT8.

    Needs neither a GPU nor TensorRT. Every finding says what to change in the PyTorch model;
    --json gives the rules' identifiers.

    Example: trtqat inspect model.onnx --strict
    """
    with command(quiet=quiet, verbose=verbose):
        from trtqat.extras import require

        check_json(json)
        for module in ("onnx", "onnx_ir"):
            require(module, extra="onnx", purpose="Inspecting a graph")
        if file.suffix == ".json":
            if graph is None:
                raise UsageError(
                    f"Which layers '{file}' should run in INT8 is not known.",
                    "Give the graph that the engine was built from: --graph model.onnx",
                )
            _inspect_layers(file, graph, require_int8, json, verbose=verbose)
        elif require_int8 or graph is not None:
            raise UsageError(
                f"'{file}' is a graph; --graph and --require-int8 are for an engine's layers.",
                "Give LAYERS.json, from trtexec --exportLayerInfo=layers.json.",
            )
        else:
            _inspect_graph(file, strict, json, quiet=quiet, verbose=verbose)


def _inspect_graph(
    path: Path, strict: bool, json: str | None, *, quiet: bool, verbose: bool
) -> None:
    from trtqat.graph.lint import lint
    from trtqat.graph.macs import summarize
    from trtqat.graph.reading import read_model

    model = read_model(path)
    findings = lint(model)
    summary = summarize(model)
    warnings = [finding for finding in findings if finding.severity == "warning"]
    result = {
        "summary": {**asdict(summary), "int8_share": summary.int8_share},
        "findings": [asdict(finding) for finding in findings],
    }
    if not print_json(result, json):
        typer.echo(
            f"{path}: opset {summary.opset}, {summary.pairs} Q/DQ pairs, "
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


def _inspect_layers(
    path: Path, graph: Path, require_int8: bool, json: str | None, *, verbose: bool
) -> None:
    from trtqat.engine.coverage import cover
    from trtqat.engine.inspector import read_layers
    from trtqat.graph.editing import infer_shapes
    from trtqat.graph.macs import summarize
    from trtqat.graph.reading import read_model

    layers = read_layers(path)
    model = read_model(graph)
    infer_shapes(model)
    coverage = cover(summarize(model).layers, layers)
    if coverage.layers and not any(layer.engine_layer for layer in coverage.layers):
        raise GraphError(
            f"No layer of '{path}' names a layer of '{graph}'.",
            "Give the graph that this very engine was built from, and build it with detailed "
            "profiling verbosity, as trtqat build does.",
        )
    result = {
        **asdict(coverage),
        "wanted": len(coverage.wanted),
        "missed": len(coverage.missed),
        "int8_share": coverage.int8_share,
    }
    if not print_json(result, json):
        typer.echo(f"{path}: {len(layers)} engine layers\n{describe_coverage(coverage)}")
        if verbose:
            print_table(*coverage_table(coverage))
    missed, wanted = coverage.missed, coverage.wanted
    if require_int8 and (missed or not wanted):
        raise GateError(
            f"{len(missed)} of {len(wanted)} quantized layers are not seen in INT8"
            + (f", first '{missed[0].name}'." if missed else "."),
            f"Look for their findings with: trtqat inspect {graph}",
        )
