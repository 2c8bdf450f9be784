"""A report as one HTML page: no network, no script; for a screen, in the dark, and on paper.

What the page shows is chosen here. ``page.html.jinja`` is its markup, ``page.css`` its style, and
``charts.py`` draws its charts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.evaluation.timing import Timing
from trtqat.report.charts import bars, curve, distribution, histogram
from trtqat.report.locate_words import STEP_WORDS
from trtqat.report.templates import render
from trtqat.report.verdict import verdict
from trtqat.report.wording import percent
from trtqat.report.words import answers, report_tables
from trtqat.version import __version__

if TYPE_CHECKING:
    from markupsafe import Markup

    from trtqat.evaluation.contenders import Measured
    from trtqat.evaluation.layers import LayerTime
    from trtqat.evaluation.locate import Located
    from trtqat.evaluation.report import Report

# Times of models that are no further apart are drawn on one axis.
_ONE_AXIS = 2.0
# Bars of an engine's layers; the rest are one bar.
_LAYERS = 40


def render_page(report: Report) -> str:
    """The page: verdict, gates that were not met, tables, charts, and where it was measured.

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
            tables=report_tables(report),
            answers=answers(report),
            charts=list(_charts(report)),
            warnings=report.warnings,
            where=list(_where(report)),
            command=report.command,
            version=__version__,
        )
    )


@dataclass(frozen=True)
class _Chart:
    """What is drawn below one heading.

    Attributes:
        title: The heading.
        drawings: SVG, one below the other.
        note: What has to be said before it; empty if nothing.
    """

    title: str
    drawings: Sequence[Markup]
    note: str = ""


def _charts(report: Report) -> Iterator[_Chart]:
    timed = {
        _label(side, report): found
        for side in report.side_by_side
        if (found := report.timing(side))
    }
    if timed:
        yield _Chart("Compute time: distribution", list(_distributions(timed)))
    if report.sweep:
        yield _Chart("Batch sizes", [curve(_rates(report), "batch", "images/s")])
    if report.rivals and report.timing(report.subject):
        sides = [report.subject, *report.rivals]
        sides += [report.baseline] if report.baseline else []
        medians = {
            _label(side, report): timing.compute.median_ms
            for side in sides
            if (timing := report.timing(side))
        }
        yield _Chart("Compute time: what might run instead", [bars(medians, "ms")])
    yield from _located(report.located)
    if report.layers:
        yield _layers(report.layers)


def _label(side: Measured, report: Report) -> str:
    """A name that no other contender has: files of one name may lie in two folders."""
    same = [each for each in report.contenders if each.name == side.name]
    if len(same) == 1:
        return side.name
    number = next(place for place, each in enumerate(same, start=1) if each is side)
    return f"{side.name} ({number}, {side.role})"


def _distributions(timed: Mapping[str, Timing]) -> Iterator[Markup]:
    """Distribution and density of the compute times of each model."""
    quantiles = {name: timing.compute.quantiles_ms for name, timing in timed.items()}
    medians = [timing.compute.median_ms for timing in timed.values()]
    # On one axis with a model that is much slower, nothing is seen of the faster one.
    together = max(medians) < _ONE_AXIS * min(medians)
    for each in [quantiles] if together else [{name: own} for name, own in quantiles.items()]:
        yield distribution(each)
        yield histogram(each)


def _rates(report: Report) -> dict[str, list[tuple[float, float]]]:
    """Images a second of model and baseline, measured alike: in flight where both were."""
    sides = {"images/s": report.subject.timings}
    if report.baseline is not None and report.baseline.timings:
        sides["images/s, baseline"] = report.baseline.timings
    rate, mode = Timing.images_per_second, ", in flight"
    # A recorded baseline may be from a CPU, where nothing is in flight.
    if not all(each.timing.throughput for side in sides.values() for each in side):
        rate, mode = Timing.requested_per_second, ""
    return {
        f"{name}{mode}": [
            (float(each.batch_size), rate(each.timing, each.batch_size)) for each in side
        ]
        for name, side in sides.items()
    }


def _located(located: Located) -> Iterator[_Chart]:
    """What is left of the signal in each layer, and in each tensor from step to step."""
    if located.layers:
        # In this order NaN becomes 0: no bar for what is lost.
        values = {each.name: max(0.0, each.sqnr_db) for each in located.layers}
        notes = {each.name: ", ".join(each.findings) for each in located.layers}
        yield _Chart(
            "SQNR of each layer against the same graph without quantization",
            [bars(values, "dB", notes=notes)],
        )
    tensors = located.steps.tensors if located.steps else ()
    for step, words in STEP_WORDS.items():
        losses = {each.label: each.at(step) for each in tensors}
        # What agrees to the last code has no bar that could be long enough.
        found = {name: each for name, each in losses.items() if each and each.sqnr_db != math.inf}
        if found:
            values = {name: max(0.0, each.sqnr_db) for name, each in found.items()}
            notes = {
                name: "" if each.differing is None else f"{percent(each.differing)} of codes"
                for name, each in found.items()
            }
            yield _Chart(f"SQNR of {words.compared}", [bars(values, "dB", notes=notes)])


def _layers(layers: Sequence[LayerTime]) -> _Chart:
    """The slowest ones by themselves, in the order of execution, and the rest as one."""
    shown = sorted(layers, key=lambda each: -each.time_ms)[:_LAYERS]
    # Names of fused layers are long, and their ends can be the same: the number tells them apart.
    labels = {
        f"{number}: {each.name if len(each.name) <= 26 else '…' + each.name[-25:]}": each
        for number, each in enumerate(layers, start=1)
        if each in shown
    }
    values = {label: 1e3 * each.time_ms for label, each in labels.items()}
    groups = {label: each.precision for label, each in labels.items()}
    rest = [each for each in layers if each not in shown]
    if rest:
        label = f"{len(rest)} others"
        values[label] = 1e3 * sum(each.time_ms for each in rest)
        groups[label] = ", ".join(sorted({each.precision for each in rest}))
    total = sum(each.time_ms for each in layers)
    return _Chart(
        "Time and precision of the engine's layers",
        [bars(values, "us", notes=groups, groups=groups)],
        f"Medians under TensorRT's profiler, which slows every layer down: together {total:.3f} "
        "ms.",
    )


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
