"""Pass: FP16 around INT8, derived from the canonical FP32 graph, for strongly typed TensorRT.

A strongly typed network computes in the types that the graph says. What is not INT8 becomes
FP16, except where its *measured* values do not allow it:

1. A node stays FP32 for the reasons in ``reasons``, found in the greatest magnitudes
   of the FP32 graph's tensors (``exporting.verification.ranges``), not guessed from operators.
2. INT8 weights keep their codes: float weights become the codes of the FP32 graph first
   (``quantize_weights``). Rounding weight and scale before the division would move some.
3. A scale that FP16 cannot hold (0, infinite or subnormal in it) keeps FP32: its Q and DQ, and
   the layers that read from that DQ. FP32 around INT8 is as quick; a Cast between would
   hide the INT8.
4. FP32 goes on over cheap nodes that only FP32 encloses (``regions``).
5. The scales of a Resize are FP32 by ONNX's types, and so is all that computes them: the output's
   size is rounded down from them, so FP16's 4/3 makes 3 pixels 3 and not 4.
6. Inputs and outputs of the graph keep FP32 and their names; Casts stand at the borders
   (``borders``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.errors import GraphError
from trtqat.graph.half.borders import Written, used_by_all, write_half
from trtqat.graph.half.half_types import infer_types, is_float
from trtqat.graph.half.reasons import MARGIN, Measured, reason_against_half
from trtqat.graph.half.regions import enclosed_nodes
from trtqat.graph.half.scales import round_scale
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import REARRANGING, readers_through
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR
from trtqat.graph.lenses.targets import HALF_OPSET
from trtqat.graph.passes.quantize_weights import quantize_weights
from trtqat.graph_file.garbage import uncollected


@dataclass(frozen=True)
class KeptNode:
    """A node that stays FP32.

    Attributes:
        name: Its name.
        op_type: Its operator.
        reason: In words, with the tensor and its value.
    """

    name: str
    op_type: str
    reason: str

    def __str__(self) -> str:
        return f"'{self.name}' ({self.op_type}): {self.reason}"


@dataclass(frozen=True)
class HalfReport:
    """What the pass did.

    Attributes:
        half: Names of the nodes that compute in FP16.
        kept: Nodes with float tensors that stay FP32.
        casts: Number of Casts put in, those at inputs and outputs of the graph included.
        weights_stored: Number of float weights that became INT8 codes.
        scales_rounded: Number of scale values that FP16 changed.
        worst_scale_change: Greatest relative change of one that is in use; 2^-11 at most.
        notes: Sentences for the user.
    """

    half: tuple[str, ...]
    kept: tuple[KeptNode, ...]
    casts: int
    weights_stored: int
    scales_rounded: int
    worst_scale_change: float
    notes: tuple[str, ...]


@uncollected()
def derive_half(model: ir.Model, largest: Mapping[str, float]) -> HalfReport:
    """Makes a canonical FP32 graph an FP16 one, in place.

    Args:
        model: FP32 with explicit Q/DQ, opset 19 or newer.
        largest: Greatest magnitude of every float32 tensor that the graph takes or computes,
            by name, as ``verification.ranges.measure_largest`` finds it. A node with a tensor
            that is not in it stays FP32.

    Raises:
        GraphError: The opset is older than 19, or types of the graph contradict each other.
    """
    opset = model.graph.opset_imports.get("", 0)
    if opset < HALF_OPSET:
        raise GraphError(
            f"The graph has opset {opset}; Q/DQ take FP16 from opset {HALF_OPSET} on.",
            f"Raise it first: raise_opset(model, {HALF_OPSET}).",
        )
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    infer_types(model)
    stored = quantize_weights(model).count
    nodes = [node for node in model.graph if any(map(is_float, (*node.inputs, *node.outputs)))]
    kept = _kept(nodes, Measured(model.graph.opset_imports, largest))
    # A node inside a subgraph is in no list: it stays as it is, in FP32.
    half = {node: None for node in nodes if node not in kept}
    names = tuple(str(node.name) for node in half)
    written = write_half(model, half)
    scales = written.scales.values()
    return HalfReport(
        half=names,
        kept=tuple(KeptNode(str(node.name), node.op_type, reason) for node, reason in kept.items()),
        casts=written.casts,
        weights_stored=stored,
        scales_rounded=sum(scale.rounded for scale in scales),
        worst_scale_change=max((scale.worst_change for scale in scales), default=0.0),
        notes=_notes(half, written),
    )


def _kept(nodes: list[ir.Node], measured: Measured) -> dict[ir.Node, str]:
    """The nodes that stay FP32, in graph order, with the reasons."""
    kept = {}
    for node in nodes:
        reason = reason_against_half(node, measured)
        if reason:
            kept[node] = reason
    for node, reason in {**_makers_of_sizes(nodes), **_lost_scales(nodes)}.items():
        kept.setdefault(node, reason)
    kept.update(enclosed_nodes(nodes, kept))
    return {node: kept[node] for node in nodes if node in kept}


def _makers_of_sizes(nodes: list[ir.Node]) -> dict[ir.Node, str]:
    """What computes the scales of a Resize, up to the integers that it begins with."""
    found: dict[ir.Node, str] = {}
    for node in nodes:
        if node.op_type != "Resize" or len(node.inputs) < 3:
            continue
        stack = [node.inputs[2]]
        while stack:
            value = stack.pop()
            maker = value.producer() if value is not None and is_float(value) else None
            if maker is not None and maker not in found:
                found[maker] = f"the scales of '{node.name}' are computed from it"
                stack += maker.inputs
    return found


def _lost_scales(nodes: list[ir.Node]) -> dict[ir.Node, str]:
    kept: dict[ir.Node, str] = {}
    # Asked once for each scale, which all pairs of a graph may share.
    losses: dict[ir.Value, str] = {}
    for node in nodes:
        scale = node.inputs[1] if node.op_type in PAIR else None
        if scale is None:
            continue
        array = constant_array(scale)
        if array is None:
            kept[node] = f"its scale '{scale.name}' is computed while the graph runs"
            continue
        if scale not in losses:
            sharing = [use.node for use in scale.uses() if use.node.op_type in PAIR]
            losses[scale] = round_scale(array, used_by_all(sharing)).lost
        lost = losses[scale]
        if lost:
            kept[node] = f"its scale '{scale.name}': {lost}"
            if node.op_type == DEQUANTIZE:
                reason = f"it reads INT8 whose scale '{scale.name}' stays FP32: {lost}"
                # Through what only moves it, as the Transpose of a weight.
                readers = readers_through(node.outputs[0], REARRANGING)
                kept.update(dict.fromkeys(readers, reason))
    return kept


def _notes(half: Mapping[ir.Node, None], written: Written) -> tuple[str, ...]:
    notes = [
        f"FP16 where {MARGIN:g} times the greatest value of the samples still fits; sums "
        "inside convolutions and matrix products are not seen, and are FP32 or INT32 in "
        "TensorRT."
    ]
    normalizations = sorted({str(n.name) for n in half if n.op_type in _NORMALIZATIONS})
    if normalizations:
        notes.append(
            f"{len(normalizations)} normalizations have FP16 around them and, by their "
            f"stash_type, FP32 statistics inside, as '{normalizations[0]}'."
        )
    if written.dequantizers:
        notes.append(
            f"{written.dequantizers} DequantizeLinear nodes stand twice, with a scale of either "
            "type, because FP16 and FP32 nodes read them."
        )
    return tuple(notes)


_NORMALIZATIONS = {"GroupNormalization", "LayerNormalization", "RMSNormalization"}
