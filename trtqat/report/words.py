"""An evaluation's report in words and tables, for the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trtqat.report.locate_words import locate_answers, locate_tables
from trtqat.report.wording import Table, decibels

if TYPE_CHECKING:
    from trtqat.evaluation.contenders import Comparison, Measured
    from trtqat.evaluation.counts import Agreement, OutputAgreement
    from trtqat.evaluation.report import Report
    from trtqat.evaluation.timing import Latency, Ratio, Timing


def report_tables(report: Report) -> list[Table]:
    """Title, columns and rows of every table.

    Args:
        report: The evaluation.
    """
    columns = [f"{report.images} images, batch {report.batch_size}"]
    columns += [side.name for side in report.sides]
    tables: list[Table] = [
        ("Accuracy and latency", columns, [row for row in _rows(report) if any(row[1:])])
    ]
    if report.way:
        columns = ["step", "top-1", "same as before", "SQNR to before", "lost, gained"]
        rows = [_step(step) for step in report.way]
        tables.append(("Where accuracy changes", columns, rows))
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
            "instead", "compute", "the model is", "images/s, in flight", "top-1",
            "same prediction", "size",
        ]  # fmt: skip
        sides = [report.subject, *report.rivals]
        sides += [report.baseline] if report.baseline is not None else []
        tables.append(("What might run instead", columns, [_rival(report, each) for each in sides]))
    if report.sweep:
        tables.append(("Batch sizes", *_sweep(report)))
    return [*tables, *locate_tables(report.located)]


def answers(report: Report) -> str:
    """What was asked for and stands in no table, a line each.

    Args:
        report: The evaluation.
    """
    lines = []
    if report.subject.accuracy is None:
        lines.append("The data has no labels, so there is no accuracy.")
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
    from trtqat.evaluation.trtexec import describe

    if words := answers(report):
        yield words
    yield f"\n{where_measured(report)}"
    if report.trtexec is not None:
        yield f"\n{describe(report.trtexec)}"


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


def _step(step: Measured) -> list[str]:
    comparison = step.to_step_before
    agreement = comparison.agreement if comparison else None
    paired = comparison.paired if comparison else None
    changed = ""
    if paired:
        changed = f"{paired.lost}, {paired.gained} (p = {paired.p_value:.2g})"
    return [step.name, _top1(step), _same(agreement), _decibels(agreement), changed]


def _rival(report: Report, side: Measured) -> list[str]:
    at = side.at(report.batch_size)
    rate = at.timing.throughput if at else None
    return [
        side.name,
        f"{at.timing.compute.median_ms:.3f} ms" if at else "",
        f"{_ratio(at.speedup)} as fast" if at and at.speedup else "",
        f"{rate.images_per_second:,.0f} ({rate.in_flight})" if rate else "",
        _top1(side),
        _same(side.to_baseline.agreement if side.to_baseline else None),
        _size(side.size_bytes),
    ]


def _top1(side: Measured) -> str:
    return _share(side.accuracy.top1, side.accuracy.count) if side.accuracy else ""


def _same(agreement: Agreement | None) -> str:
    return _share(agreement.same_top1, agreement.count) if agreement else ""


def _size(count: int | None) -> str:
    if not count:
        return ""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _sqnr_label(agreement: Agreement) -> str:
    if len(agreement.outputs) < 2:
        return "SQNR of the first output"
    return f"SQNR of the first output, {agreement.outputs[0].name}"


def _decibels(agreement: Agreement | None) -> str:
    if agreement is None or agreement.sqnr_db is None:
        return ""
    return decibels(agreement.sqnr_db)


def _ratio(ratio: Ratio) -> str:
    low, high = ratio.interval.low, ratio.interval.high
    return f"{ratio.value:.2f}x ({low:.2f} … {high:.2f})"


def _sweep(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the batch sizes."""
    points = {each.batch_size: each for each in report.subject.timings}
    others = {size: report.baseline.at(size) if report.baseline else None for size in points}
    ratios = {size: each.speedup for size, each in others.items() if each and each.speedup}
    in_flight = all(point.timing.throughput for point in points.values())
    columns = ["batch", "images/s, in flight" if in_flight else "images/s"]
    columns += ["compute", "request", "request, 99 %", *(["speed-up"] if ratios else [])]
    columns += [rival.name for rival in report.rivals]
    rows = []
    for size, point in points.items():
        timing = point.timing
        # A recorded baseline may be of other batch sizes.
        speedup = [f"{ratios[size].value:.2f}x" if size in ratios else ""] if ratios else []
        rivals = (rival.at(size) for rival in report.rivals)
        rows.append(
            [
                str(size),
                f"{point.images_per_second:,.0f}",
                f"{timing.compute.median_ms:.3f} ms",
                f"{timing.request.median_ms:.3f} ms",
                f"{timing.request.p99_ms:.3f} ms",
                *speedup,
                *(f"{rival.timing.compute.median_ms:.3f} ms" if rival else "" for rival in rivals),
            ]
        )
    return columns, rows


