"""``trtqat build``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import (
    JsonOption,
    QuietOption,
    VerboseOption,
    check_outputs,
    command,
    print_json,
    say,
)
from trtqat.errors import InferenceError
from trtqat.report.graph_words import check_int8, coverage_record, describe_coverage


def build(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="ONNX file with Q/DQ.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The plan to write.")],
    batch: Annotated[
        str | None,
        typer.Option(metavar="MIN:OPT:MAX", help="Batch range of every input. Default: 1:32:32."),
    ] = None,
    min_shapes: Annotated[
        str, typer.Option(metavar="NAME:1x3x224x224,…", help="Smallest shapes, as trtexec.")
    ] = "",
    opt_shapes: Annotated[
        str, typer.Option(metavar="NAME:SHAPE,…", help="Shapes to tune for.")
    ] = "",
    max_shapes: Annotated[str, typer.Option(metavar="NAME:SHAPE,…", help="Largest shapes.")] = "",
    workspace: Annotated[
        str | None,
        typer.Option(metavar="4GiB", help="Ceiling for scratch memory. Default: TensorRT's."),
    ] = None,
    builder_optimization_level: Annotated[
        int | None, typer.Option(min=0, max=5, help="0 builds fast, 5 runs fast.")
    ] = None,
    timing_cache: Annotated[
        str, typer.Option(metavar="FILE|none", help="Kernel timings to read and update.")
    ] = "none",
    tactic_sources: Annotated[
        str,
        typer.Option(
            metavar="-cublas,-cublas-lt,-cudnn", help="Sources to add (+) or leave out (-)."
        ),
    ] = "",
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Let newer TensorRT versions run the plan."),
    ] = False,
    exclude_lean_runtime: Annotated[
        bool,
        typer.Option(
            "--exclude-lean-runtime",
            help="Leave the lean runtime out of a version-compatible plan: smaller, and no code.",
        ),
    ] = False,
    strip_weights: Annotated[
        bool,
        typer.Option(
            "--strip-weights", help="Leave the weights out; eval --weights brings them back."
        ),
    ] = False,
    hardware_compatibility: Annotated[
        str, typer.Option(metavar="none|ampere+|same-cc", help="Let other GPUs run the plan.")
    ] = "none",
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY.pem", help="Sign the manifest with this private Ed25519 key."),
    ] = None,
    triton_repository: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Add the engine to this Triton model repository, too."),
    ] = None,
    triton_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the model. Default: the plan's name.")
    ] = None,
    triton_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.")
    ] = None,
    triton_instances: Annotated[
        int | None, typer.Option(min=1, help="Executions at once, on each GPU. Default: 1.")
    ] = None,
    triton_queue_delay_us: Annotated[
        int | None,
        typer.Option(
            min=0, help="How long a request waits for others to share its batch. Default: 100."
        ),
    ] = None,
    require_int8: Annotated[
        bool,
        typer.Option("--require-int8", help="Exit with 3 unless every quantized layer is INT8."),
    ] = False,
    json: JsonOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Build an INT8 TensorRT engine from an ONNX file with explicit Q/DQ.

    Writes the pure plan and, beside it, a manifest (MODEL.ENGINE.json) that says what it was
    built from and for; then asks TensorRT's inspector which quantized layers run in INT8.

    Example: trtqat build model.onnx -o model.engine --batch 1:32:128
    """
    with command(quiet=quiet, verbose=verbose):
        cache = None if timing_cache == "none" else Path(timing_cache)
        check_outputs(
            {"--json": json, "--output": output, "--timing-cache": cache},
            [graph, sign, triton_labels],
            plan=output,
        )

        from trtqat.building.builder import build as build_engine
        from trtqat.building.builder import cover_built

        result = build_engine(
            graph,
            output,
            batch=batch,
            min_shapes=min_shapes,
            opt_shapes=opt_shapes,
            max_shapes=max_shapes,
            workspace=workspace,
            optimization_level=builder_optimization_level,
            timing_cache=timing_cache,
            tactic_sources=tactic_sources,
            version_compatible=version_compatible,
            exclude_lean_runtime=exclude_lean_runtime,
            strip_weights=strip_weights,
            hardware_compatibility=hardware_compatibility,
            sign=sign,
            triton_repository=triton_repository,
            triton_name=triton_name,
            triton_labels=triton_labels,
            triton_instances=triton_instances,
            triton_queue_delay_us=triton_queue_delay_us,
        )
        coverage = None
        try:
            coverage = cover_built(result.path, graph, strip_weights=strip_weights)
        except InferenceError as error:
            # The plan is built and written; not to know its layers is no failed build.
            if require_int8:
                raise
            say(f"Which layers run in INT8 is not known: {error}", err=True)
        record = coverage_record(coverage) if coverage else None
        if print_json({**asdict(result), "coverage": record}, json):
            if coverage is not None:
                check_int8(coverage, graph, required=require_int8)
            return
        manifest = result.manifest
        profiles = ", ".join(
            f"{name} {'x'.join(map(str, p.min))} … {'x'.join(map(str, p.max))}"
            for name, p in manifest.profiles.items()
        )
        say(
            f"{result.path}: {manifest.plan_bytes / 1e6:.1f} MB, built in "
            f"{manifest.build_seconds:.1f} s by TensorRT {manifest.tensorrt} for {manifest.gpu} "
            f"({manifest.compute_capability})\n"
            f"{result.qdq_pairs} Q/DQ pairs in the graph; shapes {profiles}"
        )
        if result.served is not None:
            say(f"Triton: {result.served}")
        if coverage is not None:
            say(describe_coverage(coverage))
            check_int8(coverage, graph, required=require_int8)
