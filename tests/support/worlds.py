"""Worlds whose costs are known: engines of regions in a line, for the search to be tried on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.trials import SearchRegion, Tried

# The interval of a measured ratio: what is no more than that faster is not faster.
INTERVAL = 0.005


@dataclass
class World:
    """Engines of regions in a line, as a GPU might run them.

    Attributes:
        int8_ms: What each region costs in INT8.
        float_ms: In floating point.
        border_ms: What a change of type between two neighbours costs, paid in the one behind.
        kinds: Of the regions; each its own if empty.
        hidden: Regions of which no layer tells a time.
        budget: Engines that may be built.
        refused: Assignments that do not build.
    """

    int8_ms: Sequence[float]
    float_ms: Sequence[float]
    border_ms: float = 0.0
    kinds: Sequence[str] = ()
    hidden: frozenset[int] = frozenset()
    budget: int = 100
    refused: frozenset[Assignment] = frozenset()
    built: list[Assignment] = field(default_factory=list)

    def may_run(self, assignment: Assignment) -> bool:
        return len(self.built) < self.budget

    def regions(self) -> list[SearchRegion]:
        kinds = self.kinds or [str(place) for place in range(len(self.int8_ms))]
        return [SearchRegion(kind, 1 / len(kinds), True) for kind in kinds]

    def region_ms(self, assignment: Assignment) -> list[float]:
        states = [place in assignment for place in range(len(self.int8_ms))]
        costs = [
            plain if is_float else int8
            for is_float, int8, plain in zip(states, self.int8_ms, self.float_ms, strict=True)
        ]
        for place, (one, other) in enumerate(itertools.pairwise(states), 1):
            costs[place] += self.border_ms * (one is not other)
        return costs

    def time_ms(self, assignment: Assignment) -> float:
        return sum(self.region_ms(assignment))

    def run(self, assignment: Assignment) -> Tried | None:
        assert assignment not in self.built
        self.built.append(assignment)
        if assignment in self.refused:
            return None
        costs = dict(enumerate(self.region_ms(assignment)))
        told = {place: cost for place, cost in costs.items() if place not in self.hidden}
        return Tried(assignment, self.time_ms(assignment), told)

    def is_faster(self, one: Tried, other: Tried) -> bool:
        return one.time_ms < other.time_ms * (1 - INTERVAL)

    def best_of_all(self) -> float:
        places = range(len(self.int8_ms))
        return min(
            self.time_ms(frozenset(chosen))
            for size in range(len(places) + 1)
            for chosen in itertools.combinations(places, size)
        )
