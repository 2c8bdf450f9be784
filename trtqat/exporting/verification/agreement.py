"""Whether a graph computes what it was made of does: a model's outputs, or another graph's.

Two questions are asked. *End to end*: how far are the outputs apart, at every position of every
batch? And *piece by piece*: from the same INT8 activations, is every next one the same
(``onnx_pieces``)? The second decides where it can be asked. A deep network may amplify one
rounding into any distance end to end, so a right graph can end at 8 dB; and a scale that is off
by a hundredth in one layer can end at 40.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trtqat.errors import ExportError, GraphError
from trtqat.exporting.verification.cut import computed_tensors, cuts_of, nudged, tapped
from trtqat.exporting.verification.example import HALF, Example, Passed, Words, begun
from trtqat.exporting.verification.pieces import FP16, ROUNDINGS, Pieces, Tolerance, compare_pieces
from trtqat.exporting.verification.rounding import nudged as nudged_inputs
from trtqat.exporting.verification.rounding import round_everywhere
from trtqat.graph_file.serialized import Serialized, derived, parse
from trtqat.numerics import difference
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array, Arrays

# End to end: sums in another order flip single INT8 codes, 25 to 45 dB were measured on VGG-16.
MIN_SQNR_DB = 20.0
# Without pieces, nothing can be closer to the model than it is to itself when one rounding
# changes, less a factor of two.
_MARGIN_DB = 6.0
_LEAST_SQNR_DB = 10.0


@dataclass(frozen=True)
class OutputAgreement:
    """How close one output was.

    Attributes:
        name: Of the output.
        shape: At the first batch.
        sqnr_db: The worst of all batches and batch positions; infinite if every value was equal.
        worst: Largest absolute difference.
    """

    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    worst: float


@dataclass(frozen=True)
class Agreement:
    """How close a graph's outputs were to the reference's.

    Attributes:
        batch_sizes: The batches that were run.
        sqnr_db: End to end: the worst over all outputs, batches and batch positions, in dB.
        worst_at: Output, batch and position of that, in words.
        worst: Largest absolute difference of a value.
        outputs: Each output.
        values: How many values were compared.
        pieces: What was compared from the same INT8 activations; None if that was not possible.
        own_db: Where ``sqnr_db`` is low: how far the graph moves by itself when each quantizer's
            scale changes in its last bits, end to end.
    """

    batch_sizes: tuple[int, ...]
    sqnr_db: float
    worst_at: str
    worst: float
    outputs: tuple[OutputAgreement, ...]
    values: int
    pieces: Pieces | None = None
    own_db: float | None = None

    @property
    def per_output(self) -> dict[str, float]:
        """The worst SQNR of each output, in dB."""
        return {each.name: each.sqnr_db for each in self.outputs}


def verify(
    graph: Serialized,
    examples: Sequence[Example],
    words: Words,
    *,
    tolerance: Tolerance,
    min_sqnr_db: float = MIN_SQNR_DB,
    complete: Callable[[Example], Example] | None = None,
) -> Agreement:
    """Runs a graph on ONNX Runtime, as written, and compares it end to end and piece by piece.

    Args:
        graph: Serialized ONNX model.
        examples: Batches with what to expect; pieces are compared in those that have ``passed``.
        words: For messages.
        tolerance: For the pieces.
        min_sqnr_db: Least SQNR end to end of every output at every batch position. Below it the
            pieces decide, or, where there are none, how far the graph moves by itself.
        complete: Makes of an example one with ``passed``, maybe from another run: of the first
            one, and of those that fall short end to end.

    Raises:
        ExportError: An output or piece is another one, or nothing can be compared.
        GraphError: ONNX Runtime does not accept the graph, or there is no example.
        InferenceError: ONNX Runtime failed on a batch.
    """
    if not examples:
        raise GraphError(
            "Without sample inputs there is nothing to compare.", "Give one batch at least."
        )
    _check_reach(graph)
    rounded = round_everywhere(graph) if tolerance.is_half else graph
    found = _EndToEnd(words)
    short: list[Example] = []
    actuals = _outputs(rounded, [each.inputs for each in examples])
    for example, actual in zip(examples, actuals, strict=True):
        if not found.add(example, actual) >= min_sqnr_db:
            short.append(example)
    found.require(-math.inf)  # NaN is never right
    compared: list[Pieces | None] = []
    for example in examples:
        is_asked = example is examples[0] or example in short
        if is_asked and complete is not None:
            example = complete(example)
        if example.passed:
            compared.append(compare_pieces(graph, example, words, tolerance, rounded=rounded))
    pieces = min((p for p in compared if p is not None), key=lambda p: p.least_db, default=None)
    own_db = _own_db(graph, short, tolerance) if short else None
    if own_db is not None and pieces is None:
        found.require(max(_LEAST_SQNR_DB, min(min_sqnr_db, own_db - _MARGIN_DB)))
    return replace(found.agreement(), pieces=pieces, own_db=own_db)


def verify_agreement(
    reference: Serialized,
    graph: Serialized,
    batches: Sequence[Arrays],
    *,
    min_sqnr_db: float = MIN_SQNR_DB,
    words: Words = HALF,
    tolerance: Tolerance = FP16,
) -> Agreement:
    """Compares a graph with the one that it was derived from (``verify``).

    Args:
        reference: Serialized ONNX model: the FP32 graph.
        graph: Serialized ONNX model with the same inputs and outputs: the FP16 graph.
        batches: Inputs of shape ``(N, …)`` by name, one mapping per run; at least one.
        min_sqnr_db: Least SQNR end to end; see ``verify``.
        words: For messages.
        tolerance: For the pieces.

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
    examples = [
        Example(batch, outputs)
        for batch, outputs in zip(batches, _outputs(reference, batches), strict=True)
    ]

    def complete(example: Example) -> Example:
        return replace(example, passed=_passed(reference, graph, example.inputs))

    return verify(
        graph, examples, words, tolerance=tolerance, min_sqnr_db=min_sqnr_db, complete=complete
    )


