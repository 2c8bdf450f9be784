"""Opset and precision of a finished FP32 graph: raised, and FP16 derived from it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from trtqat.errors import UsageError
from trtqat.exporting.options import ExportOptions, HalfResult
from trtqat.exporting.verification.pieces import FP16
from trtqat.exporting.verification.ranges import measure_with_ranges
from trtqat.exporting.verification.reference import (
    OF_HALF,
    GraphReference,
    Words,
    other_output,
)
from trtqat.exporting.verification.verify import verify
from trtqat.graph.half.derive import derive_half
from trtqat.graph.lenses.targets import HALF_OPSET, is_for_8_6
from trtqat.graph.passes.raise_opset import newest_opset, raise_opset
from trtqat.graph.runnable import serialize_runnable
from trtqat.tensors import Arrays, Precision

# Every onnx and ONNX Runtime that the extras allow writes and runs this one.
_SURE_OPSET = HALF_OPSET


def check_opset(opset: int, precision: Precision) -> None:
    """Finds out before anything is computed whether an opset can be written.

    Raises:
        UsageError: FP16 needs a newer one, or it is newer than the installed packages know.
        MissingError: ONNX Runtime is not installed.
    """
    if precision == "fp16" and opset < HALF_OPSET:
        raise UsageError(
            f"Opset {opset} has no FP16 QuantizeLinear.",
            f"Use --opset {HALF_OPSET} or newer with --precision fp16, or leave it out.",
        )
    if opset > _SURE_OPSET and opset > newest_opset():
        raise UsageError(
            f"Opset {opset} is newer than the installed onnx or ONNX Runtime can check.",
            f"Use --opset {newest_opset()} at most, or upgrade them.",
        )


def in_precision(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> tuple[ir.Model, HalfResult | None]:
    """Gives a verified FP32 graph the opset and the precision that were asked for.

    Args:
        model: FP32, after all passes that change it; not changed.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name, on which values are measured and the
            FP16 graph is compared.

    Raises:
        ExportError: The opset cannot be written, or the FP16 graph computes something else.
    """
    if not is_for_8_6(options.opset):
        model = _raised(model, options, batches)
    if options.precision == "fp32":
        return model, None
    full = serialize_runnable(model)
    half = model.clone()
    report = derive_half(half, measure_with_ranges(full, batches))
    verification = verify(
        serialize_runnable(half),
        GraphReference(full, batches, OF_HALF),
        tolerance=FP16,
        min_sqnr_db=options.min_sqnr_db,
    )
    return half, HalfResult(report, verification)


def _raised(model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]) -> ir.Model:
    raised = raise_opset(model, options.opset)
    if raised is model:
        return model
    before, after = serialize_runnable(model), serialize_runnable(raised)
    if other_output(before, batches, after):
        present = model.graph.opset_imports[""]
        words = Words(
            f"The graph in opset {options.opset}",
            f"the one in opset {present}",
            "Have the model's own framework write it in that opset.",
        )
        verify(after, GraphReference(before, batches, words), min_sqnr_db=options.min_sqnr_db)
    return raised
