"""All repairs, in their order, as ``trtqat export --repair`` and ``trtqat tune`` make them."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.passes.protocol import Pass, run
from trtqat.graph.repair import Repair, Repairs
from trtqat.graph.repair.move_pairs import move_pairs
from trtqat.graph.repair.remove_pairs import remove_pairs
from trtqat.graph.repair.share_pairs import share_pairs

EXACT_REPAIRS: tuple[Pass, ...] = (move_pairs, remove_pairs, share_pairs)


def repair(model: ir.Model) -> tuple[Repair, ...]:
    """Moves, removes and merges pairs where that changes no output bit, in place.

    Args:
        model: With inferred shapes.

    Returns:
        What was done; empty where the graph stays what it was.
    """
    done = run(EXACT_REPAIRS, model)
    return tuple(each for repairs in done.of(Repairs) for each in repairs.made)
