"""The first table of a report: accuracy and latency of the baseline and the subject."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trtqat.report.metric_words import difference_rows, metric_rows
from trtqat.report.wording import compiled_in, decibels, ratio, share

if TYPE_CHECKING:
    from trtqat.evaluation.counts import Agreement
    from trtqat.evaluation.report import Report
    from trtqat.evaluation.timing import Latency, Timing


def main_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Columns and rows; rows of which nothing is known are left out.

    Args:
        report: The evaluation.
    """
    columns = [f"{report.images} images, batch {report.batch_size}"]
    columns += [side.name for side in report.side_by_side]
    rows = [*_counts(report), *metric_rows(report)]
    rows += [_of_subject(report, *each) for each in difference_rows(report)]
    rows += [*_comparison(report), *_times(report), *_speedup(report)]
    return columns, [row for row in rows if any(row[1:])]


def _counts(report: Report) -> Iterator[list[str]]:
    found = [side.accuracy for side in report.side_by_side]
    yield ["top-1", *(share(each.top1, each.count) if each else "" for each in found)]
    intervals = [each.top1_interval if each else None for each in found]
    yield [
        "95 % interval",
        *(f"{100 * i.low:.2f} … {100 * i.high:.2f} %" if i else "" for i in intervals),
    ]
    yield ["top-5", *(share(each.top5, each.count) if each else "" for each in found)]


def _comparison(report: Report) -> Iterator[list[str]]:
    comparison = report.subject.to_baseline
    if comparison is None:
        return
    agreement, paired = comparison.agreement, comparison.paired
    if paired:
        yield _of_subject(
            report,
            "right only there, right only here",
            f"{paired.lost}, {paired.gained} (McNemar p = {paired.p_value:.2g})",
        )
    same = share(agreement.same_top1, agreement.count)
    yield _of_subject(report, "same prediction as the baseline", same)
    sqnr = "" if agreement.sqnr_db is None else decibels(agreement.sqnr_db)
    yield _of_subject(report, _sqnr_label(agreement), sqnr)


def _times(report: Report) -> Iterator[list[str]]:
    timings = [report.timing(side) for side in report.side_by_side]
    size = report.batch_size

    def times(label: str, figure: str, statistic: str) -> list[str]:
        cells = []
        for timing in timings:
            latency: Latency | None = getattr(timing, figure) if timing else None
            cells.append(f"{getattr(latency, statistic):.3f} ms" if latency else "")
        return [label, *cells]

    device = "GPU compute time" if report.subject.device == "cuda" else "compute time"
    yield times(f"{device}, median", "compute", "median_ms")
    medians = [timing.compute.interval_ms if timing else None for timing in timings]
    yield ["95 % interval of the median", *(f"{each} ms" if each else "" for each in medians)]
    yield times("mean", "compute", "mean_ms")
    yield times("90 %", "compute", "p90_ms")
    yield times("95 %", "compute", "p95_ms")
    yield times("99 %", "compute", "p99_ms")
    yield times("request (host to host), median", "request", "median_ms")
    yield times("enqueue (host), median", "enqueue", "median_ms")
    yield times("inputs to the GPU (H2D), median", "h2d", "median_ms")
    yield times("outputs back (D2H), median", "d2h", "median_ms")
    yield ["images/s, one query at a time", *(_one_at_a_time(each, size) for each in timings)]
    yield ["images/s, several in flight", *map(_in_flight, timings)]
    yield ["with kernels on so many streams", *map(_streams, timings)]
    yield ["of what the GPU computes alone", *(_share_of_gpu(each, size) for each in timings)]
    yield ["mode", *(timing.mode if timing else "" for timing in timings)]
    compiled = [side.compilation(size) for side in report.side_by_side]
    yield ["kernels compiled before, in no time above", *map(compiled_in, compiled)]
    yield ["run by", *(side.library or "" for side in report.side_by_side)]


def _speedup(report: Report) -> Iterator[list[str]]:
    if report.speedup is not None:
        how = "against the record" if report.speedup.turns is None else "in turns"
        doubt = " (unstable)" if report.is_unstable else ""
        yield _of_subject(report, f"speed-up (compute, {how})", ratio(report.speedup) + doubt)


def _of_subject(report: Report, label: str, text: str) -> list[str]:
    """A row that is the subject's alone."""
    return [label, *(text if side.role == "subject" else "" for side in report.side_by_side)]


def _one_at_a_time(timing: Timing | None, batch_size: int) -> str:
    if timing is None or timing.throughput is None:
        return ""
    return f"{timing.requested_per_second(batch_size):,.0f}"


def _in_flight(timing: Timing | None) -> str:
    found = timing.throughput if timing else None
    return f"{found.images_per_second:,.0f} ({found.in_flight})" if found else ""


def _streams(timing: Timing | None) -> str:
    """The way that was faster, and what the other one gave."""
    found = timing.throughput if timing else None
    if found is None or found.compute_streams is None:
        return ""
    if found.otherwise_per_second is None:
        return str(found.compute_streams)
    other = "several" if found.compute_streams == 1 else "one"
    return f"{found.compute_streams} ({other}: {found.otherwise_per_second:,.0f})"


def _share_of_gpu(timing: Timing | None, batch_size: int) -> str:
    if timing is None or timing.throughput is None:
        return ""
    alone = timing.computed_per_second(batch_size)
    return f"{100 * timing.throughput.images_per_second / alone:.0f} %"


def _sqnr_label(agreement: Agreement) -> str:
    if len(agreement.outputs) < 2:
        return "SQNR of the first output"
    return f"SQNR of the first output, {agreement.outputs[0].name}"
