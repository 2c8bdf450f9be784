"""``evaluate``: one model, one baseline, the same data: accuracy and latency side by side."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from trtqat.data.batches import Dataset
from trtqat.errors import DataError, GateError, UsageError
from trtqat.evaluation.accuracy import (
    Accuracy,
    AccuracyResult,
    Progress,
    measure_accuracy,
)
from trtqat.evaluation.latency import LatencyOptions, Ratio, Timing, measure_in_turns
from trtqat.evaluation.protocol import Model
from trtqat.evaluation.recorded import RecordedBaseline, compare_with, pack, recorded_ratio
from trtqat.evaluation.sweep import BatchPoint, best_within
from trtqat.runtime.environment import Environment, describe_environment
from trtqat.tensors import Arrays

_LOG = logging.getLogger(__name__)

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class EvaluateOptions:
    """What to measure and what to demand.

    Attributes:
        batch_size: Of every batch but the last.
        latency: How long to time; None measures no latency.
        sweep: Batch sizes to time besides.
        latency_budget_ms: What the best of them must keep; None asks for none.
        max_accuracy_drop: Gate: top-1 points that may be lost to the baseline.
        min_speedup: Gate: least ratio of the baseline's median compute time to the model's.
    """

    batch_size: int = 32
    latency: LatencyOptions | None = field(default_factory=LatencyOptions)
    sweep: tuple[int, ...] = ()
    latency_budget_ms: float | None = None
    max_accuracy_drop: float | None = None
    min_speedup: float | None = None


@dataclass(frozen=True)
class Measured:
    """One model's figures; None where the data has no labels or latency was not asked for."""

    name: str
    device: str
    accuracy: Accuracy | None
    timing: Timing | None


@dataclass(frozen=True)
class Report:
    """Everything that one evaluation found.

    Attributes:
        model: The model's figures.
        baseline: The baseline's, if there was one.
        comparison: Agreement between the two.
        data: What it ran on.
        images: How many images.
        batch_size: Of every batch but the last.
        speedup: Baseline's median compute time over the model's, measured in turns.
        environment: The host.
        failed_gates: A sentence for every gate that was not met.
        curve: Timings by batch size, ascending; empty without a sweep.
        best_batch: The best of them within the latency budget, if one was given and met.
        schema_version: Of the JSON form.
    """

    model: Measured
    baseline: Measured | None
    comparison: AccuracyResult
    data: str
    images: int
    batch_size: int
    speedup: Ratio | None
    environment: Environment
    failed_gates: tuple[str, ...]
    curve: tuple[BatchPoint, ...] = ()
    best_batch: int | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def sides(self) -> tuple[Measured, ...]:
        """The baseline, if there was one, and the model."""
        return (self.model,) if self.baseline is None else (self.baseline, self.model)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What spoils the timings, with the name of the model."""
        return tuple(
            f"{side.name}: {warning}"
            for side in self.sides
            for warning in (side.timing.warnings if side.timing else ())
        )

    @property
    def top1_drop_points(self) -> float | None:
        """Top-1 points that the model loses to the baseline; negative if it gains."""
        if self.baseline is None or self.baseline.accuracy is None or self.model.accuracy is None:
            return None
        return self.baseline.accuracy.top1_percent - self.model.accuracy.top1_percent

    def check_gates(self) -> None:
        """Raises GateError if a gate was not met; the report is complete all the same."""
        if self.failed_gates:
            raise GateError(" ".join(self.failed_gates), "The figures are in the report.")

    def to_dict(self) -> dict[str, Any]:
        """A form for JSON."""
        result = asdict(self)
        del result["comparison"]
        agreement = self.comparison.agreement
        result["agreement"] = None if agreement is None else asdict(agreement)
        paired = self.comparison.paired
        result["paired"] = None if paired is None else {**asdict(paired), "p_value": paired.p_value}
        result["top1_drop_points"] = self.top1_drop_points
        predictions = self.comparison.predictions
        result["predictions"] = {
            "model": pack(predictions.model),
            "baseline": pack(predictions.baseline),
            "data_sha256": predictions.data_sha256,
        }
        return result


def evaluate(
    model: Model,
    dataset: Dataset,
    options: EvaluateOptions | None = None,
    *,
    baseline: Model | None = None,
    recorded: RecordedBaseline | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures accuracy over every image, and latency at one batch size.

    Args:
        model: Engine or graph.
        dataset: Data that fits the model's inputs.
        options: See ``EvaluateOptions``.
        baseline: On the same device class.
        recorded: Instead of one: a baseline that was measured elsewhere.
        progress: Called with images done and their total.

    Raises:
        UsageError: The batch size is outside of the model's range, or a gate lacks its figure.
        DataError: The dataset is empty or does not fit.
        InferenceError: A runtime failed.
    """
    options = options or EvaluateOptions()
    for each in (model, *([baseline] if baseline else [])):
        for size in (options.batch_size, *options.sweep):
            _check_batch_size(each, size)
    if len(dataset) == 0:
        raise DataError(f"'{dataset.name}' has no images.", "Give at least one.")
    _check_gates_can_be_judged(options, dataset, baseline or recorded)
    if options.min_speedup is not None and recorded is not None:
        _check_recorded_timing(recorded, options.batch_size)
    comparison = measure_accuracy(
        model, baseline, dataset, batch_size=options.batch_size, progress=progress
    )
    if recorded is not None:
        comparison = compare_with(recorded, comparison)
    mine = theirs = speedup = None
    curve: list[BatchPoint] = []
    if options.latency is not None:
        models = [model, baseline] if baseline is not None else [model]
        for size in sorted({options.batch_size, *options.sweep}):
            timings, ratio = _time(models, dataset, size, options.latency)
            other_timing = timings[1] if baseline is not None else None
            curve.append(BatchPoint(size, timings[0], other_timing, ratio))
        at = next(point for point in curve if point.batch_size == options.batch_size)
        mine, theirs, speedup = at.model, at.baseline, at.speedup
    if recorded is not None and recorded.batch_size == options.batch_size:
        theirs = recorded.timing
        speedup = recorded_ratio(theirs, mine) if theirs and mine else None
    measured = Measured(model.name, model.device, comparison.model, mine)
    side = baseline or recorded
    budget = options.latency_budget_ms
    best = None if budget is None else best_within(curve, budget)
    other = Measured(side.name, side.device, comparison.baseline, theirs) if side else None
    return Report(
        model=measured,
        baseline=other,
        comparison=comparison,
        data=dataset.name,
        images=len(dataset),
        batch_size=options.batch_size,
        speedup=speedup,
        environment=describe_environment(with_gpu=model.device == "cuda"),
        failed_gates=tuple(_failed_gates(options, comparison, speedup)),
        curve=tuple(curve) if options.sweep else (),
        best_batch=best.batch_size if best else None,
    )


