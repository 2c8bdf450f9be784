"""The options of ``trtqat quantize``, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import typer

from trtqat.cli.shared_options import TargetChoice


class MethodChoice(str, Enum):
    """How ranges are chosen."""

    auto = "auto"
    max = "max"
    percentile = "percentile"
    mse = "mse"
    entropy = "entropy"


@dataclass(frozen=True)
class CalibrationGroup:
    """What is quantized, and how ranges are chosen."""

    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME:1x3x32x32[:dtype]",
            help="Shape of an input of forward, where the data does not tell it; repeatable.",
        ),
    ] = None
    images: Annotated[
        int, typer.Option(min=1, help="Samples to choose ranges on, spread over the data.")
    ] = 512
    method: Annotated[
        MethodChoice,
        typer.Option(help="How ranges are chosen; auto takes the least error for each tensor."),
    ] = MethodChoice.auto
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Layers or modules that stay in floating point, as fc or 'layer1.*'; repeatable.",
        ),
    ] = None
    for_: Annotated[
        TargetChoice | None,
        typer.Option("--for", help="The TensorRT that it is for. Default: what each can build."),
    ] = None
    batch_size: Annotated[int, typer.Option(min=1, help="Samples at once.")] = 32
    seed: Annotated[
        int, typer.Option(min=0, help="Which samples are taken; the same seed, the same file.")
    ] = 0


@dataclass(frozen=True)
class SearchGroup:
    """What must stay accurate, and which layers cost most."""

    eval_data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC", help="Labelled samples to count the accuracy on, which trained nothing."
        ),
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@OUTPUT][:KEY=VALUE,…]",
            help="What to measure on it instead of right answers, as trtqat eval --metric.",
        ),
    ] = None
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="POINTS",
            help="Let the fewest MACs go back to floating point until the accuracy drops by no "
            "more than these percentage points, or the metric by no more than this in its own "
            "unit. Exit with 3 if it cannot be reached.",
        ),
    ] = None
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure what each layer costs by itself.")
    ] = False
    sensitivity_images: Annotated[
        int, typer.Option(min=1, help="Samples for that, some of those for the ranges.")
    ] = 64
