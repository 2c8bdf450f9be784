"""A report as one HTML page: no network, no script; for a screen, in the dark, and on paper.

Pictures come first, and the tables with all figures are folded below. ``glance.py`` chooses the
first charts, and the rest of what the page shows is chosen here. ``page.html.jinja`` is its markup,
``page.css`` its style, and ``charts.py`` and ``bars.py`` draw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.evaluation.timing import Timing
from trtqat.report.bars import Bar, bars, colour_of
from trtqat.report.charts import curve, distribution, histogram
from trtqat.report.glance import Chart, charts_at_a_glance, label_of
from trtqat.report.locate_words import STEP_WORDS
from trtqat.report.templates import render
from trtqat.report.verdict import verdict
from trtqat.report.wording import Table, percent
from trtqat.report.words import answers, report_tables
from trtqat.version import __version__

if TYPE_CHECKING:
    from trtqat.evaluation.layers import LayerTime
    from trtqat.evaluation.locate import Located
    from trtqat.evaluation.report import Report

# Times of models that are no further apart are drawn on one axis.
_ONE_AXIS = 2.0
# Bars of an engine's layers; the rest are one bar.
_LAYERS = 40
# A table of so many rows need not be folded.
_SHORT = 6


def render_page(report: Report) -> str:
    """The page: verdict, gates that were not met, charts, tables, and where it was measured.

    Args:
        report: The evaluation.

    Returns:
        An HTML document that needs no other file.
    """
    return str(
        render(
            "page.html.jinja",
            title=f"{report.subject.name}: {report.images} images of {report.data}",
            verdict=verdict(report),
            failed_gates=report.failed_gates,
            glance=list(charts_at_a_glance(report)),
            charts=list(_charts(report)),
            answers=answers(report),
            warnings=report.warnings,
            tables=[_folded(table) for table in _tables(report)],
            long_charts=list(_long_charts(report)),
            where=list(_where(report)),
            command=report.command,
            version=__version__,
        )
    )


@dataclass(frozen=True)
class _Folded:
    """A table, and whether it is open at first."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    is_open: bool


def _folded(table: Table) -> _Folded:
    title, columns, rows = table
    return _Folded(title, columns, rows, is_open=len(rows) <= _SHORT)


def _tables(report: Report) -> Iterator[Table]:
    """All tables; the subject's column is the first one, as a narrow screen shows few."""
    (title, columns, rows), *others = report_tables(report, in_full=True)
    yield title, _subject_first(columns), [_subject_first(row) for row in rows]
    yield from others


def _subject_first(row: Sequence[str]) -> list[str]:
    """Of a label and the cells of baseline and subject."""
    return [row[0], *reversed(row[1:])]


def _charts(report: Report) -> Iterator[Chart]:
    if report.sweep:
        yield Chart("Batch sizes", [curve(_rates(report), "batch", "images/s")])
    timed = {
        label_of(side, report): found
        for side in reversed(report.side_by_side)
        if (found := report.timing(side))
    }
    if timed:
        yield from _distributions(timed)


def _distributions(timed: Mapping[str, Timing]) -> Iterator[Chart]:
    """Distribution and density of the compute times of each model."""
    quantiles = {name: timing.compute.quantiles_ms for name, timing in timed.items()}
    medians = [timing.compute.median_ms for timing in timed.values()]
    # On one axis with a model that is much slower, nothing is seen of the faster one.
    together = max(medians) < _ONE_AXIS * min(medians)
    shown = [quantiles] if together else [{name: own} for name, own in quantiles.items()]
    yield Chart("Compute time: queries up to", [distribution(each) for each in shown])
    yield Chart("Compute time: queries around", [histogram(each) for each in shown])


def _rates(report: Report) -> dict[str, list[tuple[float, float]]]:
    """Images a second of subject and baseline, measured alike: in flight where both were."""
    sides = [report.subject]
    if report.baseline is not None and report.baseline.timings:
        sides.append(report.baseline)
    rate, mode = Timing.images_per_second, ", in flight"
    # A recorded baseline may be from a CPU, where nothing is in flight.
    if not all(each.timing.throughput for side in sides for each in side.timings):
        rate, mode = Timing.requested_per_second, ""
    return {
        f"{label_of(side, report)}{mode}": [
            (float(each.batch_size), rate(each.timing, each.batch_size)) for each in side.timings
        ]
        for side in sides
    }


