"""An evaluation's report in words and tables, for the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from trtqat.report.locate_words import locate_answers, locate_tables
from trtqat.report.main_table import main_table
from trtqat.report.metric_words import asked_columns, asked_values, metric_tables, part_tables
from trtqat.report.trtexec_words import trtexec_summary
from trtqat.report.wording import Table, compiled_in, decibels, ratio, share

if TYPE_CHECKING:
    from trtqat.evaluation.contenders import BatchTiming, Comparison, Measured
    from trtqat.evaluation.counts import Agreement, OutputAgreement
    from trtqat.evaluation.report import Report


def report_tables(report: Report, *, in_full: bool = False) -> list[Table]:
    """Title, columns and rows of every table.

    Args:
        report: The evaluation.
        in_full: Whether metrics are shown in parts, too.
    """
    tables: list[Table] = [("Accuracy and latency", *main_table(report))]
    tables += metric_tables(report)
    tables += part_tables(report) if in_full else ()
    asked = asked_columns(report)
    if report.way:
        columns = ["step", *asked, "same as before", "SQNR to before", "lost, gained"]
        rows = [_step(step, asked) for step in report.way]
        tables.append(("Where accuracy changes", *_filled(columns, rows)))
    compared = list(_compared(report))
    # Of an only output the other tables say it.
    if any(len(comparison.agreement.outputs) > 1 for _, comparison in compared):
        columns = ["model", "against", "output", "shape", "SQNR", "largest difference"]
        rows = [
            [name, comparison.against, *_output(each)]
            for name, comparison in compared
            for each in comparison.agreement.outputs
        ]
        tables.append(("Every output", columns, rows))
    if report.rivals:
        columns = [
            "instead", "compute", "the model is", "images/s, in flight", *asked,
            "same prediction", "size",
        ]  # fmt: skip
        sides = [report.subject, *report.rivals]
        sides += [report.baseline] if report.baseline is not None else []
        rows = [_rival(report, each, asked) for each in sides]
        tables.append(("What might run instead", columns, rows))
    if report.sweep:
        tables.append(("Batch sizes", *_sweep(report)))
    return [*tables, *locate_tables(report.located)]


def answers(report: Report) -> str:
    """What was asked for and stands in no table, a line each.

    Args:
        report: The evaluation.
    """
    lines = []
    if report.subject.accuracy is None and not report.subject.metrics:
        lines.append("The data has no labels, so there is no accuracy.")
    baseline = report.baseline
    if report.subject.timings and baseline is not None and not baseline.timings:
        is_other = baseline.recorded_on is not None and baseline.device != report.subject.device
        how = "is of another kind of device" if is_other else "was not timed"
        lines.append(f"{baseline.name} {how}, so there is no speed-up.")
    if report.latency_budget_ms is not None:
        best = f"batch {report.best_batch}" if report.best_batch else "none of the batch sizes"
        lines.append(f"Best within {report.latency_budget_ms:g} ms for 99 % of requests: {best}")
    lines += locate_answers(report.located)
    return "\n".join(lines)


def closing_words(report: Report) -> Iterator[str]:
    """What follows the tables: answers, where it was measured, and trtexec's summary.

    Args:
        report: The evaluation.
    """
    if words := answers(report):
        yield words
    yield f"\n{where_measured(report)}"
    if report.trtexec is not None:
        yield f"\n{trtexec_summary(report.trtexec)}"


def where_measured(report: Report) -> str:
    """Data and host, with the clocks of its GPU where NVML told them.

    Args:
        report: The evaluation.
    """
    gpu = report.environment.gpu
    where = f"{gpu.name}, driver {gpu.driver}" if gpu else report.environment.cpu
    if report.telemetry is not None:
        during = report.telemetry
        where += (
            f"\nSM clock {during.lowest_sm_clock_mhz} to {during.highest_sm_clock_mhz} of "
            f"{during.max_sm_clock_mhz} MHz, {during.before.temperature_c} to "
            f"{during.after.temperature_c} °C, {during.before.power_w:.0f} to "
            f"{during.after.power_w:.0f} W"
        )
    return f"{report.data}; {where}"


def _compared(report: Report) -> Iterator[tuple[str, Comparison]]:
    """Who was compared with whom: model and rivals with the baseline, steps with the one before."""
    for side in (report.subject, *report.rivals):
        if side.to_baseline is not None:
            yield side.name, side.to_baseline
    for side in report.way:
        if side.to_step_before is not None:
            yield side.name, side.to_step_before


def _output(output: OutputAgreement) -> list[str]:
    sqnr, worst = decibels(output.sqnr_db), f"{output.worst:.3g}"
    return [output.name, _shape(output.shape), sqnr, worst]


def _shape(shape: Sequence[int]) -> str:
    from trtqat.tensors import DYNAMIC

    return "x".join("N" if length == DYNAMIC else str(length) for length in shape) or "()"


def _filled(columns: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Without the columns in which nobody has anything, as top-1 of a detector."""
    kept = [0, *(at for at in range(1, len(columns)) if any(row[at] for row in rows))]
    return [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]


