"""The passes that make a canonical graph faster without changing what it computes.

quantize_weights → fold_batch_norm → move_pairs → remove_pairs → share_pairs → (float_weights)
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.editing import infer_shapes
from trtqat.graph.fold_batch_norm import FoldedBatchNorms, fold_batch_norm
from trtqat.graph.quantize_weights import QuantizedWeights, float_weights, quantize_weights
from trtqat.graph.repair import Repair
from trtqat.graph.repair.move_pairs import move_pairs
from trtqat.graph.repair.remove_pairs import remove_pairs
from trtqat.graph.repair.share_pairs import share_pairs


@dataclass(frozen=True)
class ImproveOptions:
    """What to do.

    Attributes:
        fold_batch_norm: Fold BatchNorms into quantized layers, codes unchanged.
        int8_weights: Weights as INT8 initializers; otherwise float ones with QuantizeLinear.
        repair: Run the exact repairs of Q/DQ placement.
    """

    fold_batch_norm: bool = True
    int8_weights: bool = True
    repair: bool = True


@dataclass(frozen=True)
class Improvements:
    """What was done.

    Attributes:
        weights: Weights that became INT8.
        batch_norms: BatchNorms that were folded and that stay; None if not asked for.
        repairs: Changes of Q/DQ placement.
    """

    weights: QuantizedWeights
    batch_norms: FoldedBatchNorms | None
    repairs: tuple[Repair, ...]


def improve(model: ir.Model, options: ImproveOptions) -> Improvements:
    """Runs the passes, in place.

    Args:
        model: A graph with explicit Q/DQ.
        options: Which.

    Raises:
        ExportError: Float weights were asked for and one has no exact float form.
    """
    infer_shapes(model)
    # Codes of the trained weights come first: everything after works on them.
    weights = quantize_weights(model)
    folded = fold_batch_norm(model) if options.fold_batch_norm else None
    repairs: tuple[Repair, ...] = ()
    if options.repair:
        repairs = (*move_pairs(model), *remove_pairs(model), *share_pairs(model))
    if not options.int8_weights:
        float_weights(model)
    return Improvements(weights, folded, repairs)
