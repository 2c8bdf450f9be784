"""What a search knows of a graph, and how it builds and measures engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trtqat.search.speed.forms import Form
from trtqat.search.speed.region_costs import Assignment


@dataclass(frozen=True)
class SearchRegion:
    """What the search knows of a region.

    Attributes:
        kind: The same for regions that compute the same with other weights.
        share: Of the arithmetic, from 0 to 1.
        is_quantized: Whether it has pairs: another region has but one state.
    """

    kind: str
    share: float
    is_quantized: bool


@dataclass(frozen=True)
class Tried:
    """An engine that was built and measured.

    Attributes:
        assignment: Its regions in floating point.
        time_ms: Median GPU compute time.
        region_ms: Time of those regions that its layers tell, by place.
        form: Of its plan.
    """

    assignment: Assignment
    time_ms: float
    region_ms: Mapping[int, float]
    form: Form = field(default_factory=Form)


class Trials(Protocol):
    """Builds and measures; without a form all engines have the same one."""

    def may_run(self, assignment: Assignment) -> bool:
        """Whether the budget allows it, or its figures are there already."""

    def run(self, assignment: Assignment) -> Tried | None:
        """Builds and measures an assignment; None if TensorRT does not build it."""

    def is_faster(self, one: Tried, other: Tried) -> bool:
        """Whether one is faster than the other, measured in turns, beyond the interval."""


class FormTrials(Trials, Protocol):
    """Builds and measures in forms."""

    def may_run(self, assignment: Assignment, form: Form | None = None) -> bool:
        """Whether the budget allows it, or its figures are there already."""

    def run(self, assignment: Assignment, form: Form | None = None) -> Tried | None:
        """Builds and measures an assignment in a form; None if TensorRT does not build it."""
