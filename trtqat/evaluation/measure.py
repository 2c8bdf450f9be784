"""``measure``: what ``evaluate`` does once everything is open. Checks, measures, reports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.evaluation.accuracy import AccuracyRun, Progress, measure_accuracy
from trtqat.evaluation.contenders import Contender, Lineup, Measured, sorted_by_role
from trtqat.evaluation.gates import (
    check_batch_sizes,
    check_can_be_measured,
    failed_gates,
    top1_drop_points,
)
from trtqat.evaluation.layers import time_layers
from trtqat.evaluation.locate import Located, LocateOptions, locate_loss
from trtqat.evaluation.metric_figures import measure_metrics
from trtqat.evaluation.metrics.asked import NOTHING_ASKED, AskedMetrics
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.recorded import compare_predictions, join_baseline
from trtqat.evaluation.report import Report
from trtqat.evaluation.speed import Speed, measure_speed
from trtqat.evaluation.sweep import best_within
from trtqat.host.environment import describe_environment

_LOG = logging.getLogger(__name__)


def measure(
    contenders: Sequence[Contender],
    dataset: Dataset,
    options: EvaluateOptions,
    *,
    asked: AskedMetrics = NOTHING_ASKED,
    recorded: Measured | None = None,
    locate: LocateOptions | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures one subject and what it is compared with.

    Args:
        contenders: One subject, at most one baseline, and any steps and rivals; steps in their
            order.
        dataset: Data that fits the subject's inputs.
        options: What to measure and to demand.
        asked: Metrics, and gates on them.
        recorded: Instead of a baseline: one that was measured elsewhere.
        locate: Where to look for the layers in which accuracy goes.
        progress: Called with what is done and its total, of each part anew.

    Raises:
        UsageError: The batch size is outside of a model's range, or a gate lacks its figure.
        DataError: The dataset is empty or does not fit.
        InferenceError: A runtime failed.
        TrtqatError: ``locate`` cannot be looked into; the class says why.
    """
    contenders = sorted_by_role(contenders)
    (subject,) = (each.model for each in contenders if each.role == "subject")
    _check(contenders, dataset, options, asked, recorded)
    counts_classes = asked.counts_classes or options.max_accuracy_drop is not None
    run = measure_accuracy(
        contenders,
        dataset,
        batch_size=options.batch_size,
        in_flight=options.in_flight,
        metrics=asked.metrics,
        counts_classes=counts_classes,
        progress=progress,
    )
    _warn_of_unknown_order(run)
    comparison = None if recorded is None else compare_predictions(run, recorded)
    run, recorded = measure_metrics(asked.metrics, run, recorded)
    located = Located()
    if locate is not None:
        # Before the timing, which takes longest: TensorRT may not build the engine for it.
        located = locate_loss(
            subject, locate, dataset, batch_size=options.batch_size, progress=progress
        )
    if options.latency is not None:
        speed = measure_speed(contenders, dataset, options, options.latency)
    else:
        speed = Speed(
            layers=time_layers(subject, options.batch_size) if options.layer_times else ()
        )
    lineup = _with_timings(run, contenders, speed)
    if recorded is not None:
        lineup = join_baseline(lineup, recorded, comparison, options.sizes)
    budget = options.latency_budget_ms
    best = None if budget is None else best_within(lineup.subject.timings, budget)
    return Report(
        contenders=lineup.contenders,
        data=dataset.name,
        images=len(dataset),
        batch_size=options.batch_size,
        top1_drop_points=top1_drop_points(lineup),
        environment=describe_environment(with_gpu=subject.device == "cuda"),
        failed_gates=failed_gates(options, lineup, run.outputs, asked),
        telemetry=speed.telemetry,
        trtexec=speed.trtexec,
        latency_budget_ms=budget,
        best_batch=best.batch_size if best else None,
        located=located,
        layers=speed.layers,
    )


def _check(
    contenders: Sequence[Contender],
    dataset: Dataset,
    options: EvaluateOptions,
    asked: AskedMetrics,
    recorded: Measured | None,
) -> None:
    """Refuses what could not be measured, before anything is."""
    timed = [each for each in contenders if each.is_timed and each.role != "step"]
    others = [each.model for each in contenders if each not in timed]
    check_batch_sizes([each.model for each in timed], options.sizes)
    check_batch_sizes(others, {options.batch_size})
    if len(dataset) == 0:
        raise DataError(f"'{dataset.name}' has no images.", "Give at least one.")
    check_can_be_measured(contenders, options, dataset, recorded, asked)


def _warn_of_unknown_order(run: AccuracyRun) -> None:
    if run.subject.predictions.output is None:
        _LOG.warning(
            "Which of its outputs %s is the first one of '%s' is not known, so no prediction is "
            "compared: TensorRT has an order of its own. Give the graph: --graph model.onnx",
            ", ".join(map(repr, run.outputs)),
            run.subject.name,
        )


def _with_timings(run: AccuracyRun, contenders: Sequence[Contender], speed: Speed) -> Lineup:
    """Accuracy and speed of each contender in one, and what an engine was run by."""
    found = []
    for contender, measured in zip(contenders, run.contenders, strict=True):
        engine = contender.model.engine
        here = () if engine is None else engine.compilations
        # Of a batch size that was run here, too, what it took here.
        compilations = {
            each.batch_size: each for each in (*speed.compilations.get(contender, ()), *here)
        }
        found.append(
            replace(
                measured,
                timings=speed.timings.get(contender, ()),
                library=None if engine is None else engine.tensorrt.title,
                compilations=tuple(compilations.values()),
            )
        )
    return Lineup(tuple(found))
