"""A report as one HTML page: no network, no script; for a screen, in the dark, and on paper."""

from __future__ import annotations

import math
from collections.abc import Sequence

import trtqat
from trtqat.evaluation.layers import LayerTime
from trtqat.evaluation.locate import Located
from trtqat.evaluation.locate_steps import STEPS
from trtqat.evaluation.report import Report
from trtqat.evaluation.timing import Timing
from trtqat.report.charts import bars, curve, distribution, histogram
from trtqat.text import escape

# Times of models that are no further apart are drawn on one axis.
_ONE_AXIS = 2.0
# Bars of an engine's layers; the rest are one bar.
_LAYERS = 40
# Below this McNemar's test calls a difference one.
_SIGNIFICANT = 0.05


def verdict(report: Report) -> str:
    """What an evaluation found, in one sentence.

    Args:
        report: The evaluation.
    """
    name, parts = report.subject.name, []
    if report.speedup is not None and report.baseline is not None:
        ratio = report.speedup
        low, high = ratio.interval.low, ratio.interval.high
        if low > 1:
            parts.append(f"computes {ratio.value:.2f} times as fast as {report.baseline.name}")
        elif high < 1:
            parts.append(f"computes slower than {report.baseline.name} ({ratio.value:.2f} times)")
        else:
            parts.append(f"computes no faster and no slower than {report.baseline.name}")
        timings = [found for side in report.sides if (found := report.timing(side))]
        if any(each.startswith("Unstable") for timing in timings for each in timing.warnings):
            parts[-1] += " (unstable)"
    elif (timing := report.timing(report.subject)) is not None:
        parts.append(f"computes a batch in {timing.compute.median_ms:.3f} ms")
    accuracy, comparison = report.subject.accuracy, report.subject.to_baseline
    paired = comparison.paired if comparison else None
    drop = report.top1_drop_points
    # Not "-0.00" where nothing changed.
    points = f"{0.0 - drop:+.2f} points" if drop else "0 points"
    if accuracy is not None:
        right = f"{accuracy.top1} of {accuracy.count} images right"
        if drop is None or paired is None:
            parts.append(f"gets {right}")
        elif paired.p_value >= _SIGNIFICANT:
            parts.append(f"gets {right}, which is no significant difference ({points})")
        else:
            word = "fewer" if drop > 0 else "more"
            parts.append(f"gets {right}, significantly {word} ({points})")
    return f"{name} {' and '.join(parts) or 'was run on ' + str(report.images) + ' images'}."


def render_page(
    report: Report,
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
    *,
    command: str,
    words: str = "",
) -> str:
    """The page.

    Args:
        report: The evaluation.
        tables: Title, columns and rows of each.
        command: What made the report, to make it again.
        words: Answers that stand in no table, a line each.
    """
    sections = [_gates(report)]
    sections += [_section(title, _table(columns, rows)) for title, columns, rows in tables]
    if words:
        sections.append(f'<p class="words">{escape(words)}</p>')
    sections += _charts(report)
    sections += _locate_charts(report.located)
    if report.layers:
        title = "Time and precision of the engine's layers"
        sections.append(_section(title, _layers(report.layers)))
    if report.warnings:
        items = "".join(f"<li>{escape(each)}</li>" for each in report.warnings)
        sections.append(_section("Warnings", f"<ul>{items}</ul>"))
    sections.append(_section("Where", _environment(report)))
    if command:
        sections.append(_section("Again", f"<pre>{escape(command)}</pre>"))
    title = escape(f"{report.subject.name}: {report.images} images of {report.data}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f'<p class="verdict">{escape(verdict(report))}</p>{"".join(filter(None, sections))}'
        f"<footer>trtqat {trtqat.__version__}</footer></main></body></html>\n"
    )


def _charts(report: Report) -> list[str]:
    sections = []
    timed = {side.name: found.compute for side in report.sides if (found := report.timing(side))}
    if timed:
        quantiles = {name: latency.quantiles_ms for name, latency in timed.items()}
        medians = [latency.median_ms for latency in timed.values()]
        # On one axis with a model that is much slower, nothing is seen of the faster one.
        together = max(medians) < _ONE_AXIS * min(medians)
        groups = [quantiles] if together else [{name: each} for name, each in quantiles.items()]
        drawn = "".join(distribution(each) + histogram(each) for each in groups)
        sections.append(_section("Compute time: distribution", drawn))
    if report.sweep:
        sections.append(_section("Batch sizes", curve(_rates(report), "batch", "images/s")))
    sides = [report.subject, *report.rivals]
    if report.rivals and report.timing(report.subject):
        sides += [report.baseline] if report.baseline else []
        timings = {side.name: report.timing(side) for side in sides}
        values = {name: each.compute.median_ms for name, each in timings.items() if each}
        sections.append(_section("Compute time: what might run instead", bars(values, "ms")))
    return sections


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