def _rows(report: Report) -> list[list[str]]:
    sides = report.sides
    timings = [report.timing(side) for side in sides]
    size = report.batch_size
    blank = [""] * (len(sides) - 1)

    def counts(what: str) -> list[str]:
        cells = []
        for side in sides:
            hits = getattr(side.accuracy, what) if side.accuracy else None
            cells.append(_share(hits, side.accuracy.count if side.accuracy else 0))
        return cells

    def times(label: str, figure: str, statistic: str) -> list[str]:
        cells = []
        for timing in timings:
            latency: Latency | None = getattr(timing, figure) if timing else None
            cells.append(f"{getattr(latency, statistic):.3f} ms" if latency else "")
        return [label, *cells]

    def intervals() -> list[str]:
        found = [side.accuracy.top1_interval if side.accuracy else None for side in sides]
        return [f"{100 * i.low:.2f} … {100 * i.high:.2f} %" if i else "" for i in found]

    def medians() -> list[str]:
        found = [timing.compute.interval_ms if timing else None for timing in timings]
        return [f"{interval} ms" if interval else "" for interval in found]

    comparison = report.subject.to_baseline
    paired = comparison.paired if comparison else None
    device = "GPU compute time" if report.subject.device == "cuda" else "compute time"
    rows = [
        ["top-1", *counts("top1")],
        ["95 % interval", *intervals()],
        ["top-5", *counts("top5")],
    ]
    if paired:
        rows.append(
            [
                "right only there, right only here",
                *blank,
                f"{paired.lost}, {paired.gained} (McNemar p = {paired.p_value:.2g})",
            ]
        )
    if comparison:
        agreement = comparison.agreement
        rows.append(["same prediction as the baseline", *blank, _same(agreement)])
        rows.append([_sqnr_label(agreement), *blank, _decibels(agreement)])
    rows += [
        times(f"{device}, median", "compute", "median_ms"),
        ["95 % interval of the median", *medians()],
        times("mean", "compute", "mean_ms"),
        times("90 %", "compute", "p90_ms"),
        times("95 %", "compute", "p95_ms"),
        times("99 %", "compute", "p99_ms"),
        times("request (host to host), median", "request", "median_ms"),
        times("enqueue (host), median", "enqueue", "median_ms"),
        times("inputs to the GPU (H2D), median", "h2d", "median_ms"),
        times("outputs back (D2H), median", "d2h", "median_ms"),
        ["images/s, one query at a time", *(_one_at_a_time(each, size) for each in timings)],
        ["images/s, several in flight", *map(_in_flight, timings)],
        ["of what the GPU computes alone", *(_share_of_gpu(each, size) for each in timings)],
        ["mode", *(timing.mode if timing else "" for timing in timings)],
    ]
    if report.speedup is not None:
        ratio = _ratio(report.speedup)
        how = "in turns" if report.speedup.rounds else "against the record"
        rows.append([f"speed-up (compute, {how})", *blank, ratio])
    return rows


def _one_at_a_time(timing: Timing | None, batch_size: int) -> str:
    if timing is None or timing.throughput is None:
        return ""
    return f"{timing.requested_per_second(batch_size):,.0f}"


def _in_flight(timing: Timing | None) -> str:
    found = timing.throughput if timing else None
    return f"{found.images_per_second:,.0f} ({found.in_flight})" if found else ""


def _share_of_gpu(timing: Timing | None, batch_size: int) -> str:
    if timing is None or timing.throughput is None:
        return ""
    alone = timing.computed_per_second(batch_size)
    return f"{100 * timing.throughput.images_per_second / alone:.0f} %"


def _share(hits: Any, count: int) -> str:  # noqa: ANN401
    return "" if hits is None else f"{100 * hits / count:.2f} % ({hits}/{count})"
