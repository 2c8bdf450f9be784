"""``trtqat tune``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, print_table, say
from trtqat.cli.shared_options import OutputGroup
from trtqat.report.tune_words import closing_lines, verdict_table


@grouped
def tune(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="ONNX file with Q/DQ.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The ONNX file to write, for trtqat build.")
    ],
    *,
    batch: Annotated[
        str | None,
        typer.Option(metavar="MIN:OPT:MAX", help="OPT is the batch that is measured. Default: 32."),
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="10m", help="What building and measuring may take: 90s, 10m, 1h.")
    ] = "10m",
    most_builds: Annotated[int, typer.Option(min=2, help="Engines that may be built.")] = 20,
    data: Annotated[
        str,
        typer.Option(metavar="SPEC", help="Of its first batch times are taken; of all, accuracy."),
    ] = "random",
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS", help="Of --data, below FP16: the fastest engine within is taken."
        ),
    ] = None,
    timing_cache: Annotated[
        str, typer.Option(metavar="FILE|none", help="Kernel timings to read and update.")
    ] = "none",
    workspace: Annotated[
        str | None,
        typer.Option(metavar="4GiB", help="Ceiling for scratch memory. Default: TensorRT's."),
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(
            "--builder-optimization-level", min=0, max=5, help="0 builds fast, 5 runs fast."
        ),
    ] = None,
    tactic_sources: Annotated[
        str,
        typer.Option(
            metavar="-cublas,-cublas-lt,-cudnn", help="Sources to add (+) or leave out (-)."
        ),
    ] = "",
    printed: OutputGroup,
) -> None:
    """Find out which parts of a graph are faster in INT8, on the GPU that will run it.

    Builds the INT8 engine and the one in floating point, and looks for the regions where Q/DQ
    costs more than it gains. Writes the graph without those pairs. It is never slower than the
    better of both. An interrupted search goes on where it was.

    Example: trtqat tune model.onnx -o tuned.onnx --batch 1:32:128 --budget 10m
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        cache = None if timing_cache == "none" else Path(timing_cache)
        check_outputs(
            {"--json": printed.json, "--output": output, "--timing-cache": cache}, [graph]
        )
        from trtqat.building.parsing import parse_options
        from trtqat.search.speed.options import TuneOptions, parse_seconds
        from trtqat.search.speed.tuning import tune as tune_graph

        options = TuneOptions(
            build=parse_options(
                output,
                batch=batch,
                timing_cache=timing_cache,
                workspace=workspace,
                optimization_level=optimization_level,
                tactic_sources=tactic_sources,
            ),
            budget_s=parse_seconds(budget),
            most_builds=most_builds,
            data=data,
            max_drop_points=max_accuracy_drop,
        )
        result = tune_graph(graph, output, options)
        if not print_json(asdict(result), printed.json):
            title, columns, rows = verdict_table(result)
            say(title)
            print_table(columns, rows)
            for line in closing_lines(result):
                say(line)
