"""What each region was seen to cost, and which assignment that makes the cheapest.

A region costs what it runs in, and what its neighbours run in: between INT8 and floating point
stands a conversion, which TensorRT puts into a kernel of either side or between them. So a cost is
kept by region, its own state, and those of its neighbours. What was not seen yet is taken from
regions of the same kind, then from other neighbours, as if a conversion cost nothing: an assignment
that looks too good is tried, and known then. The cheapest assignment of a line of such costs is
found exactly, by dynamic programming over its states (Viterbi, IEEE Trans. Inf. Theory 13, 1967).
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

# The regions, by their places, that are in floating point; all others are INT8.
Assignment = frozenset[int]

_INT8, _FLOAT = False, True
_STATES = (_INT8, _FLOAT)
# State of a region, and of the ones before and behind; None at the ends of the line.
_Context = tuple[bool, bool | None, bool | None]


class RegionCosts:
    """Times of regions in the assignments that were measured."""

    def __init__(self, kinds: Sequence[str]) -> None:
        """Knows nothing yet.

        Args:
            kinds: Of the regions, in the order of the graph: regions of one kind cost the same in
                the same state beside the same neighbours, as far as nothing else was seen.
        """
        self._kinds = kinds
        self._seen: dict[tuple[int, _Context], list[float]] = defaultdict(list)
        self._by_state: dict[tuple[int, bool], list[float]] = defaultdict(list)
        self._by_kind: dict[tuple[str, _Context], list[float]] = defaultdict(list)

    def add(self, assignment: Assignment, times_ms: Mapping[int, float]) -> None:
        """Takes in a measured engine.

        Args:
            assignment: Its regions in floating point.
            times_ms: Time of each region that its layers tell, by place.
        """
        for place, time_ms in times_ms.items():
            context = self._context(place, assignment)
            self._seen[place, context].append(time_ms)
            self._by_state[place, context[0]].append(time_ms)
            self._by_kind[self._kinds[place], context].append(time_ms)

    def is_known(self, place: int) -> bool:
        """Whether a region was seen in INT8 and in floating point."""
        return all((place, state) in self._by_state for state in _STATES)

    def cheapest(
        self, fixed: Mapping[int, bool], hidden: Collection[int]
    ) -> tuple[Assignment, float]:
        """The assignment with the least sum of costs, and that sum in ms.

        Args:
            fixed: Regions whose state is given, as True for floating point: those that were not
                seen in both. Those without pairs cost what their neighbours make of them.
            hidden: Regions that cost nothing here, as nothing tells.
        """
        count = len(self._kinds)
        options = [(fixed[place],) if place in fixed else _STATES for place in range(count)]
        # By the states of a region and the one before it: least sum up to that one, and the way.
        best: dict[tuple[bool | None, bool], tuple[float, tuple[bool, ...]]] = {
            (None, state): (0.0, (state,)) for state in options[0]
        }
        for place in range(1, count + 1):
            following = options[place] if place < count else (None,)
            longer: dict[tuple[bool | None, bool], tuple[float, tuple[bool, ...]]] = {}
            ends: list[tuple[float, tuple[bool, ...]]] = []
            for ((before, state), (sum_ms, way)), behind in itertools.product(
                best.items(), following
            ):
                total = sum_ms + self._cost(place - 1, (state, before, behind), hidden)
                if behind is None:
                    ends.append((total, way))
                elif (state, behind) not in longer or total < longer[state, behind][0]:
                    longer[state, behind] = (total, (*way, behind))
            best = longer
        total, way = min(ends)
        return frozenset(place for place, state in enumerate(way) if state is _FLOAT), total

    def sum_ms(self, assignment: Assignment, hidden: Collection[int]) -> float:
        """What the regions of an assignment cost together, in ms, by all that was seen.

        Args:
            assignment: Its regions in floating point.
            hidden: Regions that cost nothing here.
        """
        return sum(
            self._cost(place, self._context(place, assignment), hidden)
            for place in range(len(self._kinds))
        )

    def _context(self, place: int, assignment: Assignment) -> _Context:
        before = None if place == 0 else place - 1 in assignment
        behind = None if place == len(self._kinds) - 1 else place + 1 in assignment
        return place in assignment, before, behind

    def _cost(self, place: int, context: _Context, hidden: Collection[int]) -> float:
        if place in hidden:
            return 0.0
        seen = self._seen.get((place, context)) or self._by_kind.get((self._kinds[place], context))
        if seen:
            return statistics.median(seen)
        return min(self._by_state.get((place, context[0]), ()), default=0.0)
