"""Which metrics an evaluation is asked for, and how much worse each may be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trtqat.errors import UsageError
from trtqat.evaluation.metrics.classification import COUNTED
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.metrics.named import as_metrics, parse_metric


@dataclass(frozen=True)
class AskedMetrics:
    """Metrics and gates on them.

    Attributes:
        metrics: Each of another label.
        max_drop: By the label of a metric, how much worse than the baseline it may be, in the
            metric's own unit.
    """

    metrics: tuple[Metric, ...] = ()
    max_drop: Mapping[str, float] = field(default_factory=dict)

    @property
    def counts_classes(self) -> bool:
        """Whether right answers are counted exactly: where nothing is asked, or just that."""
        return not self.metrics or any(each.label in COUNTED for each in self.metrics)


NOTHING_ASKED = AskedMetrics()


def ask_metrics(
    given: Iterable[str | Metric | Callable[..., Any]], max_drop: Mapping[str, float]
) -> AskedMetrics:
    """Finds what metrics' names mean.

    Args:
        given: As ``as_metrics`` takes them.
        max_drop: Gates by a metric's label, or by what ``parse_metric`` takes; that one is
            measured, too.

    Raises:
        UsageError: There is no such metric, or it is named twice or with other options.
    """
    metrics = {each.label: each for each in as_metrics(given)}
    drops: dict[str, float] = {}
    for name, points in max_drop.items():
        label = name
        if name not in metrics:
            metric = parse_metric(name)
            label = metric.label
            asked = metrics.setdefault(label, metric)
            if asked.spec != metric.spec:
                raise UsageError(
                    f"The gate is on {metric.spec}, but {asked.spec} is measured.",
                    f"Write --max-drop {label}:{points:g}, which is on what is measured.",
                )
        if label in drops:
            raise UsageError(f"The metric {label} has two gates.", "Give one --max-drop for it.")
        drops[label] = points
    return AskedMetrics(tuple(metrics.values()), drops)
