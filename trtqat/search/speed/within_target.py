"""The fastest of the tried engines whose accuracy is within a target.

Accuracy is compared with the engine in floating point throughout, which is within any target. It is
counted exactly, or measured by a metric, on all samples; as that takes its time, engines are
counted from the fastest on, until one is within.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from trtqat.evaluation.intervals import difference_of, is_allowed
from trtqat.search.speed.strategy import Found
from trtqat.search.speed.trials import Tried
from trtqat.typed_json import Unbounded


@dataclass(frozen=True)
class Counted:
    """Right answers on all samples.

    Attributes:
        right: Samples whose label has the largest logit.
        count: Samples; at least one.
    """

    right: int
    count: int

    @property
    def percent(self) -> float:
        """Top-1 accuracy in percent."""
        return 100 * self.right / self.count

    @property
    def metric(self) -> str:
        """What it is called, as ``Valued`` has it; so are the next two."""
        return "top-1"

    @property
    def unit(self) -> str:
        """Of the value."""
        return "%"

    @property
    def value(self) -> float:
        """Top-1 accuracy."""
        return self.percent


@dataclass(frozen=True)
class Valued:
    """A metric on all samples.

    Attributes:
        metric: What it is called.
        value: NaN where it is no number.
        unit: As ``Metric`` has it.
        higher_is_better: Whether a worse engine has a lower value.
    """

    metric: str
    value: Unbounded
    unit: str
    higher_is_better: bool

    def drop_from(self, reference: Valued) -> float:
        """How much worse it is than another one.

        Args:
            reference: The same metric of another engine.
        """
        higher = self.higher_is_better
        difference = float(difference_of(self.value, reference.value, higher_is_better=higher))
        return -difference if higher else difference


Score: TypeAlias = Counted | Valued


def fastest_within(
    found: Found,
    plain: Tried,
    max_drop_points: float,
    count: Callable[[Tried], Score],
) -> Tried:
    """Chooses the fastest engine whose accuracy has not dropped by more than the target.

    Args:
        found: What was tried, and which of it is the fastest.
        plain: The engine in floating point throughout, which is the answer if none is before it.
        max_drop_points: What the accuracy may drop, in percentage points of all samples; of a
            metric how much worse it may be, in its own unit.
        count: Counts or measures an engine, however often it is asked.

    Returns:
        ``plain``, or one that is faster.
    """
    reference = count(plain)
    for tried in _from_fastest(found, plain):
        if is_within(count(tried), reference, max_drop_points):
            return tried
    return plain


def is_within(counted: Score, reference: Score, max_drop_points: float) -> bool:
    """Whether accuracy has not dropped by more than the target.

    Args:
        counted: The count, or the metric; one that is no number is not within.
        reference: That of floating point throughout, on the same samples.
        max_drop_points: As for ``fastest_within``.
    """
    if isinstance(counted, Valued) or isinstance(reference, Valued):
        assert isinstance(counted, Valued)
        assert isinstance(reference, Valued)
        return is_allowed(counted.drop_from(reference), max_drop_points)
    # As it was written: 0.29 of 100 points of 10,000 samples are 29.
    allowed = Fraction(str(max_drop_points)) / 100 * reference.count
    return reference.right - counted.right <= allowed


def _from_fastest(found: Found, plain: Tried) -> Sequence[Tried]:
    """Those that are faster than the one in floating point; none if that is the fastest.

    The fastest one was found in turns, so it is the first, whatever its time by itself is.
    """
    if found.best.assignment == plain.assignment:
        return ()
    others = [
        each
        for each in found.tried
        if each.time_ms < plain.time_ms
        and each.assignment not in (found.best.assignment, plain.assignment)
    ]
    return (found.best, *sorted(others, key=lambda each: each.time_ms))
