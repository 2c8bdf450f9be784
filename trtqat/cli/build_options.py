"""The options of ``trtqat build``, in groups: their names are those that ``build`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from trtqat.cli.shared_options import PluginsOption, TacticSourcesOption, WorkspaceOption


@dataclass(frozen=True)
class ShapeGroup:
    """Which shapes the engine takes, and for which it is tuned."""

    batch: Annotated[
        str | None,
        typer.Option(
            metavar="MIN:OPT:MAX",
            help="Batch range of every input. Several with commas are profiles of one plan, which "
            "a session chooses from: 1,8,32 for each of these alone, or 1:32:128,8,32. "
            "Default: 1:32:32.",
        ),
    ] = None
    shapes: Annotated[
        list[str] | None,
        typer.Option(
            "--shapes",
            metavar="NAME:1:8:32x3x48x160,…",
            help="Shapes of a graph that leaves more open than the batch, each dimension a number "
            "or MIN:OPT:MAX. Repeat it: each is a profile of one plan, which a session chooses "
            "from by batch and size.",
        ),
    ] = None
    min_shapes: Annotated[
        str, typer.Option(metavar="NAME:1x3x224x224,…", help="Smallest shapes, as trtexec.")
    ] = ""
    opt_shapes: Annotated[str, typer.Option(metavar="NAME:SHAPE,…", help="Shapes to tune for.")] = (
        ""
    )
    max_shapes: Annotated[str, typer.Option(metavar="NAME:SHAPE,…", help="Largest shapes.")] = ""


@dataclass(frozen=True)
class BuilderGroup:
    """How TensorRT's builder looks for kernels, and what may run the plan."""

    workspace: WorkspaceOption = None
    optimization_level: Annotated[
        int | None,
        typer.Option(
            "--builder-optimization-level", min=0, max=5, help="0 builds fast, 5 runs fast."
        ),
    ] = None
    timing_cache: Annotated[
        str,
        typer.Option(
            metavar="FILE|none",
            help="Kernel timings to read and update. Default: none, or that beside --options.",
        ),
    ] = ""
    tactic_sources: TacticSourcesOption = ""
    fp16: Annotated[
        bool | None,
        typer.Option(
            "--fp16/--no-fp16",
            help="Whether layers that are not INT8 may be FP16. Default: they may.",
        ),
    ] = None
    version_compatible: Annotated[
        bool,
        typer.Option("--version-compatible", help="Let newer TensorRT versions run the plan."),
    ] = False
    exclude_lean_runtime: Annotated[
        bool,
        typer.Option(
            "--exclude-lean-runtime",
            help="Leave the lean runtime out of a version-compatible plan: smaller, and no code.",
        ),
    ] = False
    strip_weights: Annotated[
        bool,
        typer.Option(
            "--strip-weights", help="Leave the weights out; eval --weights brings them back."
        ),
    ] = False
    hardware_compatibility: Annotated[
        str, typer.Option(metavar="none|ampere+|same-cc", help="Let other GPUs run the plan.")
    ] = "none"

    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="8.6|10|11|rtx",
            help="Which TensorRT builds; rtx is TensorRT for RTX, which needs no GPU. Default: "
            "TensorRT, or TensorRT for RTX where only that is installed.",
        ),
    ] = None
    targets: Annotated[
        str,
        typer.Option(
            metavar="sm86,sm89,sm120",
            help="rtx: the GPUs that the plan is for. Default: 8.0, 8.6, 8.9, 12.0 and newer. "
            "sm75 (Turing) only by name, in a plan of its own: none has INT8 convolutions with it.",
        ),
    ] = ""
    plugins: PluginsOption = None

    @property
    def timing_cache_file(self) -> Path | None:
        """The timing cache; None if there is none."""
        return None if self.timing_cache in ("", "none") else Path(self.timing_cache)


@dataclass(frozen=True)
class TritonGroup:
    """The Triton model repository that gets the engine as well."""

    triton_repository: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Add the engine to this Triton model repository, too."),
    ] = None
    triton_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the model. Default: the plan's name.")
    ] = None
    triton_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.")
    ] = None
    triton_instances: Annotated[
        int | None, typer.Option(min=1, help="Executions at once, on each GPU. Default: 1.")
    ] = None
    triton_queue_delay_us: Annotated[
        int | None,
        typer.Option(
            min=0, help="How long a request waits for others to share its batch. Default: 100."
        ),
    ] = None
