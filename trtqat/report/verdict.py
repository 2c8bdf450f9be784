"""What an evaluation found, in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trtqat.report.metric_words import metric_verdict
from trtqat.report.wording import signed

if TYPE_CHECKING:
    from trtqat.evaluation.report import Report

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
            # Not seen is not equal: the interval says how far apart they may be.
            parts.append(
                f"shows no difference in speed from {report.baseline.name} ({low:.2f} to "
                f"{high:.2f} times as fast)"
            )
        if report.is_unstable:
            parts[-1] += " (unstable)"
    elif (timing := report.timing(report.subject)) is not None:
        parts.append(f"computes a batch in {timing.compute.median_ms:.3f} ms")
    accuracy, comparison = report.subject.accuracy, report.subject.to_baseline
    paired = comparison.paired if comparison else None
    drop = report.top1_drop_points
    points = f"{signed(-drop)} points" if drop else "0 points"
    if accuracy is not None:
        right = f"{accuracy.top1} of {accuracy.count} images right"
        if drop is None or paired is None:
            parts.append(f"gets {right}")
        elif paired.p_value >= _SIGNIFICANT:
            parts.append(f"gets {right}, which is no significant difference ({points})")
        else:
            word = "fewer" if drop > 0 else "more"
            parts.append(f"gets {right}, significantly {word} ({points})")
    # What was counted has been said.
    said = ("top1",) if accuracy is not None else ()
    others = [each for each in report.subject.metrics if each.metric not in said]
    parts += metric_verdict(others, report.images)
    return f"{name} {' and '.join(parts) or 'was run on ' + str(report.images) + ' images'}."
