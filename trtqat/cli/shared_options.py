"""Options that several commands share, and the groups that they form (``option_groups``).

Each option is written once, so that it has one name and one help wherever it stands. The groups
are of options that follow each other in the help of every command that takes them:

    PyTorchGroup   which weights and arguments a PyTorch model is made with
    TrustGroup     what an engine must be and may do to be loaded
    OutputGroup    what a command prints, and where its result goes
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Flavour(str, Enum):
    """TensorRT's runtimes."""

    full = "full"
    lean = "lean"
    dispatch = "dispatch"
    rtx = "rtx"


class TargetChoice(str, Enum):
    """Which TensorRT."""

    tensorrt_8_6 = "8.6"
    tensorrt_10 = "10"
    tensorrt_11 = "11"
    rtx = "rtx"


LintForOption = Annotated[
    str | None,
    typer.Option(
        "--for",
        metavar="8.6|10|11|rtx",
        help="Only what concerns this TensorRT; rtx is TensorRT for RTX. Default: all of them.",
    ),
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(metavar="4GiB", help="Ceiling for scratch memory. Default: TensorRT's."),
]
TacticSourcesOption = Annotated[
    str,
    typer.Option(metavar="-cublas,-cublas-lt,-cudnn", help="Sources to add (+) or leave out (-)."),
]
JsonOption = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Write the result as JSON; - is standard output."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the result.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Everything, TensorRT's log included.")
]
CheckpointOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="State dict for the factory's model (weights_only)."),
]
EmaOption = Annotated[
    bool | None,
    typer.Option(
        "--ema/--no-ema",
        help="Of a checkpoint with both: the averaged weights (EMA, SWA), or the raw ones.",
    ),
]
FactoryArgOption = Annotated[
    list[str] | None,
    typer.Option(
        "--factory-arg", metavar="NAME=VALUE", help="Keyword argument for the factory; repeatable."
    ),
]
AllowEngineCodeOption = Annotated[
    bool,
    typer.Option(
        "--allow-engine-code", help="Run a version-compatible plan, which may carry a library."
    ),
]
PluginsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugins",
        metavar="LIB.so",
        help="Load this library of plugins, which is code; repeatable, as trtexec's.",
    ),
]
TrustOption = Annotated[
    Path | None,
    typer.Option(
        "--trust", metavar="PUBLIC.pem", help="Refuse an engine that is not signed with this key."
    ),
]
RuntimeOption = Annotated[
    Flavour | None,
    typer.Option(
        "--runtime", help="Which TensorRT runs an engine. Default: the first installed that may."
    ),
]
RuntimeCacheOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|none",
        help="Where kernels are kept that TensorRT for RTX compiles for an engine. Default: beside "
        "it, and none with --trust.",
    ),
]
DeviceOption = Annotated[
    int | None,
    typer.Option(
        "--device", min=0, metavar="N", help="Which GPU, in CUDA's order. Default: its first one."
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL.onnx", help="The graph of an engine that was built with --strip-weights."
    ),
]


@dataclass(frozen=True)
class PyTorchGroup:
    """Which weights and arguments a PyTorch model is made with.

    Attributes:
        checkpoint: State dict for the factory's model.
        ema: Whether to take the averaged weights of a checkpoint that has both; None if the user
            did not say.
        factory_arg: ``NAME=VALUE`` pairs for the factory.
    """

    checkpoint: CheckpointOption = None
    ema: EmaOption = None
    factory_arg: FactoryArgOption = None


@dataclass(frozen=True)
class TrustGroup:
    """What an engine must be and may do to be loaded.

    Attributes:
        allow_engine_code: Whether a version-compatible plan may bring a library of its own.
        trust: The public key that the engine's manifest must be signed with.
        plugins: Libraries of plugins to load.
    """

    allow_engine_code: AllowEngineCodeOption = False
    trust: TrustOption = None
    plugins: PluginsOption = None


@dataclass(frozen=True)
class OutputGroup:
    """What a command prints, and where its result goes.

    Attributes:
        json: File of the result as JSON; ``"-"`` is standard output, and takes it from all else.
        quiet: Whether to print warnings and the result alone.
        verbose: Whether to print everything.
    """

    json: JsonOption = None
    quiet: QuietOption = False
    verbose: VerboseOption = False
