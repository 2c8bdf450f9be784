"""How close one ONNX graph is to another that it was derived from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from trtqat.errors import ExportError, GraphError
from trtqat.graph.serialized import Serialized, derived, parse
from trtqat.numerics import difference
from trtqat.runtime.onnx_reference import OnnxModel, OnnxSession
from trtqat.tensors import Array, Arrays

# FP16 rounds each value to 11 bits, which moves values over the rounding border of an INT8
# quantizer: 35 to 66 dB were measured on small networks. An overflow gives NaN, a wrong
# scale, axis or constant stays below 15 dB.
MIN_SQNR_DB = 20.0
# A deep untrained network amplifies every flipped code. No graph in FP16 can be closer to
# it than it is to itself with its inputs rounded to FP16, less a factor of two.
_ROUNDING = 2.0**-11
_MARGIN_DB = 6.0
_LEAST_SQNR_DB = 10.0


@dataclass(frozen=True)
class Agreement:
    """How close a graph's outputs were to the reference's.

    Attributes:
        sqnr_db: The worst over all outputs, batches and batch positions, in dB.
        worst_at: Output, batch and position of that, in words.
        per_output: The worst of each output, in dB.
        worst: Largest absolute difference.
    """

    sqnr_db: float
    worst_at: str
    per_output: Mapping[str, float]
    worst: float


def verify_agreement(
    reference: Serialized,
    graph: Serialized,
    batches: Sequence[Arrays],
    *,
    min_sqnr_db: float = MIN_SQNR_DB,
    what: str = "The FP16 graph",
    remedy: str = "Export with --precision fp32.",
) -> Agreement:
    """Runs two graphs on ONNX Runtime, as written, and compares every batch position.

    Args:
        reference: Serialized ONNX model: the FP32 graph.
        graph: Serialized ONNX model with the same inputs and outputs: the FP16 graph.
        batches: Inputs of shape ``(N, …)`` by name, one mapping per run; at least one.
        min_sqnr_db: Least SQNR of every float output at every batch position, unless the
            reference's own sensitivity to rounding is higher. Integer outputs (classes,
            indices) are compared in the same way.
        what: What to call the graph when it falls short.
        remedy: The way out then.

    Returns:
        How close they are.

    Raises:
        ExportError: An output has another shape, dtype or name, or falls short.
        GraphError: ONNX Runtime does not accept a graph, or ``batches`` is empty.
        InferenceError: ONNX Runtime failed on a batch.
        MissingError: ONNX Runtime is not installed.
    """
    if not batches:
        raise GraphError(
            "Without sample inputs there is nothing to compare.", "Give one batch at least."
        )
    models = [OnnxModel(each, as_written=True) for each in (reference, round_everywhere(graph))]
    first, second = (model.session(0) for model in models)
    per_output: dict[str, float] = {}
    worst, worst_at, largest = math.inf, "nowhere", 0.0
    for number, batch in enumerate(batches):
        expected, actual = first.run(batch), second.run(batch)
        _check_outputs(expected, actual, what, remedy)
        largest = max(largest, *(_distance(array, actual[n]) for n, array in expected.items()))
        found = {name: _positions_db(array, actual[name]) for name, array in expected.items()}
        short = any(not db >= min_sqnr_db for dbs in found.values() for db in dbs)
        required = _least_db(first, batch, expected, min_sqnr_db) if short else {}
        for name, dbs in found.items():
            for position, db in enumerate(dbs):
                at = f"output '{name}', batch {number}, position {position}"
                if not db >= required.get(name, min_sqnr_db):
                    raise ExportError(
                        f"{what} differs from the graph that it was made of: {db:.1f} dB SQNR "
                        f"at {at}, less than {required.get(name, min_sqnr_db):.1f} dB.",
                        remedy,
                    )
                per_output[name] = min(per_output.get(name, math.inf), db)
                if db < worst:
                    worst, worst_at = db, at
    for model in models:
        model.close()
    return Agreement(worst, worst_at, per_output, largest)


def round_everywhere(graph: Serialized) -> Serialized:
    """The same graph with two Identity nodes behind every tensor.

    ONNX Runtime's CPU has FP16 kernels for few operators. It computes the others in FP32,
    also with its optimizations off, and leaves out the Casts between one and the next, even
    those that the graph has: a tensor that overflows FP16 stays finite. Identity has an FP16
    kernel, so the tensor before it becomes FP16; with one alone between FP32 kernels, ONNX
    Runtime makes that FP32 too.

    Args:
        graph: Serialized ONNX model.

    Returns:
        The model, serialized, that ONNX Runtime (1.32) rounds as it is written.
    """
    proto = parse(graph)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        proto.graph.node.append(node)
        made = proto.graph.node[-1]
        for index, name in enumerate(node.output):
            if not name:
                continue
            stages = [f"{name}/unrounded", f"{name}/rounded", name]
            made.output[index] = stages[0]
            proto.graph.node.extend(
                onnx.helper.make_node("Identity", [source], [result])
                for source, result in itertools.pairwise(stages)
            )
    return derived(graph, proto)


def _check_outputs(expected: Arrays, actual: Arrays, what: str, remedy: str) -> None:
    for name, array in expected.items():
        other = actual.get(name)
        if other is None or other.shape != array.shape or other.dtype != array.dtype:
            found = "nothing" if other is None else f"{other.dtype} {other.shape}"
            raise ExportError(
                f"{what} returns {found} for output '{name}' in place of {array.dtype} "
                f"{array.shape}.",
                remedy,
            )


def _distance(expected: Array, actual: Array) -> float:
    return difference(np.asarray(expected), np.asarray(actual)).worst


def _positions_db(expected: Array, actual: Array) -> list[float]:
    """SQNR of each position of the first dimension; of the whole if it has no dimension."""
    if expected.ndim == 0:
        return [_sqnr_db(expected, actual)]
    return [_sqnr_db(expected[at], actual[at]) for at in range(expected.shape[0])]


def _sqnr_db(expected: Array, actual: Array) -> float:
    return difference(np.asarray(expected), np.asarray(actual)).sqnr_db


def _least_db(
    session: OnnxSession, batch: Arrays, expected: Arrays, min_sqnr_db: float
) -> dict[str, float]:
    """For each output, what can be asked of a graph in FP16 on this batch."""
    generator = np.random.default_rng(0)
    nudged = {
        name: (x * (1 + _ROUNDING * generator.uniform(-1, 1, x.shape))).astype(x.dtype)
        if np.issubdtype(x.dtype, np.floating)
        else x
        for name, x in batch.items()
    }
    outputs = session.run(nudged)
    least = {}
    for name, array in expected.items():
        own = min(_positions_db(array, outputs[name]), default=math.inf)
        least[name] = max(_LEAST_SQNR_DB, min(min_sqnr_db, own - _MARGIN_DB))
    return least
