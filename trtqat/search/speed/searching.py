"""A search whose folder is open: which graph, which regions, and the plan that is handed out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from trtqat.errors import BuildError
from trtqat.graph.lenses.regions import Region
from trtqat.search.speed.checking import TuneHost
from trtqat.search.speed.engines import EngineWorkshop
from trtqat.search.speed.forms import Batches, Candidate, levers_of
from trtqat.search.speed.logged_trials import LoggedTrials
from trtqat.search.speed.options import TuneOptions
from trtqat.search.speed.strategy import Found, choose_form, choose_graph, pull_levers, search
from trtqat.search.speed.trials import SearchRegion, Tried
from trtqat.search.speed.within_target import fastest_within, is_within


@dataclass
class Searching:
    """A search, step by step.

    Attributes:
        graph: What is tuned.
        output: The graph to write.
        options: How to search.
        batches: What is measured, and what the plan takes.
        host: That builds and measures.
        workshop: Builds and measures.
        trials: Does nothing twice.
        is_complete: Whether the budget has left nothing out so far.
        promised_gain: What the costs of regions promised for what the budget left out, as a part of
            the time; None if nothing.
    """

    graph: Path
    output: Path
    options: TuneOptions
    batches: Batches
    host: TuneHost
    workshop: EngineWorkshop
    trials: LoggedTrials
    is_complete: bool = True
    promised_gain: float | None = None

    @property
    def regions(self) -> tuple[Region, ...]:
        """Of the graph that is searched."""
        return tuple(self.workshop.regions_of(self.trials.searched))

    def search(self) -> Found:
        """Which graph, and which of its regions are INT8.

        Raises:
            BuildError: TensorRT builds neither end.
        """
        self._choose_graph()
        found = search(
            [SearchRegion(each.kind, each.share, each.is_quantized) for each in self.regions],
            self.trials,
        )
        if found is None:
            raise BuildError(
                f"TensorRT builds '{self.graph.name}' neither in INT8 nor in floating point.",
                f"See why in '{self.trials.path}'.",
            )
        self.is_complete &= found.is_complete
        self.promised_gain = found.promised_gain
        return found

    def finish(self, found: Found) -> Tried:
        """The plan that is handed out.

        Raises:
            BuildError: TensorRT builds none.
        """
        answer, is_accurate = self._within_target(found)
        forms = self.batches.final(self.trials.searched)
        formed = choose_form(answer, found.ends, forms, self.trials, is_accurate)
        if formed is None:
            raise BuildError(
                f"TensorRT builds no plan of '{self.graph.name}' that takes every batch.",
                f"See why in '{self.trials.path}', or ask for one batch alone.",
            )
        # Before the levers, which may take what is left of the budget.
        best, today = formed.best, self.today()
        if today is not None and self.trials.is_faster(today, best) and is_accurate(today):
            best = today
        levers = levers_of(
            frozenset(place for place, each in enumerate(self.regions) if each.is_quantized),
            level_is_given=self.options.build.optimization_level is not None,
        )
        pulled = pull_levers(best, levers, self.trials, is_accurate)
        self.is_complete &= formed.is_complete and pulled.is_complete
        return pulled.best

    def today(self) -> Tried | None:
        """INT8 as exported, built as it was asked for: what a plain build makes.

        Returns:
            None if that is the form in which regions are searched, or the budget forbids it.
        """
        forms = self.batches.final(replace(self.trials.searched, is_repaired=False))
        if not forms or not self.trials.may_run(frozenset(), forms[0]):
            return None
        return self.trials.run(frozenset(), forms[0])

    def both_graphs(self) -> tuple[Tried, ...]:
        """Everything in INT8 as exported, and repaired, as far as they were built."""
        forms = [replace(self.trials.searched, is_repaired=each) for each in (False, True)]
        known = [form for form in forms if self.trials.known(Candidate((), form)) is not None]
        tried = [self.trials.run(frozenset(), form) for form in known]
        return tuple(each for each in tried if each is not None)

    def _choose_graph(self) -> None:
        """Searches the repaired graph where that is faster with everything in INT8."""
        if not self.workshop.repaired:
            return
        exported = self.trials.searched
        # Whichever it is, its other end is built as well.
        self.trials.reserved += 1
        chosen = choose_graph(exported, replace(exported, is_repaired=True), self.trials)
        self.trials.reserved -= 1
        self.is_complete &= chosen is not None
        self.trials.searched = chosen or exported

    def _within_target(self, found: Found) -> tuple[Tried, Callable[[Tried], bool]]:
        """The fastest within the accuracy target, and whether another one is."""
        drop = self.options.max_drop_points
        if drop is None:
            return found.best, lambda tried: True
        plain = next((each for each in found.ends if each.assignment), None)
        if plain is None:
            raise BuildError(
                "TensorRT does not build the graph in floating point, so no accuracy can be held.",
                "Leave out --max-accuracy-drop; the reason stands in the log.",
            )
        count, reference = self.trials.count, self.trials.count(plain)
        answer = fastest_within(found, plain, drop, count)
        return (
            answer,
            lambda tried: (
                tried.assignment == plain.assignment or is_within(count(tried), reference, drop)
            ),
        )