def _long_charts(report: Report) -> Iterator[Chart]:
    """A bar for each layer or tensor, folded as the tables are."""
    if report.layers:
        yield _layers(report.layers)
    yield from _located(report.located)


def _located(located: Located) -> Iterator[Chart]:
    """What is left of the signal in each layer, and in each tensor from step to step."""
    if located.layers:
        values = [
            Bar(
                each.name,
                each.sqnr_db,
                _figure(each.sqnr_db, "dB", ", ".join(each.findings)),
            )
            for each in located.layers
        ]
        title = "Signal to noise of each layer against the same graph without quantization"
        yield Chart(title, [bars(values)])
    tensors = located.steps.tensors if located.steps else ()
    for step, words in STEP_WORDS.items():
        losses = {each.label: each.at(step) for each in tensors}
        # What agrees to the last code has no bar that could be long enough.
        values = [
            Bar(
                name,
                each.sqnr_db,
                _figure(
                    each.sqnr_db,
                    "dB",
                    "" if each.differing is None else f"{percent(each.differing)} of codes",
                ),
            )
            for name, each in losses.items()
            if each and each.sqnr_db != math.inf
        ]
        if values:
            yield Chart(f"Signal to noise of {words.compared}", [bars(values)])


def _layers(layers: Sequence[LayerTime]) -> Chart:
    """The slowest ones by themselves, in the order of execution, and the rest as one."""
    slowest = sorted(layers, key=lambda each: -each.time_ms)[:_LAYERS]
    groups = list(dict.fromkeys(each.precision for each in layers))
    values = [
        Bar(
            f"{number}: {each.name}",
            1e3 * each.time_ms,
            _figure(1e3 * each.time_ms, "us", each.precision),
            colour_of(each.precision, groups),
        )
        for number, each in enumerate(layers, start=1)
        if each in slowest
    ]
    rest = [each for each in layers if each not in slowest]
    if rest:
        time_us = 1e3 * sum(each.time_ms for each in rest)
        precisions = ", ".join(sorted({each.precision for each in rest}))
        values.append(Bar(f"{len(rest)} others", time_us, _figure(time_us, "us", precisions)))
    total = sum(each.time_ms for each in layers)
    return Chart(
        "Time and precision of the engine's layers",
        [bars(values)],
        f"Medians under TensorRT's profiler, which slows every layer down: together {total:.3f} "
        "ms.",
    )


def _figure(value: float, unit: str, note: str = "") -> str:
    if math.isnan(value):
        return f"no number {note}".strip()
    return f"{value:.3g} {unit} {note}".strip()


def _where(report: Report) -> Iterator[tuple[str, str]]:
    """The host and its state, row by row."""
    environment, gpu, during = report.environment, report.environment.gpu, report.telemetry
    yield "host", f"{environment.platform}, {environment.cpu}"
    if gpu is not None:
        clock = f", SM clock {gpu.sm_clock_mhz} MHz" if gpu.sm_clock_mhz else ""
        yield "GPU", f"{gpu.name} ({gpu.compute_capability}), driver {gpu.driver}{clock}"
    yield "Python", environment.python
    yield from environment.packages.items()
    if during is not None:
        yield (
            "SM clock during the timing",
            f"{during.lowest_sm_clock_mhz} to {during.highest_sm_clock_mhz} of "
            f"{during.max_sm_clock_mhz} MHz",
        )
        yield (
            "before and after",
            f"{during.before.temperature_c} and {during.after.temperature_c} °C, "
            f"{during.before.power_w:.0f} and {during.after.power_w:.0f} W",
        )
        yield "throttled by", ", ".join(during.throttled_by) or "nothing"
    for side in report.side_by_side:
        if (timing := report.timing(side)) is not None:
            yield f"mode of {side.name}", timing.mode
