"""How far a graph's outputs are from the reference's, at every position of every batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trtqat.errors import ExportError
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.reference import Words, begun
from trtqat.exporting.verification.result import Verification, VerifiedOutput
from trtqat.numerics import difference
from trtqat.tensors import Array, Arrays


class EndToEnd:
    """The distance of all outputs, batch by batch."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._outputs: dict[str, VerifiedOutput] = {}
        self._batch_sizes: list[int] = []
        self._sizes: list[dict[str, tuple[int, ...]]] = []
        self._sqnr_db, self._worst_at, self._values = math.inf, "", 0

    def add(self, example: Example, actual: Arrays) -> float:
        """Compares a batch; returns the least SQNR in dB of an output at a position."""
        number = len(self._batch_sizes)
        self._batch_sizes.append(example.batch_size)
        size = {name: array.shape[1:] for name, array in example.inputs.items()}
        if size not in self._sizes:
            self._sizes.append(size)
        least = math.inf
        for name, expected in example.outputs.items():
            where = f"output '{name}', batch {number}"
            self._check(where, expected, actual.get(name))
            decibels = positions_db(expected, actual[name])
            worst = difference(expected, actual[name]).worst
            self._values += expected.size
            for position, db in enumerate(decibels):
                if self._worst_at == "" or (
                    not db >= self._sqnr_db and not math.isnan(self._sqnr_db)
                ):
                    self._sqnr_db, self._worst_at = db, f"{where}, position {position}"
            before = self._outputs.get(name, VerifiedOutput(name, expected.shape, math.inf, 0.0))
            mine = least_of(decibels)
            self._outputs[name] = replace(
                before, sqnr_db=least_of([before.sqnr_db, mine]), worst=max(before.worst, worst)
            )
            least = least_of([least, mine])
        return least

    def require(self, least_db: float) -> None:
        """Refuses a graph that is further off than so many dB, or that returns NaN.

        Raises:
            ExportError: It is.
        """
        if not self._sqnr_db >= least_db:
            raise ExportError(
                f"{self._words.graph} differs from {self._words.reference}: {self._sqnr_db:.1f} "
                f"dB SQNR at {self._worst_at}, less than {least_db:.1f} dB.",
                self._words.remedy,
            )

    def found(self) -> Verification:
        """What was compared so far."""
        outputs = tuple(self._outputs.values())
        return Verification(
            tuple(self._batch_sizes),
            self._sqnr_db,
            self._worst_at,
            max((each.worst for each in outputs), default=0.0),
            outputs,
            self._values,
            sizes=tuple(self._sizes) if len(self._sizes) > 1 else (),
        )

    def _check(self, where: str, expected: Array, actual: Array | None) -> None:
        words = self._words
        if actual is None or actual.shape != expected.shape or actual.dtype != expected.dtype:
            found = "nothing" if actual is None else f"{actual.dtype} {actual.shape}"
            is_of_shape = actual is not None and actual.shape != expected.shape
            raise ExportError(
                f"{words.graph} returns {found} for {where} in place of {expected.dtype} "
                f"{expected.shape}.",
                (words.of_shapes if is_of_shape else "") or words.remedy,
            )
        if expected.size == 0:
            raise ExportError(
                f"At {where} there is no value to compare: its shape is {expected.shape}.",
                "Give --data samples, or --input a shape, for which every output has values; or "
                "leave that output out.",
            )
        if np.issubdtype(expected.dtype, np.floating) and np.isnan(expected).any():
            raise ExportError(
                f"{begun(words.reference)} itself returns NaN at {where}; nothing can be compared "
                "with it.",
                "Give --data, if only random samples make it, as by a mask or a logarithm; or "
                "look for a division by zero (torch.ao's fused convolutions divide by γ).",
            )


def positions_db(expected: Array, actual: Array) -> list[float]:
    """SQNR of each position of the first dimension; of the whole if it has no dimension."""
    if expected.ndim == 0:
        return [difference(expected, actual).sqnr_db]
    return [difference(expected[at], actual[at]).sqnr_db for at in range(expected.shape[0])]


def least_of(decibels: Sequence[float]) -> float:
    """The least of all, the first of equal ones; NaN is further off than any number."""
    return min(decibels, key=lambda db: -math.inf if math.isnan(db) else db, default=math.inf)
