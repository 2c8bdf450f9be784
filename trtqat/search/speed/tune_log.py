"""The log of a search: every try with its times, every comparison and every count.

It is written whole after each of them, and an interrupted search goes on from it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trtqat.errors import first_line
from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.files import is_file, read_input, write_atomically
from trtqat.graph.repair import Repair
from trtqat.search.speed.forms import Candidate, Form
from trtqat.search.speed.points import Point, read_point
from trtqat.search.speed.within_target import Score
from trtqat.typed_json import as_fields, json_text, parse_json, read_as

_LOG = logging.getLogger(__name__)
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class MeasuredTime:
    """Median GPU compute time at a batch, in ms, with its 95 % interval."""

    median_ms: float
    interval: Interval


@dataclass(frozen=True)
class Int8Part:
    """How much of an engine is INT8, as ``trtqat inspect`` counts it.

    Attributes:
        int8: Layers of the graph that are seen in INT8.
        layers: All of them.
        unknown: Those of which it is not known, as inside a compiled subgraph.
        share: Of the arithmetic, from 0 to 1; None if it is not known.
    """

    int8: int
    layers: int
    unknown: int
    share: float | None


@dataclass(frozen=True)
class Measured:
    """What an engine showed.

    Attributes:
        times: By measured batch.
        region_ms: Time of the regions that its layers tell, by batch and place.
        int8: What of it is INT8; None if that was not asked.
    """

    times: Mapping[Point, MeasuredTime]
    region_ms: Mapping[Point, Mapping[int, float]]
    int8: Int8Part | None = None


@dataclass(frozen=True)
class Try:
    """A build, and what it showed.

    Attributes:
        floats: Places of the regions in floating point.
        form: Of the plan.
        time_ms: Geometric mean of the times; None if it was not built or run.
        times: Median GPU compute time by batch.
        region_ms: Time of regions, by batch and place.
        int8: What of it is INT8; None if that was not asked.
        refused: Why TensorRT did not build or run it; empty if it did.
        seconds: What building and measuring took.
    """

    floats: tuple[int, ...]
    form: Form
    time_ms: float | None
    times: Mapping[str, MeasuredTime]
    region_ms: Mapping[str, Mapping[str, float]]
    int8: Int8Part | None
    refused: str
    seconds: float

    @property
    def candidate(self) -> Candidate:
        """Which engine it is."""
        return Candidate(self.floats, self.form)

    @property
    def times_ms(self) -> dict[Point, float]:
        """Median GPU compute time by batch."""
        return {read_point(batch): each.median_ms for batch, each in self.times.items()}

    @property
    def places_ms(self) -> dict[Point, dict[int, float]]:
        """Time of regions, by batch and place."""
        return {
            read_point(batch): {int(place): time_ms for place, time_ms in told.items()}
            for batch, told in self.region_ms.items()
        }


@dataclass(frozen=True)
class Comparison:
    """Two engines in turns.

    Attributes:
        one: The first.
        other: The second.
        ratios: How many times the first is as fast, by batch.
        seconds: What that took.
    """

    one: Candidate
    other: Candidate
    ratios: Mapping[str, Ratio]
    seconds: float


@dataclass(frozen=True)
class Count:
    """Right answers of an engine.

    Attributes:
        candidate: The engine.
        counted: On all samples of the data.
        seconds: What that took.
    """

    candidate: Candidate
    counted: Score
    seconds: float


@dataclass(frozen=True)
class TuneLog:
    """All that a search has done.

    Attributes:
        key: What is the same if and only if the search is: graph, host, options, versions.
        tries: In their order.
        comparisons: In their order.
        counts: In their order.
        repairs: What was repaired in the graph of the forms that say so.
    """

    key: str
    tries: tuple[Try, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    counts: tuple[Count, ...] = ()
    repairs: tuple[Repair, ...] = ()

    @property
    def seconds(self) -> float:
        """What all of it took."""
        parts = (self.tries, self.comparisons, self.counts)
        return sum(each.seconds for part in parts for each in part)


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
    _LOG.info("The search goes on from '%s', behind %d builds.", path, len(found.tries))
    return found