def _time(
    models: Sequence[Model], dataset: Dataset, batch_size: int, options: LatencyOptions
) -> tuple[list[Timing], Ratio | None]:
    names = " and ".join(model.name for model in models)
    _LOG.info("Timing %s at batch %d.", names, batch_size)
    with contextlib.ExitStack() as stack:
        sessions = []
        for model in models:
            sessions.append(model.session(batch_size))
            stack.callback(sessions[-1].close)
        return measure_in_turns(sessions, _full_batch(dataset, batch_size), options)


def _full_batch(dataset: Dataset, batch_size: int) -> Arrays:
    """One batch of real data; a smaller dataset is repeated."""
    batch = dataset.batch(0, min(batch_size, len(dataset)))
    return {
        name: array[[index % len(array) for index in range(batch_size)]]
        for name, array in batch.inputs.items()
    }


def _check_batch_size(model: Model, batch_size: int) -> None:
    low, high = model.batch_range
    if batch_size < max(1, low) or (high is not None and batch_size > high):
        allowed = f"{low}" if low == high else f"{low} to {high or 'any'}"
        raise UsageError(
            f"Batch size {batch_size} is not one that '{model.name}' takes ({allowed}).",
            "Choose --batch-size from these, or export and build it for yours.",
        )


def _check_gates_can_be_judged(
    options: EvaluateOptions, dataset: Dataset, baseline: Model | RecordedBaseline | None
) -> None:
    has_labels = dataset.batch(0, 1).labels is not None
    if options.max_accuracy_drop is not None and not (has_labels and baseline):
        raise UsageError(
            "An accuracy drop needs labelled data and a baseline.",
            "Give both, or leave out --max-accuracy-drop.",
        )
    if options.latency is None and (options.sweep or options.latency_budget_ms is not None):
        raise UsageError(
            "Several batch sizes and a latency budget need a latency measurement.",
            "Give a --duration, or one batch size.",
        )
    if options.min_speedup is not None and (baseline is None or options.latency is None):
        raise UsageError(
            "A speed-up needs a baseline and a latency measurement.",
            "Give --baseline, or leave out --min-speedup.",
        )


def _check_recorded_timing(recorded: RecordedBaseline, batch_size: int) -> None:
    if recorded.timing is None:
        raise UsageError(
            "The recorded baseline has no latency, so there is no speed-up.",
            "Record one with --duration, or leave out --min-speedup.",
        )
    if recorded.batch_size != batch_size:
        raise UsageError(
            f"The baseline was recorded at batch {recorded.batch_size}, not {batch_size}.",
            f"Give --batch-size {recorded.batch_size}, or leave out --min-speedup.",
        )


def _failed_gates(
    options: EvaluateOptions, comparison: AccuracyResult, speedup: Ratio | None
) -> list[str]:
    failed = []
    if options.max_accuracy_drop is not None and comparison.model and comparison.baseline:
        drop = comparison.baseline.top1_percent - comparison.model.top1_percent
        if drop > options.max_accuracy_drop:
            failed.append(
                f"Top-1 drops by {drop:.2f} points, more than {options.max_accuracy_drop:g}."
            )
    wanted = options.min_speedup
    if wanted is not None and speedup is not None and speedup.value < wanted:
        failed.append(f"The speed-up is {speedup.value:.2f}, less than {wanted:g}.")
    return failed
