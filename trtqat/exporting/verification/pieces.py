"""Compares a graph piece by piece: from the same INT8 activations, is every next one the same?

Each pair on an activation is a cut (``cut.py``). The piece behind it reads what the reference
had there, so the distance at the next cut is that of one piece alone: sums in another order leave
100 dB and more, a wrong scale, axis or order much less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.errors import ExportError
from trtqat.exporting.verification.choices import behind_choices, shaken_choices
from trtqat.exporting.verification.cut import (
    Cut,
    along,
    behind_other_quantizers,
    cut,
    cuts_of,
    nudged_scales,
    with_second_cuts,
)
from trtqat.exporting.verification.example import Example, Passed
from trtqat.exporting.verification.reference import Words
from trtqat.exporting.verification.result import Pieces, Undecided
from trtqat.exporting.verification.rounding import nudged_inputs
from trtqat.graph_file.serialized import Serialized, derived, parse
from trtqat.numerics import signal_and_error, sqnr_db
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array

# A piece may be ill-conditioned: it is asked for what a changed rounding leaves of it, less a
# factor of two.
_MARGIN_DB = 6.0
# By so many roundings everything is moved to see that: sums of hundreds are off by some.
ROUNDINGS = (1, 8)
# Of two scores that are nearly equal either may be the larger one, each time.
_TIMES_BEHIND_CHOICES = 12
# A value that moved by less of the signal than this above the least SQNR was chosen by no rounding.
_DECIDED_DB = 10.0
# Below this nothing can be told from chance.
_LEAST_DB = 10.0
# Where a code can flip inside of a piece: one in a small tensor costs as much.
_FLIPPED_DB = 20.0
# Of a tensor of a few codes, so many may lie at a rounding border.
_FEW = 2
# Below this part of what a piece reads, its output is rounding noise.
_NOISE = 1e-6

_WRONG = "A scale, an axis or an order is wrong between it and the quantizers before it."
_TOO_FEW_BITS = (
    "FP16 has too few bits for what stands between it and the quantizers before it, as for a "
    "variance that is the difference of two large numbers; or a scale, an axis or an order is "
    "wrong there."
)


@dataclass(frozen=True)
class Tolerance:
    """What rounding may do to a piece.

    Attributes:
        least_db: Least SQNR of the floats that it computes.
        codes: By how much of a code a dequantized value may be off: by rounding the scale.
        rounding: Relative size of one rounding.
        flips: Share of codes that may be the neighbouring one.
        is_half: Whether the graph rounds to FP16, which ONNX Runtime has to be made to do.
    """

    least_db: float
    codes: float
    rounding: float
    flips: float
    is_half: bool = False


# 110 to 150 dB were seen on the models of the tests; one channel of 512 whose scale is off by a
# thousandth is at 87.
FP32 = Tolerance(least_db=90.0, codes=1e-3, rounding=2.0**-23, flips=0.02)
# Each value keeps 11 bits: 55 to 75 dB were seen. Scale and product are rounded, each by up to a
# 2048th of 127 codes.
FP16 = Tolerance(least_db=40.0, codes=0.14, rounding=2.0**-11, flips=0.2, is_half=True)


def compare_pieces(
    graph: Serialized,
    example: Example,
    words: Words,
    tolerance: Tolerance,
    *,
    rounded: Serialized | None = None,
) -> Pieces | None:
    """Runs every piece of a graph from what the reference had, and compares what it computes.

    Args:
        graph: The graph.
        example: A batch with what passed the reference's quantizers.
        words: For messages.
        tolerance: What rounding may do.
        rounded: The graph with further nodes and the same tensors, which runs in its place.

    Returns:
        None where the graph has none of those quantizers.

    Raises:
        ExportError: A piece computes something else.
        GraphError: ONNX Runtime does not accept the graph.
        InferenceError: ONNX Runtime failed.
    """
    proto = parse(graph)
    every = cuts_of(proto)
    cuts = {
        name: each
        for name, each in every.items()
        if name in example.passed and example.passed[name].pair == each.quantizer
    }
    if not cuts:
        return None
    all_cuts = with_second_cuts(cuts, every)
    runs = _Runs(graph if rounded is None else rounded, all_cuts, example, tolerance)
    flipping, chosen = behind_other_quantizers(proto, cuts), behind_choices(proto, cuts)
    least_db, least_at = math.inf, ""
    undecided = []
    decided_of: dict[str, NDArray[np.bool_]] = {}
    for each in _tensors(cuts, example):
        required = _FLIPPED_DB if each.name in flipping else tolerance.least_db
        db, decided = runs.distance_db(each), None
        if not db >= required and each.name in chosen and each.has_shape_of(runs.values):
            decided = decided_of[each.name] = runs.decided(each, required)
            left_out = int(decided.size - np.count_nonzero(decided))
            undecided += [Undecided(each.where, left_out, decided.size)] if left_out else []
            db = runs.distance_db(each, decided)
        _check(each, db, required, runs, words, decided)
        if db <= least_db:
            least_db, least_at = db, each.where
    flipped = 0
    for each_cut, first in all_cuts:
        if first in flipping:
            continue
        flips, db = _check_codes(
            each_cut,
            example.passed[first],
            runs.values[each_cut.dequantized],
            words,
            tolerance,
            decided_of.get(each_cut.source),
        )
        flipped += flips
        if db < least_db:
            least_db, least_at = db, f"quantizer '{each_cut.quantizer}'"
    count = len(cuts) + len(set(example.outputs) - set(cuts))
    count -= sum(each.values == each.size for each in undecided)
    sizes = (example.batch_size,)
    return Pieces(count, least_db, least_at, tuple(undecided), flipped=flipped, batch_sizes=sizes)


@dataclass(frozen=True, eq=False)
class _Tensor:
    """What is compared: floats before a quantizer, or an output."""

    name: str
    where: str
    expected: Array
    smallest: float  # a signal below it does not count

    def has_shape_of(self, values: Mapping[str, Array]) -> bool:
        """Whether a graph computes it in the shape that is expected."""
        return values[self.name].shape == self.expected.shape


def _tensors(cuts: Mapping[str, Cut], example: Example) -> Iterator[_Tensor]:
    for name, each in cuts.items():
        source = example.passed[name].source
        if source is not None:
            yield _Tensor(each.source, f"quantizer '{each.quantizer}'", source, each.scale)
    given = [float(np.abs(each.dequantized).max(initial=0)) for each in example.passed.values()]
    for name, expected in example.outputs.items():
        if name not in cuts:  # that one is compared code by code
            yield _Tensor(name, f"output '{name}'", expected, _NOISE * max(given))


class _Runs:
    """The cut graph's tensors, and how far they move by themselves."""

    def __init__(
        self,
        graph: Serialized,
        cuts: Sequence[tuple[Cut, str]],
        example: Example,
        tolerance: Tolerance,
    ) -> None:
        dequantized = {each.dequantized: example.passed[first].dequantized for each, first in cuts}
        places = [each for each, _ in cuts]
        self._graph = derived(graph, cut(parse(graph), places))
        self._inputs = {**example.inputs, **along(places, dequantized)}
        self.tolerance = tolerance
        self.values = {**example.inputs, **_run(self._graph, self._inputs)}
        self._moved: list[dict[str, Array]] = []

    def distance_db(self, tensor: _Tensor, where: NDArray[np.bool_] | None = None) -> float:
        """SQNR of a tensor, or of some of its values, the reference's as the signal."""
        actual, expected = self.values[tensor.name], tensor.expected
        if where is not None:
            actual, expected = actual[where], expected[where]
        return _sqnr_db(expected, actual, tensor.smallest)

    def own_db(self, tensor: _Tensor, where: NDArray[np.bool_] | None = None) -> float:
        """How far a tensor moves when what its piece reads changes by a few roundings."""
        chosen = ... if where is None else where
        own = self.values[tensor.name][chosen]
        moved = self._moves(tensor, len(ROUNDINGS))
        return min(_sqnr_db(own, each[chosen], tensor.smallest) for each in moved)

    def decided(self, tensor: _Tensor, least_db: float) -> NDArray[np.bool_]:
        """Which values of a tensor stay where they are, whatever rounding chooses.

        Args:
            tensor: Behind a choice.
            least_db: What is asked of it.
        """
        own = self.values[tensor.name]
        signal, _ = signal_and_error(own, own)
        least = tensor.smallest**2
        rms = math.sqrt(max(float(np.mean(signal**2)), least)) if own.size else 0.0
        limit = rms * 10 ** ((_DECIDED_DB - least_db) / 20)
        decided = np.ones(own.shape, bool)
        for each in self._moves(tensor, _TIMES_BEHIND_CHOICES):
            _, error = signal_and_error(own, each)
            # NaN is no choice: it is compared, and refused.
            decided &= ~(np.abs(error) > limit)
        return decided

    def _moves(self, tensor: _Tensor, times: int) -> Iterator[Array]:
        for time in range(times):
            if time == len(self._moved):
                self._moved.append(self._move(time))
            yield self._moved[time][tensor.name]

    def _move(self, seed: int) -> dict[str, Array]:
        rounding = ROUNDINGS[seed % len(ROUNDINGS)] * self.tolerance.rounding
        inputs = nudged_inputs(self._inputs, rounding, seed)
        moved = nudged_scales(parse(self._graph), rounding)
        graph = derived(self._graph, shaken_choices(moved, rounding, seed))
        return {**inputs, **_run(graph, inputs)}


