"""How to export, and what an export says of itself; the same for every kind of source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from trtqat.checks import check_choice, check_kind, check_least
from trtqat.errors import UsageError
from trtqat.exporting.open_dimensions import Dimensions, check_dynamic
from trtqat.exporting.verification.result import Verification
from trtqat.exporting.verification.verify import MIN_SQNR_DB
from trtqat.graph.half.derive import HalfReport
from trtqat.graph.lenses.macs import GraphSummary
from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6
from trtqat.graph.lint.finding import Finding
from trtqat.graph.passes.fold_batch_norm import FoldedBatchNorms
from trtqat.graph.passes.improvements import Improvements, ImproveOptions
from trtqat.graph.pixels.take_pixels import TakenInput
from trtqat.pixels import Pixels
from trtqat.plan.header import Target
from trtqat.tensors import Precision, TensorSpec

Exporter = Literal["auto", "dynamo", "torchscript"]
# The first in which QuantizeLinear has an axis: ranges for each channel of a weight.
_OLDEST_OPSET = 13


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        inputs: One specification for each input, with a first dimension to replace.
        opset: ONNX opset; 17 is the newest that every supported TensorRT reads.
        exporter: Which of PyTorch's exporters.
        static_batch: Fixes the batch to the first dimension of ``inputs``.
        dynamic: By input, which dimensions besides the batch stay open; ``inputs`` give one size
            of them, and the graph is verified at others, too.
        improve: Which passes run on the canonical graph.
        precision: Type of what is not quantized; ``fp16`` for strongly typed TensorRT.
        quantized_input: Whether inputs arrive as INT8 codes.
        pixels: What the bytes of images mean, by input that arrives as such. The inputs are the
            model's all the same, floats ``(N, C, H, W)``.
        for_: The TensorRT that the graph is for; None for each that reads its opset. It decides
            how bytes are normalised.
        min_sqnr_db: Agreement with the fake-quantized model end to end, below which the graph
            must agree piece by piece (``exporting.verification.verify``).
        data: What the graph is verified with and FP16 ranges are measured on, as ``--data`` names
            it (``data.dataset.open_dataset``). Random numbers if there is none.
        seed: For random samples.
    """

    inputs: tuple[TensorSpec, ...]
    opset: int = NEWEST_OPSET_OF_8_6
    exporter: Exporter = "auto"
    static_batch: bool = False
    dynamic: Dimensions = field(default_factory=dict)
    improve: ImproveOptions = field(default_factory=ImproveOptions)
    precision: Precision = "fp32"
    quantized_input: bool = False
    pixels: Mapping[str, Pixels] = field(default_factory=dict)
    for_: Target | None = None
    min_sqnr_db: float = MIN_SQNR_DB
    data: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        example = "(TensorSpec('x', (1, 3, 32, 32)),)"
        check_kind("ExportOptions.inputs", self.inputs, (tuple, list), example)
        for each in self.inputs:
            check_kind("An input of ExportOptions", each, TensorSpec, example)
        # A list is as good, and frozen options hold nothing that changes.
        object.__setattr__(self, "inputs", tuple(self.inputs))
        check_kind("ExportOptions.opset", self.opset, int, str(NEWEST_OPSET_OF_8_6))
        check_least("ExportOptions.opset", self.opset, _OLDEST_OPSET)
        check_choice("ExportOptions.exporter", self.exporter, ("auto", "dynamo", "torchscript"))
        check_kind("ExportOptions.improve", self.improve, ImproveOptions, "ImproveOptions()")
        check_choice("ExportOptions.precision", self.precision, ("fp32", "fp16"))
        check_kind("ExportOptions.min_sqnr_db", self.min_sqnr_db, (int, float), "20.0")
        if math.isnan(self.min_sqnr_db):
            raise UsageError("ExportOptions.min_sqnr_db is nan, which is no limit.", "Give 20.0.")
        check_kind("ExportOptions.seed", self.seed, int, "0")
        if self.seed < 0:
            raise UsageError(f"ExportOptions.seed is {self.seed}.", "Give 0 or more.")
        check_dynamic(self.inputs, self.dynamic)
        check_kind("ExportOptions.pixels", self.pixels, Mapping, "{'images': Pixels(...)}")
        for pixels in self.pixels.values():
            check_kind("Pixels of ExportOptions", pixels, Pixels, "Pixels('nhwc', (0.5,), (0.5,))")
        check_choice("ExportOptions.for_", self.for_, (None, *get_args(Target)))
        for name in ("static_batch", "quantized_input"):
            check_kind(f"ExportOptions.{name}", getattr(self, name), bool, "True")


@dataclass(frozen=True)
class HalfResult:
    """The FP16 graph that was derived.

    Attributes:
        report: Which nodes are FP16, and why the others are not.
        agreement: How close it is to the FP32 graph on ONNX Runtime.
    """

    report: HalfReport
    agreement: Verification


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: The ONNX file.
        exporter: What made the graph, and why.
        opset: Its opset.
        quantizers: Number of active quantizers in the source.
        disabled: Number of disabled ones.
        pairs: Number of Q/DQ pairs made for them, before repairs.
        improvements: What the passes did.
        half: The FP16 graph that was derived; None for FP32.
        quantized_inputs: Scale by name of the inputs that arrive as INT8 codes.
        pixels: By name of the inputs that arrive as bytes of images, how they are normalised.
        summary: Layers, and the share of the arithmetic in INT8.
        findings: What lint found in the finished graph.
        verification: How close the graph is to the source.
        convolved: How close the graph with convolutions, which is written, is to the one with
            linear layers, which ``verification`` is of; None where these stay.
        size_bytes: Size of the file.
        seconds: Wall-clock time.
        notes: What the user should know, one sentence each.
    """

    path: Path
    exporter: str
    opset: int
    quantizers: int
    disabled: int
    pairs: int
    improvements: Improvements
    half: HalfResult | None
    quantized_inputs: Mapping[str, float]
    pixels: Mapping[str, TakenInput]
    summary: GraphSummary
    findings: tuple[Finding, ...]
    verification: Verification
    convolved: Verification | None
    size_bytes: int
    seconds: float
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"ExportResult('{self.path}', {self.summary.pairs} Q/DQ pairs, opset {self.opset}, "
            f"SQNR {self.verification.sqnr_db:.1f} dB, {len(self.findings)} findings)"
        )

    @property
    def batch_norms(self) -> FoldedBatchNorms | None:
        """What became of the BatchNorms; None if they were to be kept."""
        return self.improvements.batch_norms

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings that ``--strict`` fails on."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")
