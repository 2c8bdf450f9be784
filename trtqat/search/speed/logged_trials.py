"""The trials of a search: nothing is done twice.

A build takes minutes and a comparison seconds: what stands in the log is taken from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from trtqat.errors import BuildError, InferenceError, first_line
from trtqat.evaluation.intervals import Ratio
from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.points import Point, read_point
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.several_batches import inverse, mean_ratio, mean_regions, mean_time
from trtqat.search.speed.trials import Tried
from trtqat.search.speed.tune_log import Comparison, Count, Measured, Try, TuneLog, write_log
from trtqat.search.speed.within_target import Score

_LOG = logging.getLogger(__name__)


class Workshop(Protocol):
    """Builds engines and measures them, as often as it is asked."""

    def make(self, candidate: Candidate) -> Measured:
        """Builds and measures an engine.

        Raises:
            BuildError: TensorRT does not build it.
            InferenceError: It cannot be run.
        """

    def compare(self, one: Candidate, other: Candidate) -> Mapping[Point, Ratio]:
        """How many times one engine is as fast as another at each batch, measured in turns."""

    def count(self, candidate: Candidate) -> Score:
        """Counts the right answers of an engine on all samples of the data."""


@dataclass
class LoggedTrials:
    """The trials of a search, on a workshop and a log.

    Attributes:
        workshop: Does what is not in the log.
        path: Of the log.
        log: What was done.
        budget_s: What builds and comparisons may take, those of the log among them. What has begun
            is finished.
        most_builds: How many engines may be built.
        searched: The form of engines that are asked for without one; of either graph.
        reserved: Builds that the search of regions leaves to the final forms, and the time that
            the longest build took for each of them.
        clock: Seconds that never go back.
    """

    workshop: Workshop
    path: Path
    log: TuneLog
    budget_s: float
    most_builds: int
    searched: Form = field(default_factory=Form)
    reserved: int = 0
    clock: Callable[[], float] = field(default=time.monotonic)

    def may_run(self, assignment: Assignment, form: Form | None = None) -> bool:
        """Whether the budget allows it, or it stands in the log: what was done is no cost."""
        candidate = Candidate.of(assignment, form or self.searched)
        is_searched = candidate.form.profiles == self.searched.profiles
        reserved = self.reserved if is_searched else 0
        return not self._is_over(reserved) or self.known(candidate) is not None

    def run(self, assignment: Assignment, form: Form | None = None) -> Tried | None:
        """Builds and measures an assignment, or reads what it showed.

        Args:
            assignment: Its regions in floating point.
            form: Of the plan; None is the searched one.

        Raises:
            UsageError: The log cannot be written.
        """
        candidate = Candidate.of(assignment, form or self.searched)
        known = self.known(candidate)
        if known is None:
            known = self._make(candidate)
            self._write(replace(self.log, tries=(*self.log.tries, known)))
        if known.time_ms is None:
            return None
        reference = next(each for each in self.log.tries if each.time_ms is not None)
        region_ms = mean_regions(known.places_ms, reference.times_ms)
        return Tried(assignment, known.time_ms, region_ms, candidate.form)

    def is_faster(self, one: Tried, other: Tried) -> bool:
        """Whether one is faster than another beyond the interval of their ratio.

        Raises:
            UsageError: The log cannot be written.
        """
        return self.ratio(one, other).interval.low > 1

    def ratio(self, one: Tried, other: Tried) -> Ratio:
        """How many times one is as fast as another, over all measured batches.

        Raises:
            UsageError: The log cannot be written.
        """
        return mean_ratio(self.ratios(one, other))

    def ratios(self, one: Tried, other: Tried) -> dict[Point, Ratio]:
        """How many times one is as fast as another, by batch.

        Raises:
            UsageError: The log cannot be written.
        """
        names = _candidate(one), _candidate(other)
        for each in self.log.comparisons:
            if (each.one, each.other) == names:
                return {read_point(batch): ratio for batch, ratio in each.ratios.items()}
            if (each.other, each.one) == names:
                return {read_point(batch): inverse(ratio) for batch, ratio in each.ratios.items()}
        begin = self.clock()
        ratios = self.workshop.compare(*names)
        named = {str(batch): ratio for batch, ratio in ratios.items()}
        made = Comparison(*names, named, round(self.clock() - begin, 3))
        self._write(replace(self.log, comparisons=(*self.log.comparisons, made)))
        return dict(ratios)

    def count(self, tried: Tried) -> Score:
        """Right answers of an engine on all samples of the data.

        Raises:
            DataError: The data has no labels, or does not fit.
            TrtqatError: The engine cannot be run.
        """
        candidate = _candidate(tried)
        known = next((each for each in self.log.counts if each.candidate == candidate), None)
        if known is None:
            begin = self.clock()
            counted = self.workshop.count(candidate)
            known = Count(candidate, counted, round(self.clock() - begin, 3))
            self._write(replace(self.log, counts=(*self.log.counts, known)))
        return known.counted

    def known(self, candidate: Candidate) -> Try | None:
        """The try of an engine; None if there was none."""
        return next((each for each in self.log.tries if each.candidate == candidate), None)

    def try_of(self, tried: Tried) -> Try:
        """The try of an engine that was built."""
        found = self.known(_candidate(tried))
        assert found is not None
        return found

    @property
    def is_out_of_builds(self) -> bool:
        """Whether no more engines of the search may be built, whatever time is left."""
        return self._has_no_build(self.reserved)

    def _is_over(self, reserved: int) -> bool:
        kept_s = reserved * max((each.seconds for each in self.log.tries), default=0.0)
        is_late = self.log.seconds + kept_s >= self.budget_s
        return is_late or self._has_no_build(reserved)

    def _has_no_build(self, reserved: int) -> bool:
        return len(self.log.tries) + reserved >= self.most_builds

    def _make(self, candidate: Candidate) -> Try:
        begin = self.clock()
        try:
            measured = self.workshop.make(candidate)
        except (BuildError, InferenceError) as error:
            # One that cannot be run, as without the memory for it, is no answer either; to try it
            # again after an interruption would end there again.
            _LOG.warning("TensorRT does not build or run it: %s", first_line(error))
            seconds = round(self.clock() - begin, 3)
            return Try(*_parts(candidate), None, {}, {}, None, str(error), seconds)
        times = {str(batch): each for batch, each in measured.times.items()}
        region_ms = {
            str(batch): {str(place): time_ms for place, time_ms in told.items()}
            for batch, told in measured.region_ms.items()
        }
        mean_ms = mean_time({batch: each.median_ms for batch, each in measured.times.items()})
        seconds = round(self.clock() - begin, 3)
        return Try(*_parts(candidate), mean_ms, times, region_ms, measured.int8, "", seconds)

    def _write(self, log: TuneLog) -> None:
        self.log = log
        write_log(self.path, log)


def _candidate(tried: Tried) -> Candidate:
    return Candidate.of(tried.assignment, tried.form)


def _parts(candidate: Candidate) -> tuple[tuple[int, ...], Form]:
    return candidate.floats, candidate.form