def _run(graph: Serialized, inputs: Mapping[str, Array]) -> dict[str, Array]:
    with OnnxModel(graph, as_written=True) as model:
        return model.session(1).run(inputs)


def _sqnr_db(expected: Array, actual: Array, smallest: float) -> float:
    if expected.shape != actual.shape:
        return math.nan
    signal, error = signal_and_error(expected, actual)
    least = smallest**2 * expected.size
    return sqnr_db(max(float(np.sum(signal**2)), least), float(np.sum(error**2)))


def _check(
    tensor: _Tensor,
    db: float,
    required: float,
    runs: _Runs,
    words: Words,
    where: NDArray[np.bool_] | None,
) -> None:
    if db >= required:
        return
    if not tensor.has_shape_of(runs.values):
        raise ExportError(
            f"At {tensor.where} {words.inline} has {runs.values[tensor.name].shape}, and "
            f"{words.reference} {tensor.expected.shape}.",
            words.remedy,
        )
    own = runs.own_db(tensor, where)
    required = max(_LEAST_DB, min(required, own - _MARGIN_DB))
    if not db >= required:
        raise ExportError(
            f"{words.graph} computes something else than {words.reference} before {tensor.where}: "
            f"{db:.1f} dB SQNR from the same inputs, where rounding leaves {required:.1f} dB.",
            f"{_TOO_FEW_BITS if runs.tolerance.is_half else _WRONG} {words.remedy}",
        )


