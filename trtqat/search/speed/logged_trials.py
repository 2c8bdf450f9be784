"""Every try of a search in a log, from which an interrupted search goes on.

A build takes minutes and a comparison seconds, so neither is done twice: what stands in the log is
taken from there. The log is written whole after each of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from trtqat.errors import BuildError, InferenceError, first_line
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.files import is_file, read_input, write_atomically
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import Tried
from trtqat.search.speed.within_target import Counted
from trtqat.typed_json import as_fields, json_text, parse_json, read_as

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Measured:
    """What an engine of an assignment showed.

    Attributes:
        time_ms: Median GPU compute time.
        region_ms: Time of the regions that its layers tell, by place.
    """

    time_ms: float
    region_ms: Mapping[int, float]


class Workshop(Protocol):
    """Builds engines and measures them, as often as it is asked."""

    def make(self, assignment: Assignment) -> Measured:
        """Builds and measures the engine of an assignment.

        Raises:
            BuildError: TensorRT does not build it.
            InferenceError: It cannot be run.
        """

    def compare(self, one: Assignment, other: Assignment) -> Ratio:
        """How many times one engine is as fast as another, measured in turns."""

    def count(self, assignment: Assignment) -> Counted:
        """Counts the right answers of an engine on all samples of the data."""


@dataclass(frozen=True)
class Try:
    """A build, and what it showed.

    Attributes:
        floats: Places of the regions in floating point.
        time_ms: Median GPU compute time; None if it was not built or run.
        region_ms: Time of regions, by place.
        refused: Why TensorRT did not build or run it; empty if it did.
        seconds: What building and measuring took.
    """

    floats: tuple[int, ...]
    time_ms: float | None
    region_ms: Mapping[str, float]
    refused: str
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Two engines in turns.

    Attributes:
        one: Places of the regions in floating point of the first.
        other: Those of the second.
        ratio: How many times the first is as fast, with its interval.
        seconds: What that took.
    """

    one: tuple[int, ...]
    other: tuple[int, ...]
    ratio: Ratio
    seconds: float


@dataclass(frozen=True)
class Count:
    """Right answers of an engine.

    Attributes:
        floats: Places of its regions in floating point.
        counted: On all samples of the data.
        seconds: What that took.
    """

    floats: tuple[int, ...]
    counted: Counted
    seconds: float


@dataclass(frozen=True)
class TuneLog:
    """All that a search has done.

    Attributes:
        key: What is the same if and only if the search is: graph, host, options, versions.
        tries: In their order.
        comparisons: In their order.
        counts: In their order.
    """

    key: str
    tries: tuple[Try, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    counts: tuple[Count, ...] = ()

    @property
    def seconds(self) -> float:
        """What all of it took."""
        parts = (self.tries, self.comparisons, self.counts)
        return sum(each.seconds for part in parts for each in part)


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
        clock: Seconds that never go back.
    """

    workshop: Workshop
    path: Path
    log: TuneLog
    budget_s: float
    most_builds: int
    clock: Callable[[], float] = field(default=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent."""
        return self.log.seconds >= self.budget_s or len(self.log.tries) >= self.most_builds

    def may_run(self, assignment: Assignment) -> bool:
        """Whether the budget allows it, or it stands in the log: what was done is no cost."""
        return not self.is_over or self._known(assignment) is not None

    def run(self, assignment: Assignment) -> Tried | None:
        """Builds and measures an assignment, or reads what it showed.

        Raises:
            UsageError: The log cannot be written.
        """
        known = self._known(assignment)
        if known is None:
            known = self._make(tuple(sorted(assignment)))
            self._write(replace(self.log, tries=(*self.log.tries, known)))
        if known.time_ms is None:
            return None
        region_ms = {int(place): time_ms for place, time_ms in known.region_ms.items()}
        return Tried(assignment, known.time_ms, region_ms)

    def is_faster(self, one: Tried, other: Tried) -> bool:
        """Whether one is faster than another beyond the interval of their ratio.

        Raises:
            UsageError: The log cannot be written.
        """
        return self.ratio(one, other).interval.low > 1

    def ratio(self, one: Tried, other: Tried) -> Ratio:
        """How many times one is as fast as another.

        Raises:
            UsageError: The log cannot be written.
        """
        names = tuple(sorted(one.assignment)), tuple(sorted(other.assignment))
        for each in self.log.comparisons:
            if (each.one, each.other) == names:
                return each.ratio
            if (each.other, each.one) == names:
                low, high = each.ratio.interval.low, each.ratio.interval.high
                return Ratio(1 / each.ratio.value, Interval(1 / high, 1 / low), each.ratio.turns)
        begin = self.clock()
        ratio = self.workshop.compare(one.assignment, other.assignment)
        made = Comparison(*names, ratio, round(self.clock() - begin, 3))
        self._write(replace(self.log, comparisons=(*self.log.comparisons, made)))
        return ratio

    def count(self, tried: Tried) -> Counted:
        """Right answers of an engine on all samples of the data.

        Raises:
            DataError: The data has no labels, or does not fit.
            TrtqatError: The engine cannot be run.
        """
        floats = tuple(sorted(tried.assignment))
        known = next((each for each in self.log.counts if each.floats == floats), None)
        if known is None:
            begin = self.clock()
            counted = self.workshop.count(tried.assignment)
            known = Count(floats, counted, round(self.clock() - begin, 3))
            self._write(replace(self.log, counts=(*self.log.counts, known)))
        return known.counted

    def _known(self, assignment: Assignment) -> Try | None:
        floats = tuple(sorted(assignment))
        return next((each for each in self.log.tries if each.floats == floats), None)

    def _make(self, floats: tuple[int, ...]) -> Try:
        begin = self.clock()
        try:
            measured = self.workshop.make(frozenset(floats))
        except (BuildError, InferenceError) as error:
            # One that cannot be run, as without the memory for it, is no answer either; to try it
            # again after an interruption would end there again.
            _LOG.warning("TensorRT does not build or run it: %s", first_line(error))
            return Try(floats, None, {}, str(error), round(self.clock() - begin, 3))
        region_ms = {str(place): time_ms for place, time_ms in measured.region_ms.items()}
        seconds = round(self.clock() - begin, 3)
        return Try(floats, measured.time_ms, region_ms, "", seconds)

    def _write(self, log: TuneLog) -> None:
        self.log = log
        write_log(self.path, log)


def write_log(path: Path, log: TuneLog) -> None:
    """Writes a log whole.

    Raises:
        UsageError: It cannot be written.
    """
    write_atomically(path, (json_text(as_fields(log)) + "\n").encode())


def read_log(path: Path, key: str) -> TuneLog:
    """What an interrupted search has left, or an empty log if it was another search.

    Args:
        path: Of the log.
        key: Of this search.
    """
    if not is_file(path):
        return TuneLog(key)
    try:
        found = read_as(TuneLog, parse_json(read_input(path, most_bytes=_MOST_BYTES)))
    except (OSError, ValueError) as error:
        _LOG.warning("'%s' is no log of a search (%s); it begins anew.", path, first_line(error))
        return TuneLog(key)
    if found.key != key:
        _LOG.info("'%s' is of another graph, host or options; the search begins anew.", path)
        return TuneLog(key)
    _LOG.info("The search goes on from '%s': %d engines were built.", path, len(found.tries))
    return found
