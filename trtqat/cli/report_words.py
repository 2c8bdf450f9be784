"""An evaluation's report in words and tables, for the terminal and the HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trtqat.evaluation.locate import LayerDrift
    from trtqat.evaluation.report import Report
    from trtqat.evaluation.sweep import BatchPoint
    from trtqat.evaluation.timing import Latency

Table = tuple[str, Sequence[str], list[list[str]]]


def report_tables(report: Report, drifts: Sequence[LayerDrift] = ()) -> list[Table]:
    """Title, columns and rows of every table.

    Args:
        report: The evaluation.
        drifts: Layers as ``evaluation.locate.locate`` found them.
    """
    columns = [f"{report.images} images, batch {report.batch_size}"]
    columns += [side.name for side in report.sides]
    tables: list[Table] = [
        ("Accuracy and latency", columns, [row for row in _rows(report) if any(row[1:])])
    ]
    if report.curve:
        columns = ["batch", "images/s", "compute", "request", "request, 99 %", "speed-up"]
        tables.append(("Batch sizes", columns, [_point(point) for point in report.curve]))
    if drifts:
        columns = ["layer, most lost first", "operator", "SQNR", "lost here", "lint"]
        ranked = sorted(drifts, key=lambda each: -each.fall_db)
        tables.append(("Where quantization loses", columns, [_drift(each) for each in ranked]))
    return tables


def describe_report(
    report: Report, drifts: Sequence[LayerDrift], latency_budget_ms: float | None
) -> str:
    """What stands below the tables.

    Args:
        report: The evaluation.
        drifts: Layers as ``evaluation.locate.locate`` found them.
        latency_budget_ms: The budget, if there was one.
    """
    lines = []
    if latency_budget_ms is not None:
        best = f"batch {report.best_batch}" if report.best_batch else "none of the batch sizes"
        lines.append(f"Best within {latency_budget_ms:g} ms for 99 % of requests: {best}")
    if drifts:
        from trtqat.evaluation.locate import first_drift

        first = first_drift(tuple(drifts))
        lines.append(
            f"First layer in the graph's order below 20 dB: {first.name if first else 'none'}"
        )
    gpu = report.environment.gpu
    where = f"{gpu.name}, driver {gpu.driver}" if gpu else report.environment.cpu
    return "\n".join([*lines, f"\n{report.data}; {where}"])


def _drift(drift: LayerDrift) -> list[str]:
    return [
        drift.name,
        drift.operator,
        f"{drift.sqnr_db:.1f} dB",
        f"{drift.fall_db:.1f} dB",
        ", ".join(drift.findings),
    ]


def _point(point: BatchPoint) -> list[str]:
    timing = point.model
    return [
        str(point.batch_size),
        f"{point.images_per_second:,.0f}",
        f"{timing.compute.median_ms:.3f} ms",
        f"{timing.request.median_ms:.3f} ms",
        f"{timing.request.p99_ms:.3f} ms",
        f"{point.speedup.value:.2f}x" if point.speedup else "",
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
        if agreement.sqnr_db is not None:
            rows.append(["SQNR of the first output", *blank, f"{agreement.sqnr_db:.1f} dB"])
    rows += [
        times(f"{device}, median", "compute", "median_ms"),
        ["95 % interval of the median", *medians()],
        times("mean", "compute", "mean_ms"),
        times("90 %", "compute", "p90_ms"),
        times("95 %", "compute", "p95_ms"),
        times("99 %", "compute", "p99_ms"),
        times("request (host to host), median", "request", "median_ms"),
        times("enqueue (host), median", "enqueue", "median_ms"),
        ["mode", *(side.timing.mode if side.timing else "" for side in sides)],
    ]
    if report.speedup is not None:
        low, high = report.speedup.interval.low, report.speedup.interval.high
        ratio = f"{report.speedup.value:.2f}x ({low:.2f} … {high:.2f})"
        how = "in turns" if report.speedup.rounds else "against the record"
        rows.append([f"speed-up (compute, {how})", *blank, ratio])
    return rows


def _share(hits: Any, count: int) -> str:  # noqa: ANN401
    return "" if hits is None else f"{100 * hits / count:.2f} % ({hits}/{count})"
