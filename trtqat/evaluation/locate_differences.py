"""What differs between two runs of one graph, tensor by tensor, and where it came in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trtqat.numerics import Noise, lost_db, signal_and_error
from trtqat.tensors import Array
from trtqat.typed_json import Unbounded

if TYPE_CHECKING:
    from trtqat.graph.passes.tap import Tap


@dataclass(frozen=True)
class StepLoss:
    """How far one tensor is from the same one a step before.

    Attributes:
        sqnr_db: The step before as the signal; infinite if nothing differs.
        lost_db: By how much that is below the worst of the tensors that it is computed from, and
            below what rounding explains (60 dB; of an FP16 graph and of an engine 45): what is lost
            on the way from those. Infinite where numbers become NaN.
        differing: Share of codes that differ, from 0 to 1; None for what was an output before.
        largest: Largest difference in codes; None for what was an output before, and where one is
            no number.
    """

    sqnr_db: Unbounded
    lost_db: Unbounded
    differing: float | None
    largest: int | None


class Differences:
    """Sums what differs, batch by batch.

    Args:
        taps: The tensors that are compared.
        rounding_db: SQNR that rounding explains: what is above it is no loss.
    """

    def __init__(self, taps: Sequence[Tap], rounding_db: float) -> None:
        self._rounding_db = rounding_db
        self._taps = {each.output: each for each in taps}
        self._sums: dict[str, _Sum] = {}

    def add(self, expected: Mapping[str, Array], found: Mapping[str, Array]) -> None:
        """Adds a batch; a tensor that one of the two lacks is passed over.

        Args:
            expected: Floats of the run that is the signal, by the name of the tap's output.
            found: Those of the other run.
        """
        for name, tap in self._taps.items():
            if name not in expected or name not in found:
                continue
            one = tap.in_codes(_in_shape_of(found[name], expected[name]))
            other = tap.in_codes(found[name])
            # Of a graph that is not this model's.
            if one.shape != other.shape:
                continue
            # A NaN that was there before is lost on no way.
            both = np.isnan(one) & np.isnan(other)
            signal, error = signal_and_error(np.where(both, 0, one), np.where(both, 0, other))
            total = self._sums.setdefault(name, _Sum())
            total.add(signal, error)
            # A NaN differs from everything.
            total.differing += int(np.count_nonzero(error != 0))
            total.unknown += int(np.count_nonzero(both))
            # Not the built-in one, which drops a NaN by its position.
            total.largest = float(np.maximum(total.largest, np.max(error, initial=0)))

    def sqnr_db(self, name: str) -> float:
        """SQNR of one tensor over all batches; NaN if not all of it was compared, and none differs.

        What holds NaN on both sides is not identical, whatever the rest of it is.
        """
        total = self._sums.get(name)
        if total is None or (total.noise == 0 and total.unknown):
            return math.nan
        return total.sqnr_db

    def worst_db(self, names: Sequence[str]) -> float:
        """The least SQNR of several tensors.

        NaN if one of them has none: an output that was not compared is not identical.
        """
        return float(np.min([self.sqnr_db(name) for name in names]))

    def loss_of(self, tap: Tap) -> StepLoss | None:
        """What became of one tensor; None if it was not compared."""
        total = self._sums.get(tap.output)
        if total is None:
            return None
        own = self.sqnr_db(tap.output)
        # A NaN that was there before is lost on no way, so these are without.
        before = [self._sums[name].sqnr_db for name in tap.before if name in self._sums]
        lost = lost_db(total.sqnr_db, before, self._rounding_db) if total.count else 0.0
        if tap.scale is None or not total.count:
            return StepLoss(own, lost, None, None)
        largest = int(total.largest) if math.isfinite(total.largest) else None
        return StepLoss(own, lost, total.differing / total.count, largest)


def _in_shape_of(image: Array, flat: Array) -> Array:
    """Data of a linear layer as images of one pixel, where a graph has a convolution for it."""
    is_image = flat.ndim == 2 and image.shape == (*flat.shape, 1, 1)
    return flat.reshape(image.shape) if is_image else flat


@dataclass
class _Sum(Noise):
    """Over the batches, of one tensor in codes of its quantizer."""

    differing: int = 0
    largest: float = 0.0
    # Elements that are no number on either side, so that nothing was compared.
    unknown: int = 0