def _check_reach(graph: Serialized) -> None:
    """A graph that computes nothing from its inputs agrees with anything."""
    proto = parse(graph)
    reached = computed_tensors(proto)
    if not any(output.name in reached for output in proto.graph.output):
        raise GraphError(
            "No output of the graph depends on an input: there is nothing to verify, as "
            f"'{proto.graph.output[0].name}' is a constant.",
            "Look for an input that the model does not use.",
        )


def _passed(reference: Serialized, graph: Serialized, batch: Arrays) -> dict[str, Passed]:
    """What passes the reference's pairs on a batch: those that the graph has as well."""
    proto = parse(reference)
    theirs = cuts_of(parse(graph))
    cuts = [each for name, each in cuts_of(proto).items() if name in theirs]
    (found,) = _outputs(derived(reference, tapped(proto, cuts)), [batch])
    values = {**batch, **found}
    return {
        each.dequantized: Passed(each.quantizer, values[each.source], values[each.dequantized])
        for each in cuts
    }


def _outputs(graph: Serialized, batches: Sequence[Arrays]) -> Iterator[dict[str, Array]]:
    model = OnnxModel(graph, as_written=True)
    for batch in batches:
        yield model.session(1).run(batch)
    model.close()


class _EndToEnd:
    """The distance of all outputs, batch by batch."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._outputs: dict[str, OutputAgreement] = {}
        self._batch_sizes: list[int] = []
        self._sqnr_db, self._worst_at, self._values = math.inf, "", 0

    def add(self, example: Example, actual: Arrays) -> float:
        """Compares a batch; returns the least SQNR in dB of an output at a position."""
        number = len(self._batch_sizes)
        self._batch_sizes.append(example.batch_size)
        least = math.inf
        for name, expected in example.outputs.items():
            where = f"output '{name}', batch {number}"
            self._check(where, expected, actual.get(name))
            decibels = _positions_db(expected, actual[name])
            worst = difference(expected, actual[name]).worst
            self._values += expected.size
            for position, db in enumerate(decibels):
                if self._worst_at == "" or (
                    not db >= self._sqnr_db and not math.isnan(self._sqnr_db)
                ):
                    self._sqnr_db, self._worst_at = db, f"{where}, position {position}"
            before = self._outputs.get(name, OutputAgreement(name, expected.shape, math.inf, 0.0))
            mine = _least(decibels)
            self._outputs[name] = replace(
                before, sqnr_db=_least([before.sqnr_db, mine]), worst=max(before.worst, worst)
            )
            least = _least([least, mine])
        return least

    def require(self, least_db: float) -> None:
        if not self._sqnr_db >= least_db:
            raise ExportError(
                f"{self._words.graph} differs from {self._words.reference}: {self._sqnr_db:.1f} "
                f"dB SQNR at {self._worst_at}, less than {least_db:.1f} dB.",
                self._words.remedy,
            )

    def agreement(self) -> Agreement:
        outputs = tuple(self._outputs.values())
        return Agreement(
            tuple(self._batch_sizes),
            self._sqnr_db,
            self._worst_at,
            max((each.worst for each in outputs), default=0.0),
            outputs,
            self._values,
        )

    def _check(self, where: str, expected: Array, actual: Array | None) -> None:
        words = self._words
        if actual is None or actual.shape != expected.shape or actual.dtype != expected.dtype:
            found = "nothing" if actual is None else f"{actual.dtype} {actual.shape}"
            raise ExportError(
                f"{words.graph} returns {found} for {where} in place of {expected.dtype} "
                f"{expected.shape}.",
                words.remedy,
            )
        if expected.size == 0:
            raise ExportError(
                f"At {where} there is no value to compare: its shape is {expected.shape}.",
                "Give --input a shape for which every output has values, or leave that output out.",
            )
        if np.issubdtype(expected.dtype, np.floating) and np.isnan(expected).any():
            raise ExportError(
                f"{begun(words.reference)} itself returns NaN at {where}; nothing can be compared "
                "with it.",
                "Look for a division by zero (torch.ao's fused convolutions divide by γ), or "
                "a logarithm or root of the random samples.",
            )


def _own_db(graph: Serialized, examples: Sequence[Example], tolerance: Tolerance) -> float:
    """How far a graph moves by itself, end to end, when every rounding changes."""
    itself = OnnxModel(graph, as_written=True)
    least = math.inf
    for seed, count in enumerate(ROUNDINGS):
        relative = count * tolerance.rounding
        moved = derived(graph, nudged(parse(graph), relative))
        other = OnnxModel(moved, as_written=True)
        for example in examples:
            inputs = nudged_inputs(example.inputs, relative, seed)
            expected = itself.session(example.batch_size).run(example.inputs)
            found = other.session(example.batch_size).run(inputs)
            least = _least(
                [least, *(_least(_positions_db(x, found[n])) for n, x in expected.items())]
            )
        other.close()
    itself.close()
    return least


def _positions_db(expected: Array, actual: Array) -> list[float]:
    """SQNR of each position of the first dimension; of the whole if it has no dimension."""
    if expected.ndim == 0:
        return [difference(expected, actual).sqnr_db]
    return [difference(expected[at], actual[at]).sqnr_db for at in range(expected.shape[0])]


def _least(decibels: Sequence[float]) -> float:
    """The least of all, the first of equal ones; NaN is further off than any number."""
    return min(decibels, key=lambda db: -math.inf if math.isnan(db) else db, default=math.inf)
