"""The metric that a search holds, instead of counting right answers."""

from __future__ import annotations

from pathlib import Path

from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.metrics.named import as_metrics
from trtqat.files import is_file, sha256_of


def asked_metric(given: str | Metric | None) -> Metric | None:
    """What a name means; None counts right answers.

    Args:
        given: As ``trtqat eval --metric`` takes it, or made already.

    Raises:
        UsageError: There is no such metric.
    """
    return None if given is None else as_metrics([given])[0]


def parts_of_key(given: str | Metric | None) -> tuple[str, ...]:
    """What is the same if and only if the metric is: its options, and the code of the user's.

    Args:
        given: As for ``asked_metric``.
    """
    metric = asked_metric(given)
    if metric is None:
        return ()
    file = given.rpartition(":")[0] if isinstance(given, str) else ""
    return (metric.spec, *([sha256_of(Path(file))] if file and is_file(file) else []))
