"""What a reader wants to see first of an evaluation, a chart each.

How right each contender is, how long it takes, how many images it does in a second, and where
accuracy is lost on the way from the baseline to the subject.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.evaluation.intervals import Interval
from trtqat.evaluation.timing import Timing
from trtqat.report.bars import Bar, bars, dots
from trtqat.report.metric_words import is_counted, value
from trtqat.report.wording import decibels, percent, share

if TYPE_CHECKING:
    from markupsafe import Markup

    from trtqat.evaluation.contenders import Measured
    from trtqat.evaluation.locate import Located
    from trtqat.evaluation.report import Report

# Layers and tensors in the first charts; the tables have all.
_MOST_LOST = 10


@dataclass(frozen=True)
class Chart:
    """What is drawn below one heading.

    Attributes:
        title: The heading.
        drawings: Charts, one below the other.
        note: What has to be said of it; empty if nothing.
    """

    title: str
    drawings: Sequence[Markup]
    note: str = ""


def charts_at_a_glance(report: Report) -> Iterator[Chart]:
    """The first charts; those are left out for which nothing was measured.

    Args:
        report: The evaluation.
    """
    yield from _accuracy(report)
    yield from _metrics(report)
    yield from _times(report)
    yield from _rates(report)
    yield from _changes(report)
    yield from _most_lost(report.located)


def label_of(side: Measured, report: Report) -> str:
    """A name that no other contender has: files of one name may lie in two folders.

    Args:
        side: One of the contenders.
        report: The evaluation.
    """
    same = [each for each in report.contenders if each.name == side.name]
    if len(same) == 1:
        return side.name
    number = next(place for place, each in enumerate(same, start=1) if each is side)
    return f"{side.name} ({number}, {side.role})"


def _accuracy(report: Report) -> Iterator[Chart]:
    found = []
    for side in (report.subject, *_others(report), *report.steps):
        if side.accuracy is None:
            continue
        accuracy = side.accuracy
        interval = accuracy.top1_interval
        found.append(
            Bar(
                label_of(side, report),
                100 * accuracy.top1 / accuracy.count,
                share(accuracy.top1, accuracy.count),
                side.role,
                type(interval)(100 * interval.low, 100 * interval.high) if interval else None,
            )
        )
    if found:
        yield Chart("How many are right", [dots(found)], "Top-1 in %, with its 95 % interval.")


def _metrics(report: Report) -> Iterator[Chart]:
    """A chart for each metric, but for what is counted exactly."""
    for metric in report.subject.metrics:
        if is_counted(report.subject, metric.metric):
            continue
        found = []
        for side in (report.subject, *_others(report), *report.steps):
            figure = side.metric(metric.metric)
            if figure is None or not math.isfinite(figure.value.value):
                continue
            low, high = figure.value.low, figure.value.high
            is_known = math.isfinite(low) and math.isfinite(high)
            interval = Interval(low, high) if is_known else None
            label, words = label_of(side, report), value(figure)
            found.append(Bar(label, figure.value.value, words, side.role, interval))
        if found:
            better = "more" if metric.higher_is_better else "less"
            unit = f" in {metric.unit}" if metric.unit else ""
            # One sample has none.
            sure = ", with its 95 % interval" if any(each.interval for each in found) else ""
            note = f"{metric.metric}{unit}{sure}; {better} is better."
            yield Chart(f"The metric {metric.metric}", [dots(found)], note)


def _times(report: Report) -> Iterator[Chart]:
    found = []
    for side in (report.subject, *_others(report)):
        at = side.at(report.batch_size)
        if at is None:
            continue
        compute = at.timing.compute
        words = f"{compute.median_ms:.3f} ms"
        if at.speedup is not None:
            words += f", {at.speedup.value:.2f} times the subject's"
        words += ", unstable" if at.timing.is_unstable else ""
        label = label_of(side, report)
        found.append(Bar(label, compute.median_ms, words, side.role, compute.interval_ms))
    if found:
        on_gpu = "GPU compute time" if report.subject.device == "cuda" else "Compute time"
        note = f"{on_gpu} of a batch of {report.batch_size}, median; less is better."
        yield Chart("How long it takes", [bars(found)], note)


def _rates(report: Report) -> Iterator[Chart]:
    sides = [
        (side, timing)
        for side in (report.subject, *_others(report))
        if (timing := report.timing(side))
    ]
    in_flight = all(timing.throughput for _, timing in sides)
    rate: Callable[[Timing, int], float] = (
        Timing.images_per_second if in_flight else Timing.requested_per_second
    )
    found = []
    for side, timing in sides:
        value = rate(timing, report.batch_size)
        interval = timing.throughput.interval if in_flight and timing.throughput else None
        found.append(Bar(label_of(side, report), value, f"{value:,.0f}", side.role, interval))
    if found:
        how = "several queries in flight" if in_flight else "one query behind the other"
        note = f"From host memory to host memory, {how}, batch {report.batch_size}."
        yield Chart("Images a second", [bars(found)], note)


def _changes(report: Report) -> Iterator[Chart]:
    """Of how many images each step changes the answer."""
    found = []
    for side in report.way:
        agreement = side.to_step_before.agreement if side.to_step_before else None
        if agreement is None or agreement.same_top1 is None:
            continue
        changed = agreement.count - agreement.same_top1
        words = f"{changed} of {agreement.count} ({percent(changed / agreement.count)})"
        found.append(Bar(label_of(side, report), changed, words, side.role))
    if found:
        yield Chart(
            "Where answers change",
            [bars(found)],
            "Images whose answer is another one than that of the step before.",
        )


def _most_lost(located: Located) -> Iterator[Chart]:
    if located.layers:
        ranked = sorted(located.layers, key=lambda each: -each.lost_db)[:_MOST_LOST]
        yield Chart(
            "Layers that lose most by quantization",
            [
                bars(
                    [
                        Bar(each.name, each.lost_db, _lost(each.lost_db, each.sqnr_db))
                        for each in ranked
                    ]
                )
            ],
            "Signal to noise that is lost in the layer itself, against the same graph without "
            "quantization.",
        )
    losses = [
        (each, found)
        for each in (located.steps.tensors if located.steps else ())
        if (found := each.at("engine")) is not None and found.lost_db > 0
    ]
    if losses:
        losses = sorted(losses, key=lambda each: -each[1].lost_db)[:_MOST_LOST]
        yield Chart(
            "Where the engine computes something else than the graph",
            [
                bars(
                    [
                        Bar(each.label, found.lost_db, _lost(found.lost_db, found.sqnr_db))
                        for each, found in losses
                    ]
                )
            ],
            "Signal to noise that is lost at the tensor itself.",
        )


def _lost(lost_db: float, sqnr_db: float) -> str:
    lost = "all" if lost_db == math.inf else f"{lost_db:.1f} dB"
    return f"{lost}, {decibels(sqnr_db)} left"


def _others(report: Report) -> tuple[Measured, ...]:
    """What might run instead, the baseline first."""
    baseline = report.baseline
    return report.rivals if baseline is None else (baseline, *report.rivals)
