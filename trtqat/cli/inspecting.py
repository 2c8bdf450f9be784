"""``trtqat inspect``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from trtqat.checks import refuse_for_graphs
from trtqat.cli.console import command
from trtqat.cli.lint import print_graph
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, print_table, say
from trtqat.cli.shared_options import (
    DeviceOption,
    LintForOption,
    OutputGroup,
    TrustGroup,
    WeightsOption,
)
from trtqat.errors import UsageError
from trtqat.files import is_onnx, is_plan
from trtqat.inspection.roofline_words import describe_roofline, roofline_table
from trtqat.inspection.words import coverage_table

if TYPE_CHECKING:
    from trtqat.inspection.inspected_engine import InspectedEngine
    from trtqat.inspection.inspected_layers import InspectedLayers
    from trtqat.inspection.inspected_plan import InspectedPlan
    from trtqat.plan.header import Target


@dataclass(frozen=True)
class LayersGroup:
    """What to ask of an engine, or of the files that describe one."""

    graph: Annotated[
        Path | None,
        typer.Option(
            "--graph",
            metavar="MODEL.onnx",
            help="What the engine was built from. Default: the file beside it that its manifest "
            "names.",
        ),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Engines: default is the one it was tuned for.")
    ] = None
    shapes: Annotated[
        str | None,
        typer.Option(
            metavar="NAME:8x3x48x160,…",
            help="Engines that leave more open than the batch: for which batch and size.",
        ),
    ] = None
    passes: Annotated[
        int, typer.Option(min=0, help="Engines: passes of TensorRT's profiler; 0 times nothing.")
    ] = 50
    export_layer_info: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Engines: write the layers as trtexec does."),
    ] = None
    export_profile: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Engines: write the layers' times as trtexec does."),
    ] = None
    roofline: Annotated[
        bool,
        typer.Option(
            "--roofline",
            help="Engines: how far they are from what the GPU does at most, as PyTorch measures "
            "it. Layer files need --profile and --ceilings.",
        ),
    ] = False
    ceilings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Read what the GPU does at most from here, or write it here."
        ),
    ] = None
    profile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Layer files: their times (trtexec --exportProfile)."
        ),
    ] = None


@grouped
def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL.onnx|MODEL.engine|LAYERS.json",
            help="A graph with Q/DQ, an engine, or its layers (trtexec --exportLayerInfo).",
        ),
    ],
    *,
    engine: LayersGroup,
    trust: TrustGroup,
    weights: WeightsOption = None,
    for_: LintForOption = None,
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
    device: DeviceOption = None,
    printed: OutputGroup,
) -> None:
    """Show what in a Q/DQ graph costs speed or accuracy, or which layers an engine runs in INT8.

    An engine needs TensorRT and a GPU; where it does not run, what its build recorded is shown.
    Graphs and layer files need neither. Every finding of a graph says what to change in the
    PyTorch model; --json gives the rules' identifiers.

    Example: trtqat inspect model.onnx --strict
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        check_outputs(
            {
                "--json": printed.json,
                "--export-layer-info": engine.export_layer_info,
                "--export-profile": engine.export_profile,
            },
            [
                *(file, engine.graph, engine.profile, engine.ceilings, trust.trust, weights),
                *(trust.plugins or ()),
            ],
            plan=None if is_onnx(file) else file,
        )
        from trtqat.host.chosen_gpu import choose_gpu
        from trtqat.inspection.inspected_graph import InspectedGraph
        from trtqat.inspection.inspecting import inspect as inspect_file
        from trtqat.inspection.options import InspectOptions

        options = InspectOptions(
            **vars(engine),
            **{**vars(trust), "plugins": tuple(trust.plugins or ())},
            weights=weights,
            for_=cast("Target | None", for_),
            needs_coverage=require_int8,
        )
        if strict:
            _check_is_graph(file)
        if is_onnx(file):
            refuse_for_graphs(file, {"--device": device is not None})
        elif file.suffix == ".json" and device is not None:
            raise UsageError(
                f"'{file}' is a layer file, and --device is not for those.", "Leave it out."
            )
        choose_gpu(device)
        found = inspect_file(file, options)
        if isinstance(found, InspectedGraph):
            print_graph(found, printed, strict=strict)
            return
        if not print_json(found.to_dict(), printed.json):
            _print_layers(found, verbose=printed.verbose)
        if require_int8:
            found.check_int8()


def _check_is_graph(file: Path) -> None:
    """Nothing but a graph has lint's warnings, which ``--strict`` is about."""
    if file.suffix == ".json":
        raise UsageError(
            f"'{file}' is a layer file, and --strict is not for those.", "Leave it out."
        )
    if is_plan(file):
        raise UsageError(
            f"'{file}' is an engine, and --strict is for graphs.",
            "Leave it out; the gate of an engine is --require-int8.",
        )


def _print_layers(
    found: InspectedEngine | InspectedPlan | InspectedLayers, *, verbose: bool
) -> None:
    say(found.describe())
    if verbose and found.coverage is not None:
        print_table(*coverage_table(found.coverage))
    if found.roofline is not None:
        say(describe_roofline(found.roofline))
        print_table(*roofline_table(found.roofline, verbose=verbose))
