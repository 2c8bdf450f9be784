"""The options of ``trtqat export``, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import typer

from trtqat.cli.shared_options import TargetChoice


class ExporterChoice(str, Enum):
    """Which of PyTorch's exporters."""

    auto = "auto"
    dynamo = "dynamo"
    torchscript = "torchscript"


class PrecisionChoice(str, Enum):
    """Type of what is not quantized."""

    fp32 = "fp32"
    fp16 = "fp16"


@dataclass(frozen=True)
class TracingGroup:
    """How a model becomes a graph: its inputs, the exporter, and what the graph is written in."""

    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="NAME:1x3x32x32[:dtype]",
            help="Shape of an input of forward; repeatable. The first dimension is dynamic.",
        ),
    ] = None
    opset: Annotated[
        int | None,
        typer.Option(
            min=13,
            help="17 if not given, the newest that TensorRT 8.6 reads; 19 with --precision fp16.",
        ),
    ] = None
    precision: Annotated[
        PrecisionChoice,
        typer.Option(help="Type of what is not INT8; fp16 for strongly typed TensorRT 10.12+."),
    ] = PrecisionChoice.fp32
    exporter: Annotated[
        ExporterChoice,
        typer.Option(help="auto is dynamo (torch.export), with torchscript to fall back to."),
    ] = ExporterChoice.auto
    static_batch: Annotated[
        bool, typer.Option("--static-batch", help="Fix the batch to the --input shapes.")
    ] = False
    dynamic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:2,3",
            help="Leave other dimensions of an input open, too, as height and width; repeatable. "
            "The graph is verified at the size of --input and at others.",
        ),
    ] = None


@dataclass(frozen=True)
class PixelsGroup:
    """What arrives as bytes of images, and how the graph normalises it."""

    pixels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:nhwc|nchw",
            help="Take an input as bytes of images: (byte / scale - mean) / std is computed in the "
            "graph, with the codes that the host would make; repeatable.",
        ),
    ] = None
    mean: Annotated[
        list[str] | None,
        typer.Option(
            metavar="0.485,0.456,0.406",
            help="Of the pixels: one number, or one for each channel of the model; once for all "
            "--pixels, or once for each.",
        ),
    ] = None
    std: Annotated[
        list[str] | None,
        typer.Option(metavar="0.229,0.224,0.225", help="Of the pixels, as --mean."),
    ] = None
    scale: Annotated[
        list[float] | None,
        typer.Option(
            metavar="<float>",
            help="What a byte is divided by first; once for all --pixels, or once for each. "
            "Default: 255.",
        ),
    ] = None
    bgr: Annotated[
        bool, typer.Option("--bgr", help="The bytes are blue, green, red; the model takes RGB.")
    ] = False
    for_: Annotated[
        TargetChoice | None,
        typer.Option(
            "--for",
            help="The TensorRT that the graph is for, which decides how bytes are normalised. "
            "Default: each that reads its opset.",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """The arguments of ``trtqat.export`` that they are."""
        return {
            "pixels": self.pixels or (),
            "mean": self.mean or (),
            "std": self.std or (),
            "scale": self.scale or 255.0,
            "bgr": self.bgr,
            "for_": self.for_.value if self.for_ else None,
        }


@dataclass(frozen=True)
class PassesGroup:
    """Which passes run on the graph."""

    fold_batch_norm: Annotated[
        bool,
        typer.Option(
            "--fold-batch-norm/--keep-batch-norm",
            help="Fold BatchNorms into the scales of quantized layers; no INT8 code changes.",
        ),
    ] = True
    int8_weights: Annotated[
        bool | None,
        typer.Option(
            "--int8-weights/--float-weights",
            help="Weights as INT8 initializers, or as float ones through QuantizeLinear; if "
            "neither is given, INT8 where every TensorRT that reads the opset takes it.",
        ),
    ] = None
    repair: Annotated[
        bool,
        typer.Option(
            "--repair/--no-repair", help="Repairs of Q/DQ placement that change no output bit."
        ),
    ] = False
    quantized_input: Annotated[
        bool,
        typer.Option(
            "--quantized-input",
            help="Take inputs as INT8 codes: the caller quantizes, and sends a quarter of the "
            "bytes.",
        ),
    ] = False
