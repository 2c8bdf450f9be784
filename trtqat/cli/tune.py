"""``trtqat tune``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.console import command
from trtqat.cli.named_files import check_outputs
from trtqat.cli.option_groups import grouped
from trtqat.cli.output import print_json, print_table, say
from trtqat.cli.shared_options import (
    DeviceOption,
    OutputGroup,
    PluginsOption,
    TacticSourcesOption,
    WorkspaceOption,
)
from trtqat.report.tune_words import closing_lines, region_table, verdict_table


@dataclass(frozen=True)
class SearchGroup:
    """What is searched, for how long, and what the answer must hold."""

    batch: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:OPT:MAX",
            help="Batches that the plan must take, as for trtqat build; OPT is measured. Several "
            "with commas: each is, and their geometric mean counts. Default: 1:32:32.",
        ),
    ] = None
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--shapes",
            metavar="NAME:1:8:32x3x48x160,…",
            help="Shapes that the plan must take, of a graph that leaves more open than the batch, "
            "as for trtqat build. Repeat it for several sizes: the optimum of each is measured.",
        ),
    ] = None
    budget: Annotated[
        str, typer.Option(metavar="10m", help="What building and measuring may take: 90s, 10m, 1h.")
    ] = "10m"
    most_builds: Annotated[int, typer.Option(min=2, help="Engines that may be built.")] = 18
    data: Annotated[
        str,
        typer.Option(metavar="SPEC", help="Of its first batch times are taken; of all, accuracy."),
    ] = "random"
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@OUTPUT][:KEY=VALUE,…]",
            help="What to measure of --data instead of top-1, as trtqat eval --metric.",
        ),
    ] = None
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="Of --data, below FP16, in the metric's own unit with --metric: the fastest "
            "engine within is taken.",
        ),
    ] = None


@dataclass(frozen=True)
class EngineGroup:
    """How every engine of the search is built."""

    timing_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Kernel timings to read and update. Default: beside the output, as tuned.cache.",
        ),
    ] = None
    workspace: WorkspaceOption = None
    optimization_level: Annotated[
        int | None,
        typer.Option(
            "--builder-optimization-level",
            min=0,
            max=5,
            help="0 builds fast, 5 runs fast. Default: TensorRT's, and in the end 5 is tried.",
        ),
    ] = None
    tactic_sources: TacticSourcesOption = ""
    plugins: PluginsOption = None


@grouped
def tune(
    graph: Annotated[Path, typer.Argument(metavar="MODEL.ONNX", help="ONNX file with Q/DQ.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The ONNX file to write; its plan and build options go beside it.",
        ),
    ],
    *,
    searching: SearchGroup,
    engines: EngineGroup,
    device: DeviceOption = None,
    printed: OutputGroup,
) -> None:
    """Find out which parts of a graph are faster in INT8, on the GPU that will run it.

    Builds the INT8 engine and the one in floating point, looks for the regions where Q/DQ costs
    more than it gains, and for the profiles and options that are the fastest. Writes the graph
    without those pairs, the plan that was measured, and the options that trtqat build --options
    takes. It is never slower than the better of both. An interrupted search goes on where it was.

    Example: trtqat tune model.onnx -o tuned.onnx --batch 1:32:128 --budget 10m
    """
    with command(quiet=printed.quiet, verbose=printed.verbose):
        from trtqat.building.tuned_options import options_path, plan_path

        check_outputs(
            {
                "--json": printed.json,
                "--output": output,
                "The plan beside --output": plan_path(output),
                "The options beside --output": options_path(output),
                "--timing-cache": engines.timing_cache,
            },
            [graph, *(engines.plugins or ())],
        )
        from trtqat.host.chosen_gpu import choose_gpu
        from trtqat.search.speed.tuning import tune as tune_graph

        choose_gpu(device)
        result = tune_graph(graph, output, **vars(searching), **vars(engines))
        if not print_json(asdict(result), printed.json):
            title, columns, rows = verdict_table(result)
            say(title)
            print_table(columns, rows)
            if (regions := region_table(result)) is not None:
                say(regions[0])
                print_table(*regions[1:])
            for line in closing_lines(result):
                say(line)
