"""The verdict of a search: both ends beside the answer, and what each region has gained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trtqat.evaluation.intervals import Ratio
from trtqat.graph.lenses.regions import Region
from trtqat.search.speed.forms import Form
from trtqat.search.speed.logged_trials import LoggedTrials
from trtqat.search.speed.points import Point, largest, read_point
from trtqat.search.speed.trials import Tried
from trtqat.search.speed.tune_log import Int8Part, MeasuredTime
from trtqat.search.speed.within_target import Score

INT8, REPAIRED, FP16, TUNED = "INT8 as exported", "INT8, repaired", "FP16", "tuned"


@dataclass(frozen=True)
class TunedEngine:
    """An engine of the verdict.

    Attributes:
        name: ``"INT8 as exported"``, ``"INT8, repaired"``, ``"FP16"`` or ``"tuned"``.
        form: Of its plan.
        times: Median GPU compute time with its interval, by batch.
        speed_ups: How many times the tuned engine is as fast, measured in turns, by batch; empty
            for itself.
        floats: Names of its regions in floating point.
        int8: What of it is INT8, as ``trtqat inspect`` counts it; None if that was not asked.
        counted: Its right answers on the data; None unless accuracy was asked for.
    """

    name: str
    form: Form
    times: Mapping[Point, MeasuredTime]
    speed_ups: Mapping[Point, Ratio]
    floats: tuple[str, ...]
    int8: Int8Part | None
    counted: Score | None


@dataclass(frozen=True)
class RegionTimes:
    """What a region takes at the largest measured batch, in either end.

    Attributes:
        name: Of the region.
        is_float: Whether it is in floating point in the tuned engine.
        int8_ms: In the INT8 engine of the searched graph; None if its layers do not tell, as in a
            compiled subgraph.
        float_ms: In the engine in floating point, in the same way.
    """

    name: str
    is_float: bool
    int8_ms: float | None
    float_ms: float | None


def engines_of(
    named: Sequence[tuple[str, Tried]],
    answer: Tried,
    trials: LoggedTrials,
    regions: Sequence[Region],
    *,
    is_counted: bool,
) -> tuple[TunedEngine, ...]:
    """The engines of the verdict, the answer last.

    Args:
        named: The others, with their names.
        answer: The tuned engine.
        trials: Has their figures, and compares.
        regions: Of the graph.
        is_counted: Whether their accuracy is told.
    """
    found = []
    for name, tried in (*named, (TUNED, answer)):
        is_answer = (tried.assignment, tried.form) == (answer.assignment, answer.form)
        known = trials.try_of(tried)
        found.append(
            TunedEngine(
                name,
                tried.form,
                {read_point(batch): each for batch, each in known.times.items()},
                {} if is_answer else trials.ratios(answer, tried),
                tuple(regions[place].name for place in sorted(tried.assignment)),
                known.int8,
                trials.count(tried) if is_counted else None,
            )
        )
    return tuple(found)


def named_ends(ends: Sequence[Tried]) -> list[tuple[str, Tried]]:
    """Engines that are INT8 or floating point throughout, with their names.

    Args:
        ends: Some of them.
    """
    names = [FP16 if end.assignment else REPAIRED if end.form.is_repaired else INT8 for end in ends]
    return list(zip(names, ends, strict=True))


def regions_in(
    ends: Sequence[Tried], answer: Tried, trials: LoggedTrials, regions: Sequence[Region]
) -> tuple[RegionTimes, ...]:
    """What each quantized region takes in either end, those first that differ most.

    Args:
        ends: Of the searched graph, as far as they were built.
        answer: The tuned engine.
        trials: Has their figures.
        regions: Of the graph.
    """
    # By whether it is the one in floating point.
    told: dict[bool, Mapping[int, float]] = {False: {}, True: {}}
    for tried in ends:
        places_ms = trials.try_of(tried).places_ms
        told[bool(tried.assignment)] = places_ms[largest(places_ms)]
    found = [
        RegionTimes(
            region.name,
            place in answer.assignment,
            told[False].get(place),
            told[True].get(place),
        )
        for place, region in enumerate(regions)
        if region.is_quantized
    ]
    return tuple(sorted(found, key=_difference, reverse=True))


def _difference(region: RegionTimes) -> float:
    if region.int8_ms is None or region.float_ms is None:
        return 0.0
    return abs(region.int8_ms - region.float_ms)
