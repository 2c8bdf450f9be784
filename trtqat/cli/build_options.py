"""The options of ``trtqat build``, in groups, and what they make for the builder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trtqat.errors import UsageError

if TYPE_CHECKING:
    from trtqat.building.options import BuildOptions
    from trtqat.building.profiles import ProfileOptions
    from trtqat.building.triton.repository import TritonTarget


@dataclass(frozen=True)
class ShapeGroup:
    """Which shapes the engine takes, and for which it is tuned."""

    batch: Annotated[
        str | None,
        typer.Option(metavar="MIN:OPT:MAX", help="Batch range of every input. Default: 1:32:32."),
    ] = None
    min_shapes: Annotated[
        str, typer.Option(metavar="NAME:1x3x224x224,…", help="Smallest shapes, as trtexec.")
    ] = ""
    opt_shapes: Annotated[str, typer.Option(metavar="NAME:SHAPE,…", help="Shapes to tune for.")] = (
        ""
    )
    max_shapes: Annotated[str, typer.Option(metavar="NAME:SHAPE,…", help="Largest shapes.")] = ""

    def profile(self) -> ProfileOptions:
        """The same, parsed.

        Raises:
            UsageError: One of them has another form.
        """
        from trtqat.building.profiles import ProfileOptions, parse_batch, parse_shapes

        return ProfileOptions(
            batch=parse_batch(self.batch) if self.batch else None,
            min_shapes=parse_shapes(self.min_shapes),
            opt_shapes=parse_shapes(self.opt_shapes),
            max_shapes=parse_shapes(self.max_shapes),
        )


@dataclass(frozen=True)
class BuilderGroup:
    """How TensorRT's builder looks for kernels, and what may run the plan."""

    workspace: Annotated[
        str | None,
        typer.Option(metavar="4GiB", help="Ceiling for scratch memory. Default: TensorRT's."),
    ] = None
    optimization_level: Annotated[
        int | None,
        typer.Option(
            "--builder-optimization-level", min=0, max=5, help="0 builds fast, 5 runs fast."
        ),
    ] = None
    timing_cache: Annotated[
        str, typer.Option(metavar="FILE|none", help="Kernel timings to read and update.")
    ] = "none"
    tactic_sources: Annotated[
        str,
        typer.Option(
            metavar="-cublas,-cublas-lt,-cudnn", help="Sources to add (+) or leave out (-)."
        ),
    ] = ""
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

    @property
    def timing_cache_file(self) -> Path | None:
        """The timing cache; None if there is none."""
        return None if self.timing_cache == "none" else Path(self.timing_cache)

    def options(self, shapes: ShapeGroup) -> BuildOptions:
        """What ``build`` takes.

        Args:
            shapes: Which shapes the engine takes.

        Raises:
            UsageError: A shape or the ceiling has another form.
        """
        from trtqat.building.options import BuildOptions, parse_bytes

        return BuildOptions(
            profile=shapes.profile(),
            workspace_bytes=parse_bytes(self.workspace) if self.workspace else None,
            optimization_level=self.optimization_level,
            timing_cache=self.timing_cache_file,
            tactic_sources=self.tactic_sources,
            version_compatible=self.version_compatible,
            exclude_lean_runtime=self.exclude_lean_runtime,
            strip_weights=self.strip_weights,
            hardware_compatibility=self.hardware_compatibility,
        )


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

    def target(self, plan: Path) -> TritonTarget | None:
        """What ``build`` takes; None if no repository is named.

        Args:
            plan: After which the model is called if it has no name of its own.

        Raises:
            UsageError: There is no repository, and something for one.
        """
        from trtqat.building.triton.repository import TritonOptions, TritonTarget

        named: dict[str, Any] = {
            "name": self.triton_name,
            "labels": self.triton_labels,
            "instances": self.triton_instances,
            "max_queue_delay_us": self.triton_queue_delay_us,
        }
        given = {name: value for name, value in named.items() if value is not None}
        if self.triton_repository is not None:
            options = TritonOptions(**{"name": plan.stem, **given})
            return TritonTarget(self.triton_repository, options)
        if given:
            raise UsageError(
                "The other --triton-… options are for a model repository, and none is given.",
                "Add --triton-repository DIR.",
            )
        return None
