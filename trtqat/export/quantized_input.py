"""``--quantized-input``: the finished graph takes INT8 codes, and computes the very same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from trtqat.errors import ExportError, UsageError
from trtqat.export.finishing import serialize
from trtqat.export.options import ExportOptions
from trtqat.graph import QUANTIZED_INPUTS
from trtqat.graph.quantized_inputs import take_codes
from trtqat.numerics import quantize
from trtqat.runtime.onnx_reference import OnnxModel
from trtqat.tensors import Arrays


def check_quantized_input(options: ExportOptions) -> None:
    """Finds out before anything is computed whether inputs can be INT8.

    Raises:
        UsageError: With FP16 they cannot.
    """
    if options.quantized_input and options.precision != "fp32":
        raise UsageError(
            "--quantized-input is for FP32 graphs.", "Leave it or --precision fp16 out."
        )


def with_quantized_inputs(
    model: ir.Model, options: ExportOptions, batches: Sequence[Arrays]
) -> dict[str, dict[str, float]]:
    """Changes a verified graph, if that was asked for, and compares it with what it was.

    Args:
        model: FP32, after all other passes; changed in place.
        options: Of the export.
        batches: Inputs of shape ``(N, …)`` by name.

    Returns:
        What is recorded in the file: scale by input, under ``QUANTIZED_INPUTS``; empty if it
        was not asked for.

    Raises:
        GraphError: No input can be INT8.
        ExportError: The changed graph computes something else.
    """
    if not options.quantized_input:
        return {}
    before = OnnxModel(serialize(model), as_written=True)
    scales = take_codes(model)
    after = OnnxModel(serialize(model), as_written=True)
    for batch in batches:
        codes = {
            name: quantize(array, scales[name]) if name in scales else array
            for name, array in batch.items()
        }
        size = len(next(iter(batch.values())))
        expected, found = (
            each.session(size).run(inputs) for each, inputs in ((before, batch), (after, codes))
        )
        for name, array in expected.items():
            if not np.array_equal(array, found[name], equal_nan=True):
                raise ExportError(
                    f"With its inputs quantized by the host the graph computes another '{name}'.",
                    "Leave out --quantized-input, and report the graph.",
                )
    before.close()
    after.close()
    return {QUANTIZED_INPUTS: scales}
