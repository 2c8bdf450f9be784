"""Weights that are NaN or infinite, by name: what they make cannot be compared with anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import REARRANGING
from trtqat.graph.lenses.pairs import PAIR
from trtqat.tensors import Array

# An infinity is a mask on purpose where it is added or chosen, and never in these.
_WEIGHTED = frozenset({BATCH_NORM, "Conv", "ConvTranspose", "Gemm", "GRU", "LSTM", "MatMul", "RNN"})
_SCALE = 1
_ELEMENTS_AT_ONCE = 1 << 20


def weights_not_finite(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    """Constants that are NaN, and weights that are infinite; scales apart, which have their rule.

    Yields:
        The tensor's name, and a sentence.
    """
    constants = [*graph.initializers.values()]
    constants += [n.outputs[0] for n in graph if n.op_type == "Constant" and not n.domain]
    for value in constants:
        if value.dtype is None or not value.dtype.is_floating_point() or _is_scale(value):
            continue
        array = constant_array(value)
        if array is None or array.dtype.kind != "f":
            continue
        nans, infinities = _count(array)
        if nans:
            yield str(value.name), f"'{value.name}' is NaN in {nans} of {array.size} numbers."
        elif infinities and _is_weight(value):
            yield (
                str(value.name),
                f"Weight '{value.name}' is infinite in {infinities} of {array.size} numbers.",
            )


def check_finite(source: Path, graph: ir.Graph) -> None:
    """Refuses a graph with such a weight.

    Raises:
        GraphError: It has one, which the message names.
    """
    for _, problem in weights_not_finite(graph):
        raise GraphError(
            f"'{source}' has weights that are no numbers: {problem}",
            "Training has diverged: take a checkpoint from before, and a lower learning rate.",
        )


def _count(array: Array) -> tuple[int, int]:
    """How many are NaN, and how many infinite, without a mask of the array's size."""
    flat = array.reshape(-1)
    nans = infinities = 0
    for start in range(0, flat.size, _ELEMENTS_AT_ONCE):
        block = flat[start : start + _ELEMENTS_AT_ONCE]
        if not np.isfinite(block).all():
            nans += int(np.isnan(block).sum())
            infinities += int(np.isinf(block).sum())
    return nans, infinities


def _is_scale(value: ir.Value) -> bool:
    uses = value.uses()
    return bool(uses) and all(use.node.op_type in PAIR and use.idx == _SCALE for use in uses)


def _is_weight(value: ir.Value) -> bool:
    """Whether a layer reads it, also through its quantizer or a node that moves values."""
    pending, seen = [value], {value}
    for current in pending:
        for use in current.uses():
            if use.node.op_type in _WEIGHTED:
                return True
            if use.node.op_type in (*PAIR, *REARRANGING) and use.idx == 0:
                pending += [each for each in use.node.outputs if each not in seen]
                seen.update(use.node.outputs)
    return False
