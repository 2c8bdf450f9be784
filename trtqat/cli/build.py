"""``trtqat build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtqat.cli.build_options import BuilderGroup, ShapeGroup, TritonGroup
from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, print_table, say
from trtqat.cli.shared_options import DeviceOption, OutputGroup
from trtqat.errors import UsageError
from trtqat.inspection.words import counted, coverage_table, describe_coverage
from trtqat.text import visible_line

if TYPE_CHECKING:
    from trtqat.building.agreement import Agreement
    from trtqat.building.builder import BuildResult


@grouped
def build(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="ONNX file with Q/DQ.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The plan to write.")],
    *,
    profiles: ShapeGroup,
    builder: BuilderGroup,
    options: Annotated[
        Path | None,
        typer.Option(
            metavar="TUNED.JSON",
            help="Options that trtqat tune found for this graph; those given here win.",
        ),
    ] = None,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY.pem", help="Sign the manifest with this private Ed25519 key."),
    ] = None,
    triton: TritonGroup,
    export_layer_info: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the plan's layers as trtexec does."),
    ] = None,
    require_int8: Annotated[
        bool,
        typer.Option("--require-int8", help="Exit with 3 unless every quantized layer is INT8."),
    ] = False,
    device: DeviceOption = None,
    printed: OutputGroup,
) -> None:
    """Build an INT8 TensorRT engine from an ONNX file with explicit Q/DQ.

    Writes the pure plan and, beside it, a manifest (MODEL.ENGINE.json) that says what it was
    built from and for; then asks TensorRT's inspector which quantized layers run in INT8, and
    compares the engine with its graph on random samples.

    A graph that trtqat tune wrote is built with --options; where FP16 was the fastest, the engine
    is FP16 without any INT8 layer, and says so.

    Example: trtqat build model.onnx -o model.engine --batch 1:32:128
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        check_outputs(
            {
                "--json": printed.json,
                "--output": output,
                "--timing-cache": builder.timing_cache_file,
                "--export-layer-info": export_layer_info,
            },
            [graph, options, sign, triton.triton_labels, *(builder.plugins or ())],
            plan=output,
        )
        from trtqat.building.builder import build as build_engine
        from trtqat.host.chosen_gpu import choose_gpu

        if builder.for_ == "rtx" and device is not None:
            raise UsageError(
                "TensorRT for RTX looks at no GPU when it builds, so --device names none.",
                "Leave it out; --targets says which GPUs the plan is for.",
            )
        choose_gpu(device)
        built = build_engine(
            graph, output, options, **vars(profiles), **vars(builder), **vars(triton), sign=sign
        )
        if export_layer_info is not None:
            built.write_layers(export_layer_info)
        if not print_json(built.to_dict(), printed.json):
            _print(built, verbose=printed.verbose)
        if require_int8:
            built.check_int8()


def _print(built: BuildResult, *, verbose: bool) -> None:
    from trtqat.plan.sizes import profile_names, sized_inputs

    manifest = built.manifest
    shapes = ", ".join(
        f"{visible_line(name)} {'x'.join(map(str, p.min))} … {'x'.join(map(str, p.max))}"
        for name, p in manifest.profiles.items()
    )
    if manifest.more_profiles:
        every = manifest.all_profiles
        what = "" if sized_inputs(every) else "batch "
        names = visible_line(", ".join(profile_names(every, manifest.inputs)))
        shapes = f"of {len(every)} profiles, for {what}{names}"
    say(
        f"{built.path}: {manifest.plan_bytes / 1e6:.1f} MB, built in "
        f"{manifest.build_seconds:.1f} s by {manifest.built_by} for {manifest.built_for}\n"
        f"{_describe_graph(built)}; shapes {shapes}"
    )
    if built.served is not None:
        say(f"Triton: {built.served}")
    if built.coverage is not None:
        say(describe_coverage(built.coverage))
        if verbose:
            print_table(*coverage_table(built.coverage))
    if built.agreement is not None:
        say(_describe_agreement(built.agreement))


def _describe_agreement(agreement: Agreement) -> str:
    if agreement.reason:
        return f"Not compared with its graph: {visible_line(agreement.reason)}"
    least = agreement.outputs[agreement.worst].sqnr_db
    of_several = f", {visible_line(agreement.worst)}" * (len(agreement.outputs) > 1)
    return f"SQNR beside its graph on ONNX Runtime, on random samples{of_several}: {least:.1f} dB"


def _describe_graph(built: BuildResult) -> str:
    if built.manifest.options.precision == "int8":
        return f"{counted(built.qdq_pairs, 'Q/DQ pair')} in the graph"
    return f"{built.manifest.options.precision.upper()}: no Q/DQ pair in the graph"
