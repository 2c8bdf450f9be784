"""How large the tensors inside an ONNX graph become, found by running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from trtqat.errors import GraphError
from trtqat.exporting.verification.cut import Cut, along, cut, cuts_of, tapped
from trtqat.exporting.verification.reference import outputs_of
from trtqat.graph_file.serialized import Serialized, derived, parse, with_outputs
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, Arrays

# An output is kept until the run ends: with all of them at once, a graph of a thousand
# nodes holds a thousand activations. 64 of ResNet-50's at batch 1 are below 200 MB.
_TENSORS_AT_ONCE = 64
# The largest code; -128 is as far, but for one.
_CODES = 127.0


def measure_largest(
    graph: Serialized, batches: Sequence[Arrays], *, at_once: int = _TENSORS_AT_ONCE
) -> dict[str, float]:
    """The greatest magnitude of every float tensor, on ONNX Runtime, the graph as written.

    Infinities do not count: a mask of -inf is one on purpose, and every float type has it.

    Args:
        graph: Serialized ONNX model. Tensors inside the branches of If and the bodies of
            Loop and Scan are not seen.
        batches: Inputs of shape ``(N, …)`` by name, one mapping per run; at least one.
        at_once: Number of tensors read in one run; fewer need less memory and more runs.

    Returns:
        Magnitudes by the name of the tensor: float32 inputs of the graph and all that its
        nodes compute, constants left out. NaN where a tensor holds a NaN.

    Raises:
        GraphError: ONNX Runtime does not accept the graph, or ``batches`` is empty.
        InferenceError: ONNX Runtime failed on a batch.
        MissingError: ONNX Runtime is not installed.
    """
    if not batches:
        raise GraphError(
            "Without sample inputs there are no ranges to measure.", "Give one batch at least."
        )
    proto = parse(graph)
    computed = [name for node in proto.graph.node for name in node.output if name]
    with OnnxModel(derived(graph, with_outputs(proto, computed)), as_written=True) as typed:
        inputs = [spec.name for spec in typed.inputs if spec.dtype == "float32"]
        floats = [spec.name for spec in typed.outputs if spec.dtype == "float32"]
    largest = {
        name: float(np.max([_magnitude(np.asarray(batch[name])) for batch in batches]))
        for name in inputs
    }
    for names in _pieces(floats, at_once):
        for found in outputs_of(derived(graph, with_outputs(proto, names)), batches):
            for name, array in found.items():
                largest[name] = _greater(largest.get(name, 0.0), _magnitude(array))
    return largest


def measure_with_ranges(graph: Serialized, batches: Sequence[Arrays]) -> dict[str, float]:
    """The greatest magnitude of every float tensor, as far as the trained ranges let it become.

    Samples may not reach what the model was calibrated with. So, besides running the samples,
    every piece between two quantizers is run from INT8 activations that fill their range: as the
    samples distribute them, all of one sign, and all at the end of the range, as in a flat image.

    Args:
        graph: Serialized ONNX model with Q/DQ.
        batches: As for ``measure_largest``.

    Returns:
        As ``measure_largest``.

    Raises:
        GraphError: As ``measure_largest``.
        InferenceError: As ``measure_largest``.
        MissingError: As ``measure_largest``.
    """
    largest = measure_largest(graph, batches)
    proto = parse(graph)
    cuts = tuple(cuts_of(proto).values())
    if not cuts:
        return largest
    batch = batches[0]
    (found,) = outputs_of(derived(graph, tapped(proto, cuts)), [batch])
    pieces = derived(graph, cut(proto, cuts))
    filled = [
        {**batch, **along(cuts, {c.dequantized: way(found[c.dequantized], c) for c in cuts})}
        for way in _WAYS
    ]
    inputs = {each.given for each in cuts}
    for name, value in measure_largest(pieces, filled).items():
        if name not in inputs:
            largest[name] = _greater(largest.get(name, 0.0), value)
    return largest


def _as_distributed(values: Array, each: Cut) -> Array:
    peak = float(np.abs(values).max(initial=0.0))
    return (
        values * (_CODES * each.scale / peak) if peak else np.full_like(values, _CODES * each.scale)
    )


def _positive(values: Array, each: Cut) -> Array:
    return np.abs(_as_distributed(values, each))


def _negative(values: Array, each: Cut) -> Array:
    return -_positive(values, each) if (values < 0).any() else _positive(values, each)


def _flat(values: Array, each: Cut) -> Array:
    return np.full_like(values, _CODES * each.scale)


# A tensor that is nowhere below 0 comes out of a ReLU and stays so.
_WAYS = (_as_distributed, _positive, _negative, _flat)


def _pieces(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _magnitude(array: Array) -> float:
    finite = np.abs(array[~np.isinf(array)])
    return float(finite.max()) if finite.size else 0.0


def _greater(first: float, second: float) -> float:
    """The greater of two, NaN if either is: ``max`` would drop it by its position."""
    return float(np.maximum(first, second))
