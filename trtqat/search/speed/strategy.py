"""Which regions are INT8 in the fastest engine: a search that builds few engines.

0. **Repairs**, where exact ones move or merge pairs: everything in INT8 is built as exported and
   repaired. The search is of the repaired graph if that is faster.
1. **Both ends**: everything in INT8, everything in floating point. Often one of them is the answer.
2. **By the costs of regions**, where TensorRT tells the times of their layers: the assignment that
   is the cheapest by all that was seen is built. It shows what its conversions cost, and so changes
   what is the cheapest. This goes on until the cheapest one is one that was built. Regions that
   tell nothing stay as any of the engines had them: its whole time says what they cost together.
3. **By kinds of regions**, where it does not (a compiled subgraph is one black box): from the best
   so far, all regions of a kind change sides, the kind with most arithmetic first; then pairs of
   kinds, as a border between two kinds may cost more than either gains.
4. **The plan that is handed out** takes every batch that was asked for, where engines were measured
   with a profile for the measured batches alone. Its forms are built: the profiles as asked for,
   and beside them one for each measured batch. Where that costs, both ends are built in that form.
5. **Levers**, on that plan alone: FP16 left out, the highest optimization level, each if faster.

What is measured decides, not what is expected: the best one changes only for an engine that was
faster in turns, beyond the interval. So the answer is never slower than both ends.

Step 2 is a search on a learned model of costs (Chen et al., "Learning to Optimize Tensor Programs",
NeurIPS 2018); here the model is a sum over regions, and exact but for what was never seen.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from trtqat.search.speed.forms import Form, Lever
from trtqat.search.speed.region_costs import Assignment, RegionCosts
from trtqat.search.speed.trials import FormTrials, SearchRegion, Trials, Tried

_LOG = logging.getLogger(__name__)
# An assignment that is expected to gain less than that of the best time is not worth a build.
_LEAST_GAIN = 0.003


def choose_graph(exported: Form, repaired: Form, trials: FormTrials) -> Form | None:
    """Which graph is searched: as it was exported, unless everything in INT8 is faster repaired.

    Args:
        exported: The form of engines of the one.
        repaired: Of the other.
        trials: Builds and measures; None comes back if its budget forbids it.
    """
    one = trials.run(frozenset(), exported)
    if not trials.may_run(frozenset(), repaired):
        return None
    other = trials.run(frozenset(), repaired)
    if one is None or other is None:
        return exported if other is None else repaired
    return repaired if trials.is_faster(other, one) else exported


@dataclass(frozen=True)
class Found:
    """What the search came to.

    Attributes:
        best: The fastest that was measured.
        ends: Everything in INT8, and everything in floating point, as far as they were built.
        tried: All, in their order.
        is_complete: Whether the search ended by itself, not by its budget.
        promised_gain: Which part of the best one's time the costs of regions promised for what the
            budget left out first; None if nothing was promised, or left out.
    """

    best: Tried
    ends: tuple[Tried, ...]
    tried: tuple[Tried, ...]
    is_complete: bool
    promised_gain: float | None = None


def search(regions: Sequence[SearchRegion], trials: Trials) -> Found | None:
    """Searches for the fastest assignment.

    Args:
        regions: In the order of the graph.
        trials: Builds and measures; its budget ends the search.

    Returns:
        None if neither end could be built.
    """
    state = _Search(regions, trials)
    ends = [state.run(frozenset()), state.run(state.all_float)]
    built = tuple(each for each in ends if each is not None)
    if not built:
        return None
    is_complete, promised = True, None
    for assignment in state.steps():
        if not trials.may_run(assignment):
            is_complete, promised = False, state.promised.get(assignment)
            break
        state.run(assignment)
    state.check_best()
    assert state.best is not None
    return Found(state.best, built, tuple(state.tried.values()), is_complete, promised)


@dataclass(frozen=True)
class Finished:
    """The plan that is handed out.

    Attributes:
        best: The fastest that takes every batch that was asked for.
        is_complete: Whether all of it was tried, as far as it mattered.
    """

    best: Tried
    is_complete: bool


def choose_form(
    answer: Tried,
    ends: Sequence[Tried],
    forms: Sequence[Form],
    trials: FormTrials,
    is_accurate: Callable[[Tried], bool] = lambda tried: True,
) -> Finished | None:
    """Finds the form of the plan that is handed out.

    Args:
        answer: The fastest of the searched form.
        ends: Everything in INT8, and everything in floating point, in that form.
        forms: Those that take every batch, the one to prefer among equals first; none if the
            searched one does.
        trials: Builds and measures; the last form is built whatever the budget says, as a plan is
            to be handed out.
        is_accurate: Whether an engine may be the answer.

    Returns:
        None if none is built.
    """
    if not forms:
        return Finished(answer, is_complete=True)
    state = _Finish(trials, is_accurate)
    best = state.in_form(answer.assignment, forms)
    if best is None:
        # TensorRT may build another graph, or with other kernels the accuracy was lost.
        others = (state.in_form(each.assignment, forms) for each in reversed(ends))
        best = next((each for each in others if each is not None), None)
    elif trials.is_faster(answer, best):
        best = state.best_of(best, [each.assignment for each in ends], best.form)
    return None if best is None else Finished(best, state.is_complete)


def pull_levers(
    best: Tried,
    levers: Sequence[Lever],
    trials: FormTrials,
    is_accurate: Callable[[Tried], bool] = lambda tried: True,
) -> Finished:
    """Tries what else may make a plan faster.

    Args:
        best: The plan that would be handed out.
        levers: One after the other; what is kept of one stays for the next.
        trials: Builds and measures.
        is_accurate: Whether an engine may be the answer.
    """
    state = _Finish(trials, is_accurate)
    for lever in levers:
        form = lever(best.assignment, best.form)
        if form is not None:
            best = state.best_of(best, [best.assignment], form)
    return Finished(best, state.is_complete)


class _Finish:
    """Builds in forms, and whether the budget has left anything out."""

    def __init__(self, trials: FormTrials, is_accurate: Callable[[Tried], bool]) -> None:
        self._trials = trials
        self._is_accurate = is_accurate
        self.is_complete = True

    def in_form(self, assignment: Assignment, forms: Sequence[Form]) -> Tried | None:
        """The fastest of the forms of an engine, of equals the first; None if none is built."""
        best: Tried | None = None
        for form in reversed(forms):
            # A plan is to be handed out, whatever the budget says.
            tried = self._run(assignment, form, is_needed=best is None)
            if tried is not None and (best is None or not self._trials.is_faster(best, tried)):
                best = tried
        return best

    def best_of(self, best: Tried, assignments: Sequence[Assignment], form: Form) -> Tried:
        """The best so far, or one that is faster in a form."""
        for assignment in assignments:
            if (assignment, form) != (best.assignment, best.form):
                tried = self._run(assignment, form)
                if tried is not None and self._trials.is_faster(tried, best):
                    best = tried
        return best

    def _run(self, assignment: Assignment, form: Form, *, is_needed: bool = False) -> Tried | None:
        """Builds and measures; None if the budget, TensorRT or the accuracy forbids it."""
        if not is_needed and not self._trials.may_run(assignment, form):
            self.is_complete = False
            return None
        tried = self._trials.run(assignment, form)
        return tried if tried is not None and self._is_accurate(tried) else None


class _Search:
    """What was tried, and the best of it."""

    def __init__(self, regions: Sequence[SearchRegion], trials: Trials) -> None:
        self._regions = regions
        self._trials = trials
        self._costs = RegionCosts([region.kind for region in regions])
        self._asked: set[Assignment] = set()
        self.promised: dict[Assignment, float] = {}
        self.tried: dict[Assignment, Tried] = {}
        self.best: Tried | None = None
        self.all_float = frozenset(
            place for place, region in enumerate(regions) if region.is_quantized
        )

    def run(self, assignment: Assignment) -> Tried | None:
        """Tries one that was not tried, and keeps it if it is faster than the best."""
        self._asked.add(assignment)
        tried = self._trials.run(assignment)
        if tried is None:
            return None
        self.tried[assignment] = tried
        self._costs.add(assignment, tried.region_ms)
        if self.best is None or self._trials.is_faster(tried, self.best):
            self.best = tried
        return tried

    def check_best(self) -> None:
        """Compares the best one with all that had a shorter time by itself.

        To be faster is no order where it is measured: one may be faster than two that were equal.
        """
        for tried in sorted(self.tried.values(), key=lambda each: each.time_ms):
            if self.best is None or tried.time_ms >= self.best.time_ms:
                return
            if self._trials.is_faster(tried, self.best):
                self.best = tried

    def steps(self) -> Iterator[Assignment]:
        """What to try next, until nothing is worth it; it is tried before the next is asked for."""
        yield from self._by_costs()
        yield from self._by_kinds(self._hidden())

    def _hidden(self) -> list[int]:
        """The regions of which it is not known what they cost in either state."""
        return [place for place in sorted(self.all_float) if not self._costs.is_known(place)]

    def _by_costs(self) -> Iterator[Assignment]:
        while (found := self._most_promising()) is not None:
            assignment, gain = found
            self.promised[assignment] = gain
            regions = "1 region" if len(assignment) == 1 else f"{len(assignment)} regions"
            _LOG.info("%s in floating point should gain %.1f %%.", regions, 100 * gain)
            yield assignment

    def _most_promising(self) -> tuple[Assignment, float] | None:
        """What the costs of regions say is the fastest, and by which part of the best one's time.

        What is hidden stays as one of the engines had it. Whether all of that is better in INT8
        or in floating point is known from the whole time of that engine, not of the best one alone:
        that may be ahead by regions whose costs are told.
        """
        hidden = self._hidden()
        if self.best is None or len(hidden) == len(self.all_float):
            return None
        expected: dict[Assignment, float] = {}
        others = (each for each in self.tried.values() if each is not self.best)
        for tried in (self.best, *others):
            fixed = {
                place: place in tried.assignment
                for place in range(len(self._regions))
                if place in hidden or place not in self.all_float
            }
            assignment, sum_ms = self._costs.cheapest(fixed, hidden)
            # Not what its own layers told: another engine may tell more of its regions.
            gained_ms = self._costs.sum_ms(tried.assignment, hidden) - sum_ms
            if assignment not in self._asked:
                expected.setdefault(assignment, tried.time_ms - gained_ms)
        if not expected:
            return None
        assignment = min(expected, key=lambda each: expected[each])
        gain = 1 - expected[assignment] / self.best.time_ms
        return None if gain < _LEAST_GAIN else (assignment, gain)

    def _by_kinds(self, places: Sequence[int]) -> Iterator[Assignment]:
        kinds: dict[str, set[int]] = {}
        for place in places:
            kinds.setdefault(self._regions[place].kind, set()).add(place)
        groups = sorted(
            map(frozenset, kinds.values()),
            key=lambda group: -sum(self._regions[place].share for place in group),
        )
        queue = _alone_and_in_pairs(groups)
        while self.best is not None and (group := next(queue, None)) is not None:
            before = self.best
            assignment = before.assignment ^ group
            if assignment in self._asked:
                continue
            yield assignment
            if self.best is not before:
                # From another best all are worth another look, but for what was asked already.
                queue = _alone_and_in_pairs(groups)


def _alone_and_in_pairs(groups: Sequence[Assignment]) -> Iterator[Assignment]:
    yield from groups
    for one, other in itertools.combinations(groups, 2):
        yield one | other
