"""The passes that make a canonical graph faster without changing what it computes, in their order.

They run on the graph of another tool as well, once its pairs are standard ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.checks import check_kind
from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.passes.fold_batch_norm import FoldedBatchNorms, fold_batch_norm
from trtqat.graph.passes.fold_constant_layers import fold_constant_layers
from trtqat.graph.passes.fold_constant_moves import fold_constant_moves
from trtqat.graph.passes.fold_weight_moves import FoldedMoves, fold_weight_moves
from trtqat.graph.passes.fold_zeros import fold_zeros
from trtqat.graph.passes.infer_shapes import infer_shapes
from trtqat.graph.passes.make_weights_float import make_weights_float, make_weights_float_for_8_6
from trtqat.graph.passes.protocol import Pass, of_library, only_if, run
from trtqat.graph.passes.quantize_weights import QuantizedWeights, quantize_weights
from trtqat.graph.passes.remove_identities import remove_identities
from trtqat.graph.repair import Repair, Repairs
from trtqat.graph.repair.exact_repairs import EXACT_REPAIRS
from trtqat.graph_file.garbage import uncollected


@dataclass(frozen=True)
class ImproveOptions:
    """What to do.

    Attributes:
        fold_batch_norm: Fold BatchNorms into quantized layers, codes unchanged.
        int8_weights: True for INT8 initializers, False for float ones with QuantizeLinear;
            None for INT8 wherever every TensorRT that reads the opset takes it.
        repair: Run the exact repairs of Q/DQ placement. Off unless asked for: TensorRT 8.6.0
            built engines of the same speed without them (scripts/results/graphs.json).
    """

    fold_batch_norm: bool = True
    int8_weights: bool | None = None
    repair: bool = False

    def __post_init__(self) -> None:
        for name in ("fold_batch_norm", "repair"):
            check_kind(f"ImproveOptions.{name}", getattr(self, name), bool, "True")
        if self.int8_weights is not None:
            check_kind("ImproveOptions.int8_weights", self.int8_weights, bool, "True")


@dataclass(frozen=True)
class Improvements:
    """What was done.

    Attributes:
        weights: Weights that became INT8.
        moves: Weights that stood behind a Reshape, a Transpose and the like.
        batch_norms: BatchNorms that were folded and that stay; None if not asked for.
        repairs: Changes of Q/DQ placement.
    """

    weights: QuantizedWeights
    moves: FoldedMoves
    batch_norms: FoldedBatchNorms | None
    repairs: tuple[Repair, ...]


def improvements(options: ImproveOptions, *, opset: int) -> tuple[Pass, ...]:
    """The passes that options ask for.

    Args:
        options: Which.
        opset: What the graph will be written in, which says which TensorRT it is for.
    """
    float_for_8_6 = options.int8_weights is None and is_for_8_6(opset)
    return (
        infer_shapes,
        # Casts that do nothing, now that the types are known.
        remove_identities,
        # Codes of the trained weights come first: everything after works on them.
        fold_constant_moves,
        quantize_weights,
        fold_weight_moves,
        fold_constant_layers,
        *only_if(options.fold_batch_norm, fold_batch_norm),
        fold_zeros,
        *only_if(options.repair, *EXACT_REPAIRS),
        *only_if(options.int8_weights is False, make_weights_float),
        *only_if(float_for_8_6, make_weights_float_for_8_6),
        # Names that the passes chose may be those of other tensors in a foreign graph.
        of_library(common.NameFixPass),
    )


@uncollected()
def improve(model: ir.Model, options: ImproveOptions, *, opset: int) -> Improvements:
    """Runs the passes, in place.

    Args:
        model: A graph with explicit Q/DQ.
        options: Which.
        opset: What the graph will be written in, which says which TensorRT it is for.

    Raises:
        ExportError: Float weights were asked for and one has no exact float form.
    """
    results = run(improvements(options, opset=opset), model)
    (weights,) = results.of(QuantizedWeights)
    (moves,) = results.of(FoldedMoves)
    folded = results.of(FoldedBatchNorms)
    repairs = tuple(repair for each in results.of(Repairs) for repair in each.made)
    return Improvements(weights, moves, folded[0] if folded else None, repairs)
