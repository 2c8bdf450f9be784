"""A metric of the user's: ``file.py:function``, or a class for what a function cannot say.

A function gets the outputs of a batch by name, and its labels. It returns a number for each sample
``(N,)``, whose mean is the value, or two ``(N, 2)``, whose sums are divided by each other.

A class has a method ``statistics(outputs, labels)`` that returns ``(N, k)`` and a method
``value(sums)`` that makes a number of the sums ``(k,)``. Function and class may have the attributes
``unit`` and ``higher_is_better``. A class may be a ``Metric`` itself.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from trtqat.data.labels import Labels
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.decoding import REMEDY, own_copy
from trtqat.evaluation.metrics.metric import Metric, PerSample, SumMetric, hashes, ratios
from trtqat.pointers import load_pointer
from trtqat.tensors import Array, Arrays
from trtqat.user_code import returned, user_code

_RETURN = "Return an array with a number for each sample, or with a numerator and a denominator."


class _Pointed:
    """Called by what points to it."""

    pointer: str

    @property
    def name(self) -> str:
        """The function's or class's own name."""
        return self.pointer.rpartition(":")[2]

    @property
    def spec(self) -> str:
        """The pointer, without the folder that the file is in."""
        return self.pointer.replace("\\", "/").rpartition("/")[2]

    @property
    def files_sha256(self) -> tuple[str, ...]:
        """Of the file that the pointer leads into."""
        return hashes([self.pointer])


@dataclass(frozen=True, kw_only=True)
class UserMetric(_Pointed, SumMetric):
    """What a function or a class of the user's computes.

    Attributes:
        pointer: What it is called: ``file.py:function``.
        function: Statistics of a batch, ``(N,)`` or ``(N, k)``.
        of_sums: A number of the sums ``(k,)``; None divides the first by the second.
        unit: As the user has it; nothing unless it is said.
        higher_is_better: As the user has it; so unless it is said.
    """

    unit: str = ""
    higher_is_better: bool = True
    pointer: str
    function: Callable[[Arrays, Labels], Any]
    of_sums: Callable[[Array], Any] | None = None

    @property
    def reads_first(self) -> bool:
        """No: it gets all outputs by name."""
        return False

    def statistics(self, outputs: Arrays, labels: Labels) -> Array:
        """What the function returned, with 1 behind it where it is a number alone."""
        count = len(labels)
        with user_code(self.pointer, DataError, REMEDY, when=" when it measured a batch"):
            given = self.function(own_copy(outputs), own_copy(labels))
            found = None if given is None else np.asarray(given)
        if found is None or found.dtype.kind not in "biuf" or found.ndim not in (1, 2):
            what = returned(given) if found is None else f"{found.dtype} of shape {found.shape}"
            raise DataError(f"{self.pointer} returned {what} for {count} samples.", _RETURN)
        is_fraction = found.ndim == 1 or found.shape[1] == 2
        if len(found) != count or (self.of_sums is None and not is_fraction):
            raise DataError(
                f"{self.pointer} returned the shape {found.shape} for {count} samples.", _RETURN
            )
        if found.ndim == 1:
            found = found[:, None]
        alone = found.shape[1] == 1 and self.of_sums is None
        return np.concatenate([found, np.ones((count, 1))], axis=1) if alone else found

    def value(self, sums: Array) -> Array:
        """As the user has it."""
        if self.of_sums is None:
            return ratios(sums[:, 0], sums[:, 1])
        values = []
        with user_code(self.pointer, DataError, REMEDY, when=" when it was asked for its value"):
            values = [float(self.of_sums(each)) for each in sums]
        return np.array(values)


@dataclass(frozen=True, kw_only=True)
class ForeignMetric(_Pointed, Metric):
    """A ``Metric`` of the user's: whatever it raises is a sentence.

    Attributes:
        pointer: What it is called: ``file.py:Class``.
        own: What computes.
    """

    unit: str = "%"
    higher_is_better: bool = True
    resamples: int = 1000
    is_optimistic: bool = False
    bounds: tuple[float, float] = (-math.inf, math.inf)
    pointer: str
    own: Metric

    @property
    def reads_first(self) -> bool:
        """As the user has it."""
        return self.own.reads_first

    def per_sample(self, outputs: Arrays, labels: Labels) -> PerSample:
        """As the user has it."""
        with user_code(self.pointer, DataError, REMEDY, when=" when it measured a batch"):
            found = self.own.per_sample(own_copy(outputs), own_copy(labels))
            is_sound = isinstance(found, PerSample) and len(found) == len(labels)
            if is_sound:
                # A copy: outputs may lie in memory that the next batch is written to.
                kept = PerSample(np.array(found.rows, np.float64), np.array(found.lengths))
        if not is_sound:
            raise DataError(
                f"{self.pointer} returned {returned(found)} for {len(labels)} samples.",
                "Return a PerSample of all of them.",
            )
        return kept

    def values(self, found: PerSample, weights: Array) -> Array:
        """As the user has it."""
        with user_code(self.pointer, DataError, REMEDY, when=" when it was asked for its value"):
            values = np.asarray(self.own.values(found, weights), np.float64)
        if values.shape != (len(weights),):
            raise DataError(
                f"{self.pointer} returned values of the shape {values.shape} for {len(weights)} "
                "resamples.",
                "Return one for each row of the weights.",
            )
        return values


def load_metric(pointer: str) -> Metric:
    """Imports a metric of the user's.

    Args:
        pointer: ``file.py:function``, ``file.py:Class``, or the same with ``pkg.module``.

    Raises:
        UsageError: It leads nowhere, or to something else.
    """
    target = load_pointer(pointer)
    # A function of a file comes wrapped; its attributes are those of what is inside.
    own: Any = inspect.unwrap(target)
    if not isinstance(own, type):
        return user_metric(pointer, target, own)
    with user_code(pointer, UsageError, "It is made without arguments.", when=" when it was made"):
        made: Any = target()
    if isinstance(made, Metric):
        return ForeignMetric(
            pointer=pointer,
            own=made,
            unit=made.unit,
            higher_is_better=made.higher_is_better,
            resamples=made.resamples,
            is_optimistic=made.is_optimistic,
            bounds=made.bounds,
        )
    if not hasattr(made, "statistics") or not hasattr(made, "value"):
        raise UsageError(
            f"{pointer} is no metric: it has no method statistics or no method value.",
            "Give it statistics(outputs, labels) and value(sums), or point to a function.",
        )
    return user_metric(pointer, made.statistics, made, made.value)


def user_metric(
    pointer: str,
    function: Callable[[Arrays, Labels], Any],
    own: object,
    of_sums: Callable[[Array], Any] | None = None,
) -> UserMetric:
    """A metric of what was imported, or given in Python.

    Args:
        pointer: What it is called.
        function: Statistics of a batch.
        own: What has ``unit`` and ``higher_is_better``, if anything has.
        of_sums: A number of the sums.

    Raises:
        UsageError: One of the two attributes is none.
    """
    unit = getattr(own, "unit", "")
    higher_is_better = getattr(own, "higher_is_better", True)
    if not isinstance(unit, str) or not isinstance(higher_is_better, bool):
        raise UsageError(
            f"{pointer} has the unit {unit!r} and higher_is_better {higher_is_better!r}.",
            "Make them a text and True or False.",
        )
    return UserMetric(
        pointer=pointer,
        function=function,
        of_sums=of_sums,
        unit=unit,
        higher_is_better=higher_is_better,
    )
