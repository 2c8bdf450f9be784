"""``--quantized-input``: the finished graph takes INT8 codes, and computes the very same."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from trtqat.errors import ExportError, GraphError, UsageError
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.verification.reference import other_output
from trtqat.graph.passes.take_codes import recorded_scales, take_codes
from trtqat.graph.repair.move_pairs import move_pairs
from trtqat.graph.runnable import serialize_runnable
from trtqat.graph_file.serialized import Serialized
from trtqat.numerics import quantize
from trtqat.tensors import Arrays

_LOG = logging.getLogger(__name__)


def check_quantized_input(options: ExportOptions) -> None:
    """Finds out before anything is computed whether inputs can be INT8.

    Raises:
        UsageError: With FP16 they cannot.
    """
    if options.quantized_input and options.precision != "fp32":
        raise UsageError(
            "--quantized-input is for FP32 graphs.", "Leave it or --precision fp16 out."
        )


def codes_of(model: ir.Model, options: ExportOptions) -> dict[str, float]:
    """Scale by input of those that take codes already, from an earlier export.

    Raises:
        UsageError: They are to be FP16.
    """
    scales = recorded_scales(model)
    if scales and options.precision != "fp32":
        raise UsageError(
            f"Input '{next(iter(scales))}' takes INT8 codes, which are for FP32 graphs.",
            "Leave out --precision fp16, or export the model without --quantized-input.",
        )
    return scales


def with_quantized_inputs(
    model: ir.Model,
    options: ExportOptions,
    batches: Sequence[Arrays],
    codes: Mapping[str, float],
) -> dict[str, float]:
    """Changes a verified graph, if that was asked for, and compares it with what it was.

    Args:
        model: FP32, after all other passes; changed in place.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name.
        codes: Scale by input of those that take codes already.

    Returns:
        Scale by input of those that take codes now; empty if none does.

    Raises:
        GraphError: No input can be INT8.
        ExportError: The changed graph computes something else.
    """
    if not options.quantized_input:
        return dict(codes)
    before = serialize_runnable(model)
    for note in move_pairs(model, to_inputs=True).notes:
        _LOG.info(note)
    try:
        scales = take_codes(model).scales
    except GraphError:
        # The others cannot.
        if not codes:
            raise
        scales = {}
    _check_same(before, serialize_runnable(model), batches, scales)
    return {**codes, **scales}


def _check_same(
    before: Serialized, after: Serialized, batches: Sequence[Arrays], scales: Mapping[str, float]
) -> None:
    """Compares every bit that the graph computes of floats with what it computes of their codes."""
    quantized = [
        {
            name: quantize(array, scales[name]) if name in scales else array
            for name, array in batch.items()
        }
        for batch in batches
    ]
    if name := other_output(before, batches, after, quantized):
        raise ExportError(
            f"With its inputs quantized by the host the graph computes another '{name}'.",
            "Leave out --quantized-input, and report the graph.",
        )
