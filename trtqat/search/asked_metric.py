"""The metric that a search holds, instead of counting right answers."""

from __future__ import annotations

from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.metrics.named import as_metrics


def asked_metric(given: str | Metric | None) -> Metric | None:
    """What a name means; None counts right answers.

    Args:
        given: As ``trtqat eval --metric`` takes it, or made already.

    Raises:
        UsageError: There is no such metric.
    """
    return None if given is None else as_metrics([given])[0]


def parts_of_key(given: str | Metric | None) -> tuple[str, ...]:
    """What is the same if and only if the metric is: its options, and the files of the user's.

    Args:
        given: As for ``asked_metric``.
    """
    metric = asked_metric(given)
    return () if metric is None else (metric.spec, *metric.files_sha256)
