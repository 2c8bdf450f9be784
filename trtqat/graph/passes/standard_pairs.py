"""The passes that write the Q/DQ of other tools as TensorRT reads it, in their order.

Each is exact: what DequantizeLinear makes is the same, bit for bit. What a pass leaves, because
TensorRT has nothing equal, lint names.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.passes.fold_constant_moves import fold_constant_moves
from trtqat.graph.passes.make_biases_float import make_biases_float
from trtqat.graph.passes.make_codes_signed import make_codes_signed
from trtqat.graph.passes.make_numbers_float import make_numbers_float
from trtqat.graph.passes.protocol import Pass, run
from trtqat.graph.passes.remove_code_clips import remove_code_clips
from trtqat.graph.passes.use_standard_domain import use_standard_domain
from trtqat.graph.passes.write_axes import write_axes
from trtqat.graph.passes.write_kernel_shapes import write_kernel_shapes
from trtqat.graph.passes.write_scales import write_scales

STANDARD_PAIRS: tuple[Pass, ...] = (
    use_standard_domain,
    write_scales,
    fold_constant_moves,
    remove_code_clips,
    make_codes_signed,
    write_axes,
    write_kernel_shapes,
    make_biases_float,
    make_numbers_float,
)


def standardize_pairs(model: ir.Model) -> tuple[str, ...]:
    """Runs the passes, in place.

    Args:
        model: A graph with Q/DQ, constants as initializers (``tidy``).

    Returns:
        What was done, as sentences.
    """
    return run(STANDARD_PAIRS, model).notes