def _step(step: Measured, asked: Sequence[str]) -> list[str]:
    comparison = step.to_step_before
    agreement = comparison.agreement if comparison else None
    paired = comparison.paired if comparison else None
    changed = ""
    if paired:
        changed = f"{paired.lost}, {paired.gained} (p = {paired.p_value:.2g})"
    found = asked_values(step, asked)
    return [step.name, *found, _same(agreement), _decibels(agreement), changed]


def _rival(report: Report, side: Measured, asked: Sequence[str]) -> list[str]:
    at = side.at(report.batch_size)
    rate = at.timing.throughput if at else None
    return [
        side.name,
        f"{at.timing.compute.median_ms:.3f} ms" if at else "",
        f"{ratio(at.speedup)} as fast{_doubt(report, at)}" if at and at.speedup else "",
        f"{rate.images_per_second:,.0f} ({rate.in_flight})" if rate else "",
        *asked_values(side, asked),
        _same(side.to_baseline.agreement if side.to_baseline else None),
        _size(side.size_bytes),
    ]


def _doubt(report: Report, at: BatchTiming) -> str:
    """Whether a speed-up is in doubt: the times of one of the two vary."""
    subject = report.subject.at(at.batch_size)
    unstable = at.timing.is_unstable or (subject is not None and subject.timing.is_unstable)
    return " (unstable)" if unstable else ""


def _same(agreement: Agreement | None) -> str:
    return share(agreement.same_top1, agreement.count) if agreement else ""


def _size(count: int | None) -> str:
    if not count:
        return ""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _decibels(agreement: Agreement | None) -> str:
    if agreement is None or agreement.sqnr_db is None:
        return ""
    return decibels(agreement.sqnr_db)


def _sweep(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the batch sizes."""
    points = {each.batch_size: each for each in report.subject.timings}
    others = {size: report.baseline.at(size) if report.baseline else None for size in points}
    ratios = {size: each.speedup for size, each in others.items() if each and each.speedup}
    in_flight = all(point.timing.throughput for point in points.values())
    columns = ["batch", "images/s, in flight" if in_flight else "images/s"]
    columns += ["compute", "request", "request, 99 %", *(["speed-up"] if ratios else [])]
    compiled = {size: compiled_in(report.subject.compilation(size)) for size in points}
    columns += ["kernels compiled before"] if any(compiled.values()) else []
    columns += [rival.name for rival in report.rivals]
    rows = []
    for size, point in points.items():
        timing = point.timing
        # A recorded baseline may be of other batch sizes.
        doubt = {size: _doubt(report, each) for size, each in others.items() if each}
        told = f"{ratios[size].value:.2f}x{doubt[size]}" if size in ratios else ""
        speedup = [told] if ratios else []
        rivals = (rival.at(size) for rival in report.rivals)
        rows.append(
            [
                str(size),
                f"{point.images_per_second:,.0f}",
                f"{timing.compute.median_ms:.3f} ms",
                f"{timing.request.median_ms:.3f} ms",
                f"{timing.request.p99_ms:.3f} ms",
                *speedup,
                *([compiled[size]] if any(compiled.values()) else []),
                *(f"{rival.timing.compute.median_ms:.3f} ms" if rival else "" for rival in rivals),
            ]
        )
    return columns, rows
