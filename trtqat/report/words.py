"""An evaluation's report in words and tables, for the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from trtqat.report.locate_words import locate_answers, locate_tables
from trtqat.report.wording import Table, decibels

if TYPE_CHECKING:
    from trtqat.evaluation.accuracy import Compared
    from trtqat.evaluation.counts import Agreement, OutputAgreement
    from trtqat.evaluation.report import Measured, Report
    from trtqat.evaluation.sweep import BatchPoint
    from trtqat.evaluation.timing import Latency, Ratio


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
    if report.comparison.steps:
        columns = ["step", "top-1", "same as before", "SQNR to before", "lost, gained"]
        rows = [_step(step) for step in report.comparison.steps]
        tables.append(("Where accuracy changes", columns, rows))
    agreements = list(_compared(report))
    # Of an only output the other tables say it.
    if any(len(agreement.outputs) > 1 for _, _, agreement in agreements):
        columns = ["model", "against", "output", "shape", "SQNR", "largest difference"]
        rows = [
            [name, other, *_output(each)]
            for name, other, agreement in agreements
            for each in agreement.outputs
        ]
        tables.append(("Every output", columns, rows))
    if report.rivals:
        columns = [
            "instead", "compute", "the model is", "images/s, in flight", "top-1",
            "same prediction", "size",
        ]  # fmt: skip
        agreement = report.comparison.agreement
        rows = [_rival(report.model, agreement, None)]
        rows += [_rival(each.measured, each.agreement, each.speedup) for each in report.rivals]
        if report.baseline is not None:
            rows.append(_rival(report.baseline, None, report.speedup))
        tables.append(("What might run instead", columns, rows))
    if report.curve:
        rate = "images/s, in flight" if report.curve[0].model.throughput else "images/s"
        columns = ["batch", rate, "compute", "request", "request, 99 %"]
        compared = any(point.speedup for point in report.curve)
        columns += ["speed-up"] if compared else []
        columns += [rival.measured.name for rival in report.rivals]
        tables.append(
            ("Batch sizes", columns, [_point(point, compared=compared) for point in report.curve])
        )
    return [*tables, *locate_tables(report.located)]


def answers(report: Report) -> str:
    """What was asked for and stands in no table, a line each.

    Args:
        report: The evaluation.
    """
    lines = []
    if report.model.accuracy is None:
        lines.append("The data has no labels, so there is no accuracy.")
    if report.latency_budget_ms is not None:
        best = f"batch {report.best_batch}" if report.best_batch else "none of the batch sizes"
        lines.append(f"Best within {report.latency_budget_ms:g} ms for 99 % of requests: {best}")
    lines += locate_answers(report.located)
    return "\n".join(lines)


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


def _compared(report: Report) -> Iterator[tuple[str, str, Agreement]]:
    """Who was compared with whom: model and rivals with the baseline, steps with the one before."""
    comparison, baseline = report.comparison, report.baseline
    if baseline is not None:
        sides = [(report.model.name, comparison.agreement)]
        sides += [(each.measured.name, each.agreement) for each in report.rivals]
        for name, agreement in sides:
            if agreement is not None:
                yield name, baseline.name, agreement
    for before, step in pairwise(comparison.steps):
        if step.agreement is not None:
            yield step.name, before.name, step.agreement


def _output(output: OutputAgreement) -> list[str]:
    sqnr, worst = decibels(output.sqnr_db), f"{output.worst:.3g}"
    return [output.name, _shape(output.shape), sqnr, worst]


def _shape(shape: Sequence[int]) -> str:
    from trtqat.tensors import DYNAMIC

    return "x".join("N" if length == DYNAMIC else str(length) for length in shape) or "()"


def _step(step: Compared) -> list[str]:
    agreement, paired = step.agreement, step.paired
    top1 = _share(step.accuracy.top1, step.accuracy.count) if step.accuracy else ""
    changed = ""
    if paired:
        changed = f"{paired.lost}, {paired.gained} (p = {paired.p_value:.2g})"
    return [
        step.name,
        top1,
        _share(agreement.same_top1, agreement.count) if agreement else "",
        _decibels(agreement),
        changed,
    ]


def _rival(side: Measured, agreement: Agreement | None, speedup: Ratio | None) -> list[str]:
    timing = side.timing
    rate = timing.throughput if timing else None
    return [
        side.name,
        f"{timing.compute.median_ms:.3f} ms" if timing else "",
        f"{_ratio(speedup)} as fast" if speedup else "",
        f"{rate.images_per_second:,.0f} ({rate.in_flight})" if rate else "",
        _share(side.accuracy.top1, side.accuracy.count) if side.accuracy else "",
        _share(agreement.same_top1, agreement.count) if agreement else "",
        _size(side.size_bytes),
    ]


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


def _point(point: BatchPoint, *, compared: bool) -> list[str]:
    timing = point.model
    return [
        str(point.batch_size),
        f"{point.images_per_second:,.0f}",
        f"{timing.compute.median_ms:.3f} ms",
        f"{timing.request.median_ms:.3f} ms",
        f"{timing.request.p99_ms:.3f} ms",
        # A recorded baseline may be of other batch sizes.
        *([f"{point.speedup.value:.2f}x" if point.speedup else ""] if compared else []),
        *(f"{rival.timing.compute.median_ms:.3f} ms" for rival in point.rivals),
    ]


def _rows(report: Report) -> list[list[str]]:
    sides = report.sides
    blank = [""] * (len(sides) - 1)

    def counts(what: str) -> list[str]:
        cells = []
        for side in sides:
            hits = getattr(side.accuracy, what) if side.accuracy else None
            cells.append(_share(hits, side.accuracy.count if side.accuracy else 0))
        return cells

    def times(label: str, figure: str, statistic: str) -> list[str]:
        cells = []
        for side in sides:
            latency: Latency | None = getattr(side.timing, figure) if side.timing else None
            cells.append(f"{getattr(latency, statistic):.3f} ms" if latency else "")
        return [label, *cells]

    def intervals() -> list[str]:
        found = [side.accuracy.top1_interval if side.accuracy else None for side in sides]
        return [f"{100 * i.low:.2f} … {100 * i.high:.2f} %" if i else "" for i in found]

    def medians() -> list[str]:
        found = [side.timing.compute.interval_ms if side.timing else None for side in sides]
        return [f"{interval} ms" if interval else "" for interval in found]

    agreement, paired = report.comparison.agreement, report.comparison.paired
    device = "GPU compute time" if report.model.device == "cuda" else "compute time"
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
    if agreement:
        same = _share(agreement.same_top1, agreement.count)
        rows.append(["same prediction as the baseline", *blank, same])
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
        ["images/s, one query at a time", *(_one_at_a_time(report, side) for side in sides)],
        ["images/s, several in flight", *(_in_flight(side) for side in sides)],
        ["of what the GPU computes alone", *(_share_of_gpu(report, side) for side in sides)],
        ["mode", *(side.timing.mode if side.timing else "" for side in sides)],
    ]
    if report.speedup is not None:
        ratio = _ratio(report.speedup)
        how = "in turns" if report.speedup.rounds else "against the record"
        rows.append([f"speed-up (compute, {how})", *blank, ratio])
    return rows


def _one_at_a_time(report: Report, side: Measured) -> str:
    if side.timing is None or side.timing.throughput is None:
        return ""
    return f"{side.timing.requested_per_second(report.batch_size):,.0f}"


def _in_flight(side: Measured) -> str:
    found = side.timing.throughput if side.timing else None
    return f"{found.images_per_second:,.0f} ({found.in_flight})" if found else ""


def _share_of_gpu(report: Report, side: Measured) -> str:
    if side.timing is None or side.timing.throughput is None:
        return ""
    alone = side.timing.computed_per_second(report.batch_size)
    return f"{100 * side.timing.throughput.images_per_second / alone:.0f} %"


def _share(hits: Any, count: int) -> str:  # noqa: ANN401
    return "" if hits is None else f"{100 * hits / count:.2f} % ({hits}/{count})"
