"""What must hold before anything is measured, and what is demanded of the figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from trtqat.data.batches import Dataset
from trtqat.errors import UsageError
from trtqat.evaluation.accuracy import AccuracyResult
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.recorded import RecordedBaseline
from trtqat.evaluation.timing import Ratio
from trtqat.runtime.protocol import Model


def check_batch_sizes(models: Iterable[Model], sizes: Iterable[int]) -> None:
    """Refuses batch sizes that a model does not take.

    Raises:
        UsageError: One of them is outside of a model's range.
    """
    for model, batch_size in itertools.product(models, sorted(sizes)):
        low, high = model.batch_range
        if batch_size < max(1, low) or (high is not None and batch_size > high):
            allowed = f"{low}" if low == high else f"{low} to {high or 'any'}"
            raise UsageError(
                f"Batch size {batch_size} is not one that '{model.name}' takes ({allowed}).",
                "Choose --batch-size from these, or export and build it for yours.",
            )


def check_can_be_measured(
    model: Model,
    options: EvaluateOptions,
    dataset: Dataset,
    baseline: Model | RecordedBaseline | None,
    steps: Sequence[Model] = (),
) -> None:
    """Refuses options whose figures there would not be.

    Args:
        model: What is measured.
        options: What to measure and to demand.
        dataset: With at least one image.
        baseline: Measured here or elsewhere, if there is one.
        steps: What lies between it and the model.

    Raises:
        UsageError: A gate or an option lacks what it is about.
    """
    has_labels = dataset.batch(0, 1).labels is not None
    if options.max_accuracy_drop is not None and not (has_labels and baseline):
        raise UsageError(
            "An accuracy drop needs labelled data and a baseline.",
            "Give both, or leave out --max-accuracy-drop.",
        )
    if options.min_sqnr_db is not None:
        if math.isnan(options.min_sqnr_db):
            raise UsageError("A gate of nan dB passes nothing.", "Give --min-sqnr-db a number.")
        if not steps and (baseline is None or isinstance(baseline, RecordedBaseline)):
            had = "a recorded one has predictions alone" if baseline else "there is none"
            raise UsageError(
                f"An SQNR needs the outputs of a baseline; {had}.",
                "Give --baseline, --fake-quantized or --reference, or leave out --min-sqnr-db.",
            )
    is_engine = hasattr(model, "tensorrt")
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
    if options.min_speedup is not None and (baseline is None or options.latency is None):
        raise UsageError(
            "A speed-up needs a baseline and a latency measurement.",
            f"Give a {'--baseline' if baseline is None else '--duration'}, or leave out "
            "--min-speedup.",
        )
    if options.min_speedup is not None and isinstance(baseline, RecordedBaseline):
        _check_recorded_timing(baseline, options.batch_size)


def failed_gates(
    options: EvaluateOptions, comparison: AccuracyResult, speedup: Ratio | None
) -> list[str]:
    """A sentence for every gate that was not met.

    Args:
        options: With the gates.
        comparison: Accuracy of both.
        speedup: Of the model over the baseline.
    """
    failed = []
    if options.max_accuracy_drop is not None and comparison.model and comparison.baseline:
        drop = comparison.baseline.top1_percent - comparison.model.top1_percent
        if drop > options.max_accuracy_drop:
            failed.append(
                f"Top-1 drops by {drop:.2f} points, more than {options.max_accuracy_drop:g}."
            )
    if options.min_sqnr_db is not None:
        failed += _short_outputs(options.min_sqnr_db, comparison)
    wanted = options.min_speedup
    if wanted is not None and speedup is not None and speedup.value < wanted:
        failed.append(f"The speed-up is {speedup.value:.2f}, less than {wanted:g}.")
    return failed


def _short_outputs(min_sqnr_db: float, comparison: AccuracyResult) -> Iterator[str]:
    """A sentence for every output that falls short, and for one that was not compared."""
    agreement = comparison.agreement
    # A recorded baseline has no outputs; the step before the model then has.
    if (agreement is None or not agreement.outputs) and comparison.steps:
        agreement = comparison.steps[-1].agreement
    compared = {each.name: each for each in agreement.outputs} if agreement else {}
    for name in comparison.outputs:
        if name not in compared:
            yield f"The output '{name}' was not compared, so it has no SQNR."
        elif math.isnan(compared[name].sqnr_db):
            yield (
                f"The SQNR of the output '{name}' is no number: it holds NaN or infinities, or no "
                "element."
            )
        elif compared[name].sqnr_db < min_sqnr_db:
            found = compared[name].sqnr_db
            yield f"The SQNR of the output '{name}' is {found:.1f} dB, less than {min_sqnr_db:g}."


def _check_recorded_timing(recorded: RecordedBaseline, batch_size: int) -> None:
    if not recorded.timings:
        raise UsageError(
            "The recorded baseline has no latency, so there is no speed-up.",
            "Record one with --duration, or leave out --min-speedup.",
        )
    if batch_size not in recorded.timings:
        sizes = ", ".join(map(str, sorted(recorded.timings)))
        raise UsageError(
            f"The baseline was recorded at batch {sizes}, not {batch_size}.",
            "Give that --batch-size, or leave out --min-speedup.",
        )
