"""What must hold before anything is measured, and what is demanded of the figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from trtqat.data.batches import Dataset
from trtqat.data.labels import class_numbers
from trtqat.errors import UsageError
from trtqat.evaluation.contenders import Contender, Lineup, Measured
from trtqat.evaluation.intervals import beside_limit, is_allowed
from trtqat.evaluation.metric_figures import check_recorded_metrics
from trtqat.evaluation.metrics.asked import NOTHING_ASKED, AskedMetrics
from trtqat.evaluation.options import EvaluateOptions
from trtqat.runtime.batches import batches_of_model, next_batch
from trtqat.runtime.protocol import Model


def check_batch_sizes(models: Iterable[Model], sizes: Iterable[int]) -> None:
    """Refuses batch sizes that a model does not take.

    Raises:
        UsageError: One of them is outside of a model's range.
    """
    for model, batch_size in itertools.product(models, sorted(sizes)):
        if batch_size < 1 or next_batch(model, batch_size) != batch_size:
            raise UsageError(
                f"Batch size {batch_size} is not one that '{model.name}' takes "
                f"({batches_of_model(model)}).",
                "Choose --batch-size from these, or export and build it for yours.",
            )


def check_can_be_measured(
    contenders: Sequence[Contender],
    options: EvaluateOptions,
    dataset: Dataset,
    recorded: Measured | None = None,
    asked: AskedMetrics = NOTHING_ASKED,
) -> None:
    """Refuses options whose figures there would not be.

    Args:
        contenders: What is measured here.
        options: What to measure and to demand.
        dataset: With at least one image.
        recorded: A baseline that was measured elsewhere, if there is one.
        asked: Metrics, and gates on them.

    Raises:
        UsageError: A gate or an option lacks what it is about.
        DataError: Labels are no class numbers, and nothing else is asked for.
    """
    _check_limits(options)
    roles = {each.role for each in contenders}
    has_baseline = "baseline" in roles or recorded is not None
    labels = dataset.batch(0, 1).labels
    has_labels = labels is not None
    _check_metrics(asked, has_labels=has_labels, has_baseline=has_baseline, recorded=recorded)
    if labels is not None and (asked.counts_classes or options.max_accuracy_drop is not None):
        class_numbers(f"The labels of '{dataset.name}'", labels)
    if options.max_accuracy_drop is not None and not (has_labels and has_baseline):
        raise UsageError(
            "An accuracy drop needs labelled data and a baseline.",
            "Give both, or leave out --max-accuracy-drop.",
        )
    if options.max_accuracy_drop is not None and recorded is not None and not recorded.accuracy:
        raise UsageError(
            f"The report of '{recorded.name}' has no count of right answers, so there is no drop.",
            "Record the baseline with --metric top1, or leave out --max-accuracy-drop.",
        )
    if options.min_sqnr_db is not None and not roles & {"baseline", "step"}:
        had = "a recorded one has predictions alone" if recorded else "there is none"
        raise UsageError(
            f"An SQNR needs the outputs of a baseline; {had}.",
            "Give --baseline, --fake-quantized or --reference, or leave out --min-sqnr-db.",
        )
    _check_timing(contenders, options)
    if options.min_speedup is not None and not (has_baseline and options.latency):
        raise UsageError(
            "A speed-up needs a baseline and a latency measurement.",
            f"Give a {'--duration' if has_baseline else '--baseline'}, or leave out --min-speedup.",
        )
    untimed = [each for each in contenders if each.role == "baseline" and not each.is_timed]
    if options.min_speedup is not None and untimed:
        raise UsageError(
            f"'{untimed[0].model.name}' is not timed beside the model, so there is no speed-up.",
            "Give a PyTorch --baseline, or leave out --min-speedup.",
        )
    if options.min_speedup is not None and recorded is not None:
        (subject,) = (each.model for each in contenders if each.role == "subject")
        _check_recorded_timing(recorded, subject, options.batch_size)


def _check_metrics(
    asked: AskedMetrics, *, has_labels: bool, has_baseline: bool, recorded: Measured | None
) -> None:
    if asked.metrics and not has_labels:
        names = ", ".join(each.label for each in asked.metrics)
        raise UsageError(
            f"The data has no labels, which {names} would be measured by.",
            "Give labelled data, or leave out --metric and --max-drop.",
        )
    for label, points in asked.max_drop.items():
        if math.isnan(points):
            raise UsageError(f"--max-drop {label} is nan, which is no limit.", "Give it a number.")
        if not has_baseline:
            raise UsageError(
                f"A drop of {label} needs a baseline.",
                "Give --baseline or --baseline-report, or leave out --max-drop.",
            )
        if recorded is not None and recorded.metric(label) is None:
            counted = label == "top1" and recorded.accuracy is not None
            raise UsageError(
                f"The report of '{recorded.name}' has no {label}, so there is no drop.",
                f"Write --max-accuracy-drop {points:g}: it has the counts for that."
                if counted
                else f"Record the baseline with --metric {label}, or leave out --max-drop.",
            )
    if recorded is not None:
        check_recorded_metrics(asked.metrics, recorded)


def _check_limits(options: EvaluateOptions) -> None:
    """Refuses NaN: nothing is more or less than it, so every figure would pass."""
    limits = {
        "--max-accuracy-drop": options.max_accuracy_drop,
        "--min-sqnr-db": options.min_sqnr_db,
        "--min-speedup": options.min_speedup,
        "--latency-budget": options.latency_budget_ms,
    }
    for option, limit in limits.items():
        if limit is not None and math.isnan(limit):
            raise UsageError(f"{option} is nan, which is no limit.", "Give it a number.")


def _check_timing(contenders: Sequence[Contender], options: EvaluateOptions) -> None:
    is_engine = any(each.role == "subject" and each.model.engine is not None for each in contenders)
    if options.like is not None and (not is_engine or options.latency is None):
        raise UsageError(
            "trtexec times engines; there is none here, or no duration.",
            "Give an engine and a --duration, or leave out --like.",
        )
    if options.latency is None and (options.sweep or options.latency_budget_ms is not None):
        raise UsageError(
            "Several batch sizes or a latency budget need a latency measurement.",
            "Give a --duration, or one batch size.",
        )


def top1_drop_points(lineup: Lineup) -> float | None:
    """Top-1 points that the subject loses to the baseline; None if one has no accuracy.

    Args:
        lineup: What was measured.
    """
    mine = lineup.subject.accuracy
    theirs = lineup.baseline.accuracy if lineup.baseline is not None else None
    return None if mine is None or theirs is None else theirs.top1_percent - mine.top1_percent


def failed_gates(
    options: EvaluateOptions,
    lineup: Lineup,
    outputs: Sequence[str],
    asked: AskedMetrics = NOTHING_ASKED,
) -> tuple[str, ...]:
    """A sentence for every gate that was not met.

    Args:
        options: With the gates.
        lineup: What was measured.
        outputs: Names of the subject's outputs.
        asked: Metrics, and how much worse than the baseline's they may be.
    """
    failed: list[str] = []
    drop, allowed = top1_drop_points(lineup), options.max_accuracy_drop
    first = lineup.subject.predictions.output
    if drop is not None and allowed is not None:
        failed += _compared_with_nan(lineup, "top-1", first)
        if not is_allowed(drop, allowed):
            by = beside_limit(drop, allowed, ".2f")
            failed.append(f"Top-1 drops by {by} points, more than {allowed:g}.")
    read = {each.label: first if each.reads_first else each.output for each in asked.metrics}
    for label, points in asked.max_drop.items():
        failed += _compared_with_nan(lineup, label, read.get(label))
        failed += _dropped(lineup.subject, label, points)
    if options.min_sqnr_db is not None:
        failed += _short_outputs(options.min_sqnr_db, lineup.subject, outputs)
    at = lineup.baseline.at(options.batch_size) if lineup.baseline is not None else None
    wanted, speedup = options.min_speedup, at.speedup if at else None
    if wanted is not None and speedup is not None and speedup.value < wanted:
        found = beside_limit(speedup.value, wanted, ".2f")
        failed.append(f"The speed-up is {found}, less than {wanted:g}.")
    return tuple(failed)


def _compared_with_nan(lineup: Lineup, label: str, output: str | None) -> Iterator[str]:
    """A sentence for an output of which a baseline says nothing: beside NaN no model is worse.

    A metric of which nobody knows what it reads may read each of them.
    """
    baseline = lineup.baseline
    if baseline is None:
        return
    for name in baseline.nan_outputs:
        if not output or name == output:
            yield (
                f"The output '{name}' of '{baseline.name}' is NaN for every image, so nobody knows "
                f"how the {label} changed."
            )


def _dropped(subject: Measured, label: str, allowed: float) -> Iterator[str]:
    """A sentence if a metric is worse than allowed, or nobody knows."""
    figure = subject.metric(label)
    drop = figure.drop if figure else None
    if figure is None or drop is None or math.isnan(drop.value):
        yield f"The {label} of model or baseline is no number, so nobody knows how it changed."
    elif not is_allowed(drop.value, allowed):
        unit = "points" if figure.unit == "%" else figure.unit
        verb = "drops" if figure.higher_is_better else "rises"
        by = f"{beside_limit(drop.value, allowed, '.3g')} {unit}".rstrip()
        yield f"The {label} {verb} by {by}, more than {allowed:g}."


def _short_outputs(min_sqnr_db: float, subject: Measured, outputs: Sequence[str]) -> Iterator[str]:
    """A sentence for every output that falls short, and for one that was not compared."""
    comparison = subject.to_baseline
    # A recorded baseline has no outputs; the step before the subject then has.
    if comparison is None or not comparison.agreement.outputs:
        comparison = subject.to_step_before or comparison
    agreement = comparison.agreement if comparison else None
    compared = {each.name: each for each in agreement.outputs} if agreement else {}
    for name in outputs:
        if name not in compared:
            yield f"The output '{name}' was not compared, so it has no SQNR."
        elif math.isnan(compared[name].sqnr_db):
            yield (
                f"The SQNR of the output '{name}' is no number: it holds NaN or infinities, or no "
                "element."
            )
        elif compared[name].sqnr_db < min_sqnr_db:
            found = beside_limit(compared[name].sqnr_db, min_sqnr_db, ".1f")
            yield f"The SQNR of the output '{name}' is {found} dB, less than {min_sqnr_db:g}."


def _check_recorded_timing(recorded: Measured, subject: Model, batch_size: int) -> None:
    if not recorded.timings:
        raise UsageError(
            "The recorded baseline has no latency, so there is no speed-up.",
            "Record one with --duration, or leave out --min-speedup.",
        )
    if recorded.device != subject.device:
        raise UsageError(
            f"'{recorded.name}' was timed on another kind of device than '{subject.name}', so "
            "there is no speed-up.",
            "Record it on the same kind, or leave out --min-speedup.",
        )
    if recorded.at(batch_size) is None:
        sizes = ", ".join(str(each.batch_size) for each in recorded.timings)
        raise UsageError(
            f"The baseline was recorded at batch {sizes}, not {batch_size}.",
            "Give that --batch-size, or leave out --min-speedup.",
        )
