"""Whether a graph computes what it was made of does: a model's outputs, or another graph's.

Two questions are asked. *End to end*: how far are the outputs apart, at every position of every
batch? And *piece by piece*: from the same INT8 activations, is every next one the same
(``pieces.py``)? The second decides where it can be asked. A deep network may amplify one
rounding into any distance end to end, so a right graph can end at 8 dB; and a scale that is off
by a hundredth in one layer can end at 40.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from trtqat.errors import GraphError
from trtqat.exporting.verification.choices import shaken_choices
from trtqat.exporting.verification.cut import computed_tensors, nudged_scales
from trtqat.exporting.verification.end_to_end import EndToEnd, least_of, positions_db
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.pieces import FP32, ROUNDINGS, Tolerance, compare_pieces
from trtqat.exporting.verification.reference import Reference, outputs_of
from trtqat.exporting.verification.result import Pieces, Verification, worst_of
from trtqat.exporting.verification.rounding import nudged_inputs, round_everywhere
from trtqat.graph_file.serialized import Serialized, derived, parse
from trtqat.tensors import Arrays

# End to end: sums in another order flip single INT8 codes, 25 to 45 dB were measured on VGG-16.
MIN_SQNR_DB = 20.0
# Without pieces, nothing can be closer to the model than it is to itself when one rounding
# changes, less a factor of two.
_MARGIN_DB = 6.0
_LEAST_SQNR_DB = 10.0


def verify(
    graph: Serialized,
    reference: Reference,
    *,
    tolerance: Tolerance = FP32,
    min_sqnr_db: float = MIN_SQNR_DB,
) -> Verification:
    """Runs a graph on ONNX Runtime, as written, and compares it end to end and piece by piece.

    Args:
        graph: Serialized ONNX model.
        reference: What it was made of, and what that returned for each batch.
        tolerance: For the pieces.
        min_sqnr_db: Least SQNR end to end of every output at every batch position. Below it the
            pieces decide, or, where there are none, how far the graph moves by itself. Pieces are
            compared for the first batch of each size, and for those that fall short.

    Raises:
        ExportError: An output or piece is another one, or nothing can be compared.
        GraphError: ONNX Runtime does not accept the graph, or there is no batch.
        InferenceError: ONNX Runtime failed on a batch.
        MissingError: ONNX Runtime is not installed.
    """
    examples, words = reference.examples, reference.words
    if not examples:
        raise GraphError(
            "Without sample inputs there is nothing to compare.", "Give one batch at least."
        )
    _check_reach(graph)
    rounded = round_everywhere(graph) if tolerance.is_half else graph
    outputs = EndToEnd(words)
    short: list[Example] = []
    found: list[Arrays] = []
    actuals = outputs_of(rounded, [each.inputs for each in examples])
    for example, actual in zip(examples, actuals, strict=True):
        if not outputs.add(example, actual) >= min_sqnr_db:
            short.append(example)
            found.append(actual)
    outputs.require(-math.inf)  # NaN is never right
    compared = [
        _compare_pieces(reference, example, graph, rounded, tolerance)
        for example in examples
        if example in (*_first_of_each_size(examples), *short)
    ]
    pieces = worst_of([each for each in compared if each is not None])
    if rounded is not graph:
        found = list(outputs_of(graph, [each.inputs for each in short]))
    own_db = _own_db(graph, short, found, tolerance) if short else None
    if own_db is not None and pieces is None:
        outputs.require(max(_LEAST_SQNR_DB, min(min_sqnr_db, own_db - _MARGIN_DB)))
    return replace(outputs.found(), pieces=pieces, own_db=own_db)


def _first_of_each_size(examples: Sequence[Example]) -> list[Example]:
    """The first batch, and of each other size of the samples that one was run with."""
    found: dict[tuple[tuple[int, ...], ...], Example] = {}
    for each in examples:
        found.setdefault(tuple(array.shape[1:] for array in each.inputs.values()), each)
    return list(found.values())


def _compare_pieces(
    reference: Reference,
    example: Example,
    graph: Serialized,
    rounded: Serialized,
    tolerance: Tolerance,
) -> Pieces | None:
    """Of one batch; all that passed its quantizers is held no longer than this takes."""
    complete = reference.complete(example, graph)
    if not complete.passed:
        return None
    return compare_pieces(graph, complete, reference.words, tolerance, rounded=rounded)


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


def _own_db(
    graph: Serialized, examples: Sequence[Example], outputs: Sequence[Arrays], tolerance: Tolerance
) -> float:
    """How far a graph moves by itself, end to end, when every rounding changes.

    Args:
        graph: That is moved.
        examples: Batches.
        outputs: What the graph returns for each.
        tolerance: How large a rounding is.
    """
    distances = [math.inf]
    for seed, count in enumerate(ROUNDINGS):
        relative = count * tolerance.rounding
        inputs = [nudged_inputs(each.inputs, relative, seed) for each in examples]
        nudged = shaken_choices(nudged_scales(parse(graph), relative), relative, seed)
        moved = outputs_of(derived(graph, nudged), inputs)
        for expected, other in zip(outputs, moved, strict=True):
            for name, array in expected.items():
                distances += positions_db(array, other[name])
    return least_of(distances)
