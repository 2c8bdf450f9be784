"""What an evaluation is to measure and to demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

from trtqat.checks import check_choice, check_kind, check_known, check_least
from trtqat.evaluation.metrics.metric import Metric
from trtqat.evaluation.timing import LatencyOptions
from trtqat.evaluation.trtexec import Like


@dataclass(frozen=True)
class EvaluateOptions:
    """What to measure and what to demand.

    Attributes:
        batch_size: Of every batch but the last.
        latency: How long to time; None measures no latency.
        sweep: Batch sizes to time besides.
        latency_budget_ms: What the best of them must keep; None asks for none.
        metrics: What to measure on labelled data instead of top-1: names as ``--metric`` takes
            them, functions of outputs and labels, or what ``trtqat.evaluation.metrics`` makes.
        max_accuracy_drop: Gate: top-1 points that may be lost to the baseline.
        max_drop: Gates: by a metric's name, how much worse than the baseline's it may be.
        min_sqnr_db: Gate: least SQNR of every output against the baseline's, or without one against
            the last step's, in dB.
        min_speedup: Gate: least ratio of the baseline's median compute time to the model's.
        like: Time the engine as this trtexec does, too.
        in_flight: Queries at once on a GPU, for accuracy and for the throughput.
        layer_times: Time each layer of an engine, too, in a run of its own.
    """

    batch_size: int = 32
    latency: LatencyOptions | None = field(default_factory=LatencyOptions)
    sweep: tuple[int, ...] = ()
    latency_budget_ms: float | None = None
    metrics: tuple[str | Metric | Callable[..., Any], ...] = ()
    max_accuracy_drop: float | None = None
    max_drop: Mapping[str, float] = field(default_factory=dict)
    min_sqnr_db: float | None = None
    min_speedup: float | None = None
    in_flight: int = 6
    like: Like | None = None
    layer_times: bool = False

    def __post_init__(self) -> None:
        check_kind("EvaluateOptions.batch_size", self.batch_size, int, "32")
        if self.latency is not None:
            latency = "LatencyOptions(duration_s=1.0)"
            check_kind("EvaluateOptions.latency", self.latency, LatencyOptions, latency)
        check_kind("EvaluateOptions.sweep", self.sweep, (tuple, list), "(1, 8)")
        for size in self.sweep:
            check_kind("A batch size of EvaluateOptions.sweep", size, int, "8")
        check_kind("EvaluateOptions.in_flight", self.in_flight, int, "6")
        check_least("EvaluateOptions.in_flight", self.in_flight, 1)
        check_kind("EvaluateOptions.layer_times", self.layer_times, bool, "True")
        if self.like is not None:
            check_choice("EvaluateOptions.like", self.like, get_args(Like))
        if self.min_sqnr_db is not None:
            check_kind("EvaluateOptions.min_sqnr_db", self.min_sqnr_db, (int, float), "20.0")
        check_kind("EvaluateOptions.metrics", self.metrics, (tuple, list), "('miou:classes=5',)")
        check_kind("EvaluateOptions.max_drop", self.max_drop, Mapping, "{'miou': 0.5}")
        for name, points in self.max_drop.items():
            check_kind(f"EvaluateOptions.max_drop['{name}']", points, (int, float), "0.5")
            check_least(f"EvaluateOptions.max_drop['{name}']", points, 0)
        for name in ("latency_budget_ms", "max_accuracy_drop", "min_speedup"):
            if getattr(self, name) is not None:
                check_kind(f"EvaluateOptions.{name}", getattr(self, name), (int, float), "1.0")
                check_least(f"EvaluateOptions.{name}", getattr(self, name), 0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """All batch sizes that are timed, ascending."""
        return tuple(sorted({self.batch_size, *self.sweep}))


def with_fields(options: EvaluateOptions | None, given: Mapping[str, Any]) -> EvaluateOptions:
    """Options with some of their fields given anew.

    Args:
        options: The others; None takes the defaults.
        given: Values by the name of their field.

    Raises:
        UsageError: There is no such field, or a value is none that it may have.
    """
    check_known(given, [each.name for each in fields(EvaluateOptions)], "an evaluation")
    if options is not None:
        check_kind("The options", options, EvaluateOptions, "EvaluateOptions(batch_size=8)")
    return replace(options or EvaluateOptions(), **given)
