"""The passes that write the Q/DQ pairs of other tools as TensorRT reads them.

use_standard_domain → fold_constant_moves → remove_code_clips → make_codes_signed → write_axes

Each is exact: what DequantizeLinear makes is the same, bit for bit. What a pass leaves, because
TensorRT has nothing equal, lint names.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.passes.fold_weight_moves import fold_constant_moves
from trtqat.graph.passes.make_codes_signed import make_codes_signed
from trtqat.graph.passes.remove_code_clips import remove_code_clips
from trtqat.graph.passes.use_standard_domain import MICROSOFT, use_standard_domain
from trtqat.graph.passes.write_axes import write_axes


def standardize_pairs(model: ir.Model) -> tuple[str, ...]:
    """Runs the passes, in place.

    Args:
        model: A graph with Q/DQ, constants as initializers (``tidy``).

    Returns:
        What was done, as sentences.
    """
    notes = []
    foreign = use_standard_domain(model)
    if foreign:
        notes.append(
            f"{foreign} nodes of {MICROSOFT} became ONNX's own QuantizeLinear and "
            "DequantizeLinear, which compute the same."
        )
    fold_constant_moves(model.graph)
    clips = remove_code_clips(model)
    if clips.weights or clips.idle:
        notes.append(
            f"{clips.weights + clips.idle} Clips of INT8 codes went from inside the pairs: they "
            "were applied to the weights' codes, or no code is beyond their bounds."
        )
    if clips.moved:
        notes.append(
            f"{len(clips.moved)} Clips of codes, first '{clips.moved[0]}', became Clips of the "
            "float tensor before its QuantizeLinear, which gives the same codes."
        )
    signed = make_codes_signed(model)
    if signed.activations or signed.constants:
        notes.append(
            f"Codes of {signed.activations} activations and {signed.constants} weights became "
            "INT8 with zero-point 0, which are the same numbers: UINT8 with zero-point 128, or "
            "constants within -128 and 127 of their zero-point."
        )
    if signed.zero_points:
        notes.append(f"{signed.zero_points} nodes had no zero-point: INT8's, 0, is written.")
    axes = write_axes(model)
    if axes:
        notes.append(f"{axes} per-channel nodes had no axis: ONNX's default, 1, is written.")
    return tuple(notes)
