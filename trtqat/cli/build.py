"""``trtqat build``."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trtqat.cli.build_options import BuilderGroup, ShapeGroup, TritonGroup
from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, say
from trtqat.cli.shared_options import OutputOptions
from trtqat.errors import InferenceError
from trtqat.inspection.words import describe_coverage

if TYPE_CHECKING:
    from trtqat.building.builder import BuildResult
    from trtqat.inspection.coverage import Coverage


@grouped
def build(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="ONNX file with Q/DQ.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The plan to write.")],
    *,
    shapes: ShapeGroup,
    builder: BuilderGroup,
    sign: Annotated[
        Path | None,
        typer.Option(metavar="KEY.pem", help="Sign the manifest with this private Ed25519 key."),
    ] = None,
    triton: TritonGroup,
    require_int8: Annotated[
        bool,
        typer.Option("--require-int8", help="Exit with 3 unless every quantized layer is INT8."),
    ] = False,
    printed: OutputOptions,
) -> None:
    """Build an INT8 TensorRT engine from an ONNX file with explicit Q/DQ.

    Writes the pure plan and, beside it, a manifest (MODEL.ENGINE.json) that says what it was
    built from and for; then asks TensorRT's inspector which quantized layers run in INT8.

    Example: trtqat build model.onnx -o model.engine --batch 1:32:128
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        check_outputs(
            {
                "--json": printed.json,
                "--output": output,
                "--timing-cache": builder.timing_cache_file,
            },
            [graph, sign, triton.triton_labels],
            plan=output,
        )
        from trtqat.building.builder import build as build_engine

        options = builder.options(shapes)
        built = build_engine(graph, output, options, sign=sign, triton=triton.target(output))
        try:
            coverage = _cover(built, graph, has_weights=not options.strip_weights)
        except InferenceError as error:
            # The plan is built and written; not to know its layers is no failed build.
            if require_int8:
                raise
            say(f"Which layers run in INT8 is not known: {error}", err=True)
            coverage = None
        record = coverage.to_dict() if coverage else None
        if not print_json({**asdict(built), "coverage": record}, printed.json):
            _print(built)
            if coverage is not None:
                say(describe_coverage(coverage))
        if coverage is not None and require_int8:
            coverage.check_int8(graph)


def _cover(built: BuildResult, graph: Path, *, has_weights: bool) -> Coverage:
    """Which layers of the graph the new engine runs in INT8."""
    from trtqat.inspection.engine_layers import cover_graph, inspect_engine
    from trtqat.runtime.engine import Engine

    # Whoever builds a version-compatible plan has just put its library there.
    engine = Engine(
        built.path,
        allow_engine_code=True,
        flavour="full",
        weights=None if has_weights else graph,
    )
    with closing(engine):
        return cover_graph(graph, inspect_engine(engine).layers)


def _print(built: BuildResult) -> None:
    manifest = built.manifest
    profiles = ", ".join(
        f"{name} {'x'.join(map(str, p.min))} … {'x'.join(map(str, p.max))}"
        for name, p in manifest.profiles.items()
    )
    say(
        f"{built.path}: {manifest.plan_bytes / 1e6:.1f} MB, built in "
        f"{manifest.build_seconds:.1f} s by TensorRT {manifest.tensorrt} for {manifest.gpu} "
        f"({manifest.compute_capability})\n"
        f"{built.qdq_pairs} Q/DQ pairs in the graph; shapes {profiles}"
    )
    if built.served is not None:
        kept = "" if built.served.is_new else "; its config.pbtxt was kept"
        say(f"Triton: {built.served.plan}{kept}")
