"""``trtqat inspect`` for engines, and for the files that describe one."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path

from trtqat.cli.console import print_json, print_table, say
from trtqat.errors import UsageError
from trtqat.report.graph_words import (
    check_int8,
    coverage_record,
    coverage_table,
    describe_coverage,
)
from trtqat.report.roofline_words import describe_roofline, roofline_record, roofline_table


def inspect_layers(
    path: Path,
    graph: Path,
    profile: Path | None,
    ceilings: Path | None,
    batch_size: int | None,
    require_int8: bool,
    json: str | None,
    *,
    with_roofline: bool,
    verbose: bool,
) -> None:
    """Prints what exported files say of an engine."""
    from trtqat.inspection.layer_file import inspect_layer_file

    found = inspect_layer_file(
        path,
        graph,
        profile=profile,
        ceilings=ceilings,
        batch_size=batch_size,
        with_roofline=with_roofline,
    )
    coverage, roof = found.coverage, found.roofline
    result = {**coverage_record(coverage), "roofline": roofline_record(roof) if roof else None}
    if not print_json(result, json):
        say(f"{path}: {len(found.layers)} engine layers\n{describe_coverage(coverage)}")
        if verbose:
            print_table(*coverage_table(coverage))
        if roof is not None:
            say(describe_roofline(roof))
            print_table(*roofline_table(roof, verbose=verbose))
    check_int8(coverage, graph, required=require_int8)


def inspect_plan(
    path: Path,
    graph: Path | None,
    batch_size: int | None,
    passes: int,
    exports: tuple[Path | None, Path | None],
    require_int8: bool,
    json: str | None,
    *,
    limits: tuple[Path | None] | None,
    allow_engine_code: bool,
    trust: Path | None,
    weights: Path | None,
    verbose: bool,
) -> None:
    """Prints what TensorRT says of an engine on this GPU."""
    from trtqat.files import write_atomically
    from trtqat.host.environment import describe_gpu
    from trtqat.inspection.engine_layers import (
        check_same_graph,
        cover_graph,
        inspect_engine,
    )
    from trtqat.inspection.roofline import draw_roofline, find_ceilings
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.engine_graph import graph_beside

    layer_info, profile = exports
    if profile is not None and not passes:
        raise UsageError("There are no times to export with --passes 0.", "Give --passes 50.")
    if limits and not passes:
        raise UsageError("There are no times for a roofline with --passes 0.", "Give --passes 50.")
    # The inspector is in the full TensorRT only.
    engine = Engine(
        path,
        allow_engine_code=allow_engine_code,
        trust=trust,
        flavour="full",
        weights=weights,
    )
    graph = graph or graph_beside(path, engine.manifest)
    if graph is None and (require_int8 or limits):
        raise UsageError(
            f"What '{path}' should run, and in INT8, is not known: the graph that its manifest "
            "names is not beside it.",
            "Give the graph that it was built from: --graph model.onnx",
        )
    found = inspect_engine(engine, batch_size=batch_size, passes=passes)
    if layer_info is not None:
        write_atomically(layer_info, dumps(found.information, indent=1).encode())
    if profile is not None and found.times is not None:
        write_atomically(profile, dumps(found.times.trtexec(), indent=1).encode())
    times_ms = found.times.median_ms if found.times else None
    coverage = cover_graph(graph, found.layers, times_ms) if graph else None
    if coverage is not None and graph is not None:
        check_same_graph(coverage, found.layers, graph, str(path))
    roof = None
    if coverage is not None and limits:
        roof = draw_roofline(
            found.layers,
            coverage,
            find_ceilings(limits[0], describe_gpu().name),
            batch_size=found.batch_size,
            compute_ms=found.compute_ms,
        )
    result = {
        "layers": [asdict(layer) for layer in found.layers],
        "batch_size": found.batch_size,
        "layer_times_ms": times_ms,
        "layer_times_sum_ms": found.times.sum_ms if found.times else None,
        "compute_ms": found.compute_ms,
        "compute_mode": found.mode,
        "coverage": coverage_record(coverage) if coverage else None,
        "roofline": roofline_record(roof) if roof else None,
    }
    if not print_json(result, json):
        say(f"{path}: {len(found.layers)} engine layers, batch {found.batch_size}")
        if found.times is not None:
            say(
                f"GPU time {found.compute_ms:.3f} ms ({found.mode}); under the profiler the layers "
                f"sum up to {found.times.sum_ms:.3f} ms (medians of {passes} passes)"
            )
        if coverage is None:
            say("Without the graph it was built from (--graph) nothing says what is INT8.")
        else:
            say(describe_coverage(coverage))
            if verbose:
                print_table(*coverage_table(coverage))
        if roof is not None:
            say(describe_roofline(roof))
            print_table(*roofline_table(roof, verbose=verbose))
    if coverage is not None and graph is not None:
        check_int8(coverage, graph, required=require_int8)