def _locate_charts(located: Located) -> list[str]:
    sections = []
    if located.layers:
        notes = {each.name: ", ".join(each.findings) for each in located.layers}
        # In this order NaN becomes 0: no bar for what is lost.
        values = {each.name: max(0.0, each.sqnr_db) for each in located.layers}
        sections.append(
            _section(
                "Drift: SQNR of each layer against the same graph without quantization",
                bars(values, "dB", notes=notes),
            )
        )
    tensors = located.steps.tensors if located.steps else ()
    for step, title in STEPS.items():
        losses = {each.label: getattr(each, step) for each in tensors}
        # What agrees to the last code has no bar that could be long enough.
        found = {name: each for name, each in losses.items() if each and each.sqnr_db != math.inf}
        if found:
            values = {name: max(0.0, each.sqnr_db) for name, each in found.items()}
            notes = {
                name: "" if each.differing is None else f"{100 * each.differing:.2g} % of codes"
                for name, each in found.items()
            }
            sections.append(_section(f"Drift: SQNR of {title}", bars(values, "dB", notes=notes)))
    return sections


def _layers(layers: Sequence[LayerTime]) -> str:
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
    return (
        f"<p>Medians under TensorRT's profiler, which slows every layer down: together "
        f"{total:.3f} ms.</p>{bars(values, 'us', notes=groups, groups=groups)}"
    )


def _gates(report: Report) -> str:
    if not report.failed_gates:
        return ""
    items = "".join(f"<li>{escape(each)}</li>" for each in report.failed_gates)
    return f'<section class="failed"><h2>Gates not met</h2><ul>{items}</ul></section>'


def _environment(report: Report) -> str:
    environment = report.environment
    rows = [
        ["host", f"{environment.platform}, {environment.cpu}"],
        ["Python", environment.python],
        *([name, version] for name, version in environment.packages.items()),
    ]
    if environment.gpu is not None:
        gpu = environment.gpu
        clock = f", SM clock {gpu.sm_clock_mhz} MHz" if gpu.sm_clock_mhz else ""
        about = f"{gpu.name} ({gpu.compute_capability}), driver {gpu.driver}{clock}"
        rows.insert(1, ["GPU", about])
    if report.telemetry is not None:
        during = report.telemetry
        rows += [
            [
                "SM clock during the timing",
                f"{during.lowest_sm_clock_mhz} to {during.highest_sm_clock_mhz} of "
                f"{during.max_sm_clock_mhz} MHz",
            ],
            [
                "before and after",
                f"{during.before.temperature_c} and {during.after.temperature_c} °C, "
                f"{during.before.power_w:.0f} and {during.after.power_w:.0f} W",
            ],
            ["throttled by", ", ".join(during.throttled_by) or "nothing"],
        ]
    for side in report.sides:
        if (timing := report.timing(side)) is not None:
            rows.append([f"mode of {side.name}", timing.mode])
    return _table(("", ""), rows)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    head = f"<thead><tr>{head}</tr></thead>" if any(columns) else ""
    return f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'


_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --back: #fff; --line: #d0d0d0; --soft: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --back: #16181b; --line: #3a3f45; --soft: #22262b }
}
body { margin: 0; color: var(--text); background: var(--back);
  font: 15px/1.5 system-ui, sans-serif }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem }
.verdict { font-size: 1.15rem; background: var(--soft); padding: .8rem 1rem;
  border-left: 4px solid #0072b2 }
.failed { border-left: 4px solid #d55e00; padding-left: 1rem }
.wide { overflow-x: auto } .words { white-space: pre-line }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td { white-space: nowrap }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
svg { width: 100%; max-width: 44rem; display: block; margin: .5rem 0; font-size: 11px }
svg text { fill: var(--text) } .grid { stroke: var(--line); stroke-width: 1 }
pre { background: var(--soft); padding: .8rem; white-space: pre-wrap; overflow-wrap: anywhere }
section { break-inside: avoid } footer { margin-top: 2rem; opacity: .7 }
@media print {
  :root { --text: #000; --back: #fff; --line: #bbb; --soft: #fff }
  body { font-size: 10pt } main { padding: 0; max-width: none }
  table { font-size: 7.5pt; line-height: 1.3 } .wide { overflow: visible }
  td { white-space: normal } th, td:first-child { overflow-wrap: anywhere; min-width: 3.6rem }
  svg { max-width: 32rem }
}
"""
