"""Every try of a search in a log, from which an interrupted search goes on.

A build takes minutes and a comparison seconds, so neither is done twice: what stands in the log is
taken from there. The log is written whole after each of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trtqat.errors import BuildError, first_line
from trtqat.evaluation.intervals import Ratio
from trtqat.files import is_file, read_input, write_atomically
from trtqat.search.speed.region_costs import Assignment
from trtqat.search.speed.strategy import Tried
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
        """

    def compare(self, one: Assignment, other: Assignment) -> Ratio:
        """How many times one engine is as fast as another, measured in turns."""


@dataclass(frozen=True)
class Try:
    """A build, and what it showed.

    Attributes:
        floats: Places of the regions in floating point.
        time_ms: Median GPU compute time; None if it was not built.
        region_ms: Time of regions, by place.
        refused: Why TensorRT did not build it; empty if it did.
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
class TuneLog:
    """All that a search has done.

    Attributes:
        key: What is the same if and only if the search is: graph, host, options, versions.
        tries: In their order.
        comparisons: In their order.
    """

    key: str
    tries: tuple[Try, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    @property
    def seconds(self) -> float:
        """What all of it took."""
        built = sum(each.seconds for each in self.tries)
        return built + sum(each.seconds for each in self.comparisons)


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

    def run(self, assignment: Assignment) -> Tried | None:
        """Builds and measures an assignment, or reads what it showed.

        Raises:
            UsageError: The log cannot be written.
        """
        floats = tuple(sorted(assignment))
        known = next((each for each in self.log.tries if each.floats == floats), None)
        if known is None:
            known = self._make(floats)
            self._write(TuneLog(self.log.key, (*self.log.tries, known), self.log.comparisons))
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
        begin = self.clock()
        ratio = self.workshop.compare(one.assignment, other.assignment)
        made = Comparison(*names, ratio, round(self.clock() - begin, 3))
        self._write(TuneLog(self.log.key, self.log.tries, (*self.log.comparisons, made)))
        return ratio

    def _make(self, floats: tuple[int, ...]) -> Try:
        begin = self.clock()
        try:
            measured = self.workshop.make(frozenset(floats))
        except BuildError as error:
            _LOG.warning("TensorRT does not build it: %s", first_line(error))
            return Try(floats, None, {}, str(error), round(self.clock() - begin, 3))
        region_ms = {str(place): time_ms for place, time_ms in measured.region_ms.items()}
        seconds = round(self.clock() - begin, 3)
        return Try(floats, measured.time_ms, region_ms, "", seconds)

    def _write(self, log: TuneLog) -> None:
        self.log = log
        write_atomically(self.path, (json_text(as_fields(log)) + "\n").encode())


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
