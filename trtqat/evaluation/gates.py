"""What must hold before anything is measured, and what is demanded of the figures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

from trtqat.data.batches import Dataset
from trtqat.errors import UsageError
from trtqat.evaluation.contenders import Contender, Lineup, Measured
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
) -> None:
    """Refuses options whose figures there would not be.

    Args:
        contenders: What is measured here.
        options: What to measure and to demand.
        dataset: With at least one image.
        recorded: A baseline that was measured elsewhere, if there is one.

    Raises:
        UsageError: A gate or an option lacks what it is about.
    """
    _check_limits(options)
    roles = {each.role for each in contenders}
    has_baseline = "baseline" in roles or recorded is not None
    has_labels = dataset.batch(0, 1).labels is not None
    if options.max_accuracy_drop is not None and not (has_labels and has_baseline):
        raise UsageError(
            "An accuracy drop needs labelled data and a baseline.",
            "Give both, or leave out --max-accuracy-drop.",
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
    if options.min_speedup is not None and recorded is not None:
        _check_recorded_timing(recorded, options.batch_size)


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
    options: EvaluateOptions, lineup: Lineup, outputs: Sequence[str]
) -> tuple[str, ...]:
    """A sentence for every gate that was not met.

    Args:
        options: With the gates.
        lineup: What was measured.
        outputs: Names of the subject's outputs.
    """
    failed = []
    drop, allowed = top1_drop_points(lineup), options.max_accuracy_drop
    if drop is not None and allowed is not None and drop > allowed:
        failed.append(f"Top-1 drops by {drop:.2f} points, more than {allowed:g}.")
    if options.min_sqnr_db is not None:
        failed += _short_outputs(options.min_sqnr_db, lineup.subject, outputs)
    at = lineup.baseline.at(options.batch_size) if lineup.baseline is not None else None
    wanted, speedup = options.min_speedup, at.speedup if at else None
    if wanted is not None and speedup is not None and speedup.value < wanted:
        failed.append(f"The speed-up is {speedup.value:.2f}, less than {wanted:g}.")
    return tuple(failed)


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
            found = compared[name].sqnr_db
            yield f"The SQNR of the output '{name}' is {found:.1f} dB, less than {min_sqnr_db:g}."


def _check_recorded_timing(recorded: Measured, batch_size: int) -> None:
    if not recorded.timings:
        raise UsageError(
            "The recorded baseline has no latency, so there is no speed-up.",
            "Record one with --duration, or leave out --min-speedup.",
        )
    if recorded.at(batch_size) is None:
        sizes = ", ".join(str(each.batch_size) for each in recorded.timings)
        raise UsageError(
            f"The baseline was recorded at batch {sizes}, not {batch_size}.",
            "Give that --batch-size, or leave out --min-speedup.",
        )
