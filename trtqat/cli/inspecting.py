"""``trtqat inspect``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import (
    AllowEngineCodeOption,
    JsonOption,
    QuietOption,
    TrustOption,
    VerboseOption,
    WeightsOption,
    check_outputs,
    command,
    print_json,
    say,
)
from trtqat.cli.inspecting_engine import inspect_layers, inspect_plan
from trtqat.errors import GateError, UsageError
from trtqat.extras import require
from trtqat.files import is_onnx, open_input
from trtqat.inspection.words import (
    describe_findings,
    describe_summary,
    explain,
)

_PLACES = 5


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.onnx|MODEL.engine|LAYERS.json",
            help="A graph with Q/DQ, an engine, or its layers (trtexec --exportLayerInfo).",
        ),
    ],
    graph: Annotated[
        Path | None,
        typer.Option(
            "--graph",
            metavar="MODEL.onnx",
            help="What the engine was built from. Default: the file beside it that its manifest "
            "names.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Engines: default is the one it was tuned for.")
    ] = None,
    passes: Annotated[
        int, typer.Option(min=0, help="Engines: passes of TensorRT's profiler; 0 times nothing.")
    ] = 50,
    export_layer_info: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Engines: write the layers as trtexec does."),
    ] = None,
    export_profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Engines: write the layers' times as trtexec does."),
    ] = None,
    roofline: Annotated[
        bool,
        typer.Option(
            "--roofline",
            help="Engines: how far they are from what the GPU does at most, as PyTorch measures "
            "it. Layer files need --profile and --ceilings.",
        ),
    ] = False,
    ceilings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Read what the GPU does at most from here, or write it here."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Layer files: their times (trtexec --exportProfile)."
        ),
    ] = None,
    allow_engine_code: AllowEngineCodeOption = False,
    trust: TrustOption = None,
    weights: WeightsOption = None,
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

    An engine needs TensorRT and a GPU; graphs and layer files need neither. Every finding of a
    graph says what to change in the PyTorch model; --json gives the rules' identifiers.

    Example: trtqat inspect model.onnx --strict
    """
    with command(quiet=quiet, verbose=verbose):
        check_outputs(
            {
                "--json": json,
                "--export-layer-info": export_layer_info,
                "--export-profile": export_profile,
            },
            [file, graph, profile, ceilings, trust, weights],
            plan=None if is_onnx(file) else file,
        )
        for module in ("onnx", "onnx_ir"):
            require(module, extra="onnx", purpose="Inspecting a graph or an engine")
        if file.suffix == ".json":
            if graph is None:
                raise UsageError(
                    f"Which layers '{file}' should run in INT8 is not known.",
                    "Give the graph that the engine was built from: --graph model.onnx",
                )
            ignored = {
                "--export-layer-info": export_layer_info,
                "--export-profile": export_profile,
                "--trust": trust,
                "--weights": weights,
                "--allow-engine-code": allow_engine_code,
                "--strict": strict,
            }
            for option, value in ignored.items():
                if value:
                    raise UsageError(
                        f"'{file}' is a layer file, and {option} is not for those.",
                        "Leave it out.",
                    )
            inspect_layers(
                file,
                graph,
                profile,
                ceilings,
                batch_size,
                require_int8,
                json,
                with_roofline=roofline or ceilings is not None,
                verbose=verbose,
            )
        elif _is_plan(file):
            if profile is not None:
                raise UsageError(
                    f"'{file}' is an engine, whose times are measured; --profile is for layer "
                    "files.",
                    "Leave it out, or write the times with --export-profile.",
                )
            inspect_plan(
                file,
                graph,
                batch_size,
                passes,
                (export_layer_info, export_profile),
                require_int8,
                json,
                limits=(ceilings,) if roofline or ceilings else None,
                allow_engine_code=allow_engine_code,
                trust=trust,
                weights=weights,
                verbose=verbose,
            )
        elif any(
            (
                require_int8,
                graph,
                export_layer_info,
                export_profile,
                trust,
                weights,
                allow_engine_code,
                roofline,
                ceilings,
                profile,
            )
        ):
            raise UsageError(
                f"'{file}' is a graph; --graph, --require-int8, --trust, --weights, "
                "--allow-engine-code, --roofline, --ceilings, --profile, --export-layer-info and "
                "--export-profile are for engines.",
                "Give model.engine, or LAYERS.json from trtexec --exportLayerInfo=layers.json.",
            )
        else:
            _inspect_graph(file, strict, json, quiet=quiet, verbose=verbose)


def _inspect_graph(
    path: Path, strict: bool, json: str | None, *, quiet: bool, verbose: bool
) -> None:
    from trtqat.graph.lenses.macs import summarize
    from trtqat.graph.lint import lint
    from trtqat.graph.passes.canonical import inlined
    from trtqat.graph_file.reading import read_model

    model = inlined(read_model(path))
    findings = lint(model)
    summary = summarize(model)
    warnings = [finding for finding in findings if finding.severity == "warning"]
    result = {
        "summary": {**asdict(summary), "int8_share": summary.int8_share},
        "findings": [asdict(finding) for finding in findings],
    }
    if not print_json(result, json):
        say(
            f"{path}: opset {summary.opset}, {summary.pairs} Q/DQ pairs, "
            f"{summary.batch_norms} BatchNorms\n"
            f"{describe_summary(summary)}\n{describe_findings(findings)}"
        )
        shown = warnings if quiet else findings
        if shown:
            say("\n" + explain(shown, places=len(shown) if verbose else _PLACES))
    if strict and warnings:
        raise GateError(
            f"Lint warns {len(warnings)} times, first of '{warnings[0].where}'.",
            "Each finding above says what to change in the PyTorch model.",
        )


def _is_plan(path: Path) -> bool:
    """By its first bytes, or by its name, so that a damaged plan is refused as a plan."""
    if path.suffix in (".engine", ".plan", ".trt"):
        return True
    try:
        with open_input(path) as file:
            return file.read(4) == b"ftrt"
    except OSError:
        return False