def _check_codes(
    pair: Cut,
    passed: Passed,
    actual: Array,
    words: Words,
    tolerance: Tolerance,
    decided: NDArray[np.bool_] | None,
) -> tuple[int, float]:
    """A pair's own scale: each decided value is the reference's, or the neighbouring code's.

    Returns:
        How many are the neighbouring code's, and the SQNR of the others in dB.
    """
    if actual.shape != passed.dequantized.shape:
        raise ExportError(
            f"Quantizer '{pair.quantizer}' makes {actual.shape} in {words.inline}, and "
            f"{passed.dequantized.shape} in {words.reference}.",
            words.remedy,
        )
    # Nearly all values are the same to the last bit. NaN is not, and so is looked at.
    other = passed.dequantized != actual
    if decided is not None:
        other &= decided
    _, error = signal_and_error(passed.dequantized[other], actual[other])
    codes = error / pair.scale
    equal = codes <= tolerance.codes
    flipped = np.abs(codes - 1) <= tolerance.codes
    source = None if passed.source is None else passed.source[other]
    at_borders = _at_borders(source, codes.shape, pair.scale, tolerance)
    wrong = int(np.count_nonzero(~(equal | flipped)))
    flips = int(np.count_nonzero(flipped & ~equal & ~at_borders))
    if wrong or flips > max(_FEW, tolerance.flips * actual.size):
        raise ExportError(
            f"Quantizer '{pair.quantizer}' quantizes otherwise in {words.inline} than in "
            f"{words.reference}: {wrong + flips} of {actual.size} values differ.",
            f"Its scale, range or rounding is another one. {words.remedy}",
        )
    noise, signal = float(np.sum(error[equal] ** 2)), 0.0
    if noise:
        is_same = np.ones(actual.shape, bool) if decided is None else decided.copy()
        is_same[other] = equal
        signal = float(np.sum(passed.dequantized[is_same].astype(np.float64) ** 2))
    return int(np.count_nonzero(flipped & ~equal)), sqnr_db(signal, noise)


def _at_borders(
    source: Array | None, shape: tuple[int, ...], scale: float, tolerance: Tolerance
) -> NDArray[np.bool_]:
    """Where the reference's float lies between two codes, so that either is right.

    A mean of codes often does: that of two is half a code, and a scale of half that size is one.
    """
    if source is None:
        return np.zeros(shape, bool)
    part = np.abs(source.astype(np.float64) / scale) % 1
    borders: NDArray[np.bool_] = np.abs(part - 0.5) <= tolerance.codes
    return borders
