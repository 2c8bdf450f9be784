"""What ``--metric`` asked for, in rows and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trtqat.report.wording import hundredths, share, signed

if TYPE_CHECKING:
    from trtqat.evaluation.contenders import Measured
    from trtqat.evaluation.metrics.bootstrap import Estimate
    from trtqat.evaluation.metrics.figures import MetricFigure
    from trtqat.evaluation.report import Report
    from trtqat.report.wording import Table

# Exactly counted, with how many of how many.
_TOP1 = "top-1"
# Samples that can show a difference at 5 %: of five, all are worse by chance in 2 of 2**5 cases.
_FEWEST = 6


def metric_rows(report: Report) -> Iterator[list[str]]:
    """Rows of the first table: values and their intervals, a column for each model.

    What stands there already, counted exactly, is left out.

    Args:
        report: The evaluation.
    """
    sides = report.side_by_side
    for figure in report.subject.metrics:
        if is_counted(report.subject, figure.metric):
            continue
        found = [side.metric(figure.metric) for side in sides]
        yield [figure.metric, *(value(each) if each else "" for each in found)]
        yield ["95 % interval", *(interval(each) if each else "" for each in found)]


def difference_rows(report: Report) -> Iterator[tuple[str, str]]:
    """Label and text of the subject's differences to the baseline.

    Args:
        report: The evaluation.
    """
    for figure in report.subject.metrics:
        if figure.to_baseline is not None:
            yield f"{figure.metric} less the baseline's", difference(figure)


def metric_tables(report: Report) -> Iterator[Table]:
    """Every model's, where there are more than the first table has.

    Args:
        report: The evaluation.
    """
    others = [*report.steps, *report.rivals]
    if not report.subject.metrics or not others:
        return
    columns = ["metric", "model", "value", "95 % interval", "less the baseline's"]
    rows = [
        [figure.metric, side.name, value(figure), interval(figure), difference(figure)]
        for metric in report.subject.metrics
        for side in (report.subject, *others, *([report.baseline] if report.baseline else []))
        if (figure := side.metric(metric.metric)) is not None
    ]
    yield "Metrics", columns, rows


def asked_columns(report: Report) -> list[str]:
    """How right a model is, a column each: top-1 where it was counted, and the other metrics.

    Args:
        report: The evaluation.
    """
    is_top1_counted = report.subject.accuracy is not None
    labels = [figure.metric for figure in report.subject.metrics]
    others = [label for label in labels if label != "top1" or not is_top1_counted]
    return [*([_TOP1] if is_top1_counted else []), *others]


def asked_values(side: Measured, columns: Sequence[str]) -> list[str]:
    """What they are of one model; empty where it has none.

    Args:
        side: One of the contenders.
        columns: As ``asked_columns`` returns them.
    """
    accuracy = side.accuracy
    counted = {_TOP1: share(accuracy.top1, accuracy.count)} if accuracy else {}
    figures = {figure.metric: value(figure) for figure in side.metrics}
    return [{**figures, **counted}.get(column, "") for column in columns]


def part_tables(report: Report) -> Iterator[Table]:
    """Values of parts, as of small boxes, a column for each model; nothing where there are none.

    Args:
        report: The evaluation.
    """
    baseline = [report.baseline] if report.baseline is not None else []
    sides = [report.subject, *baseline, *report.steps, *report.rivals]
    rows = []
    for metric in report.subject.metrics:
        found = [side.metric(metric.metric) for side in sides]
        names = dict.fromkeys(part.name for each in found if each for part in each.parts)
        rows += [
            [f"{metric.metric}, {name}", *(_part(each, name) for each in found)] for name in names
        ]
    if rows:
        yield "Metrics in parts", ["metric", *(side.name for side in sides)], rows


def metric_verdict(figures: Sequence[MetricFigure], samples: int) -> Iterator[str]:
    """Clauses of a sentence about the subject.

    Args:
        figures: Its own.
        samples: Of how many they are.
    """
    for figure in figures:
        text = f"has {figure.metric} {value(figure)}"
        drop = figure.drop
        if drop is not None and not math.isnan(drop.value):
            if math.isnan(drop.low) or samples < _FEWEST:
                text += f" ({_points(figure)})"
            elif drop.low <= 0 <= drop.high:
                text += f", which is no significant difference ({_points(figure)})"
            else:
                text += f", significantly {'worse' if drop.value > 0 else 'better'}"
                text += f" ({_points(figure)})"
        yield text


def value(figure: MetricFigure) -> str:
    """With its unit.

    Args:
        figure: Of one model.
    """
    return _with_unit(_number(figure.value.value, figure.unit), figure.unit)


def _part(figure: MetricFigure | None, name: str) -> str:
    """A part's value; empty where there is none."""
    parts = {part.name: part.value for part in figure.parts} if figure else {}
    if figure is None or name not in parts:
        return ""
    return _with_unit(_number(parts[name], figure.unit), figure.unit)


def interval(figure: MetricFigure) -> str:
    """Of 95 %; empty where there is none.

    Args:
        figure: Of one model.
    """
    low, high = (_number(each, figure.unit) for each in (figure.value.low, figure.value.high))
    return "" if math.isnan(figure.value.low) else _with_unit(f"{low} … {high}", figure.unit)


def difference(figure: MetricFigure) -> str:
    """This value less the baseline's, with its interval; empty without a baseline.

    Args:
        figure: Of one model.
    """
    found = figure.to_baseline
    if found is None:
        return ""
    if math.isnan(found.low):
        return _points(figure)
    low, high = (_number(each, figure.unit, is_difference=True) for each in (found.low, found.high))
    return f"{_points(figure)} ({low} … {high})"


def _points(figure: MetricFigure) -> str:
    found: Estimate | None = figure.to_baseline
    unit = "points" if figure.unit == "%" else figure.unit
    number = _number(found.value if found else math.nan, figure.unit, is_difference=True)
    return _with_unit(number, unit)


def is_counted(side: Measured, label: str) -> bool:
    """Whether right answers say the same, exactly.

    Args:
        side: One of the contenders.
        label: What the metric is called.
    """
    accuracy = side.accuracy
    if accuracy is None:
        return False
    return label == "top1" or (label == "top5" and accuracy.top5 is not None)


def _number(found: float, unit: str, *, is_difference: bool = False) -> str:
    if math.isnan(found):
        return "no number"
    if unit in ("%", "dB"):
        if is_difference:
            return signed(found)
        return hundredths(found, most=100 if unit == "%" else math.inf)
    # Not "-0" where nothing changed.
    found += 0.0
    return f"{found:{'+' if is_difference and found else ''}.4g}"


def _with_unit(text: str, unit: str) -> str:
    return text if not unit or text == "no number" else f"{text} {unit}"
