"""``evaluate``: one model and what it is compared with on the same data, side by side."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.evaluation.accuracy import AccuracyResult, Progress, measure_accuracy
from trtqat.evaluation.gates import check_batch_sizes, check_can_be_measured, failed_gates
from trtqat.evaluation.latency import measure_in_turns
from trtqat.evaluation.layers import time_layers
from trtqat.evaluation.locate import Located, LocateOptions, locate_loss
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.recorded import RecordedBaseline, beside, compare_with
from trtqat.evaluation.report import Measured, Report, Rival
from trtqat.evaluation.running import open_sessions
from trtqat.evaluation.sweep import BatchPoint, RivalPoint, best_within
from trtqat.evaluation.throughput import measure_throughput
from trtqat.evaluation.timing import LatencyOptions, Timing
from trtqat.evaluation.trtexec import TrtexecTiming, measure_like_trtexec
from trtqat.host.environment import describe_environment
from trtqat.host.telemetry import Telemetry, watch_gpu
from trtqat.runtime.protocol import Model
from trtqat.tensors import Arrays

_LOG = logging.getLogger(__name__)


def evaluate(
    model: Model,
    dataset: Dataset,
    options: EvaluateOptions | None = None,
    *,
    baseline: Model | None = None,
    recorded: RecordedBaseline | None = None,
    rivals: Sequence[Model] = (),
    steps: Sequence[Model] = (),
    locate: LocateOptions | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measures accuracy over every image, and latency and throughput at given batch sizes.

    Args:
        model: Engine or graph.
        dataset: Data that fits the model's inputs.
        options: See ``EvaluateOptions``.
        baseline: On the same device class.
        recorded: Instead of one: a baseline that was measured elsewhere.
        rivals: What a user might run instead: measured in the same turns.
        steps: What lies between baseline and model, as the fake-quantized model and the ONNX
            reference: run for accuracy alone, each compared with the one before.
        locate: Where to look for the layers in which accuracy goes.
        progress: Called with what is done and its total, of each part anew.

    Raises:
        UsageError: The batch size is outside of a model's range, or a gate lacks its figure.
        DataError: The dataset is empty or does not fit.
        InferenceError: A runtime failed.
        TrtqatError: ``locate`` cannot be looked into; the class says why.
    """
    options = options or EvaluateOptions()
    timed = [model, *([baseline] if baseline else []), *rivals]
    check_batch_sizes(timed, {options.batch_size, *options.sweep})
    check_batch_sizes(steps, {options.batch_size})
    if len(dataset) == 0:
        raise DataError(f"'{dataset.name}' has no images.", "Give at least one.")
    check_can_be_measured(model, options, dataset, baseline or recorded, steps)
    comparison = measure_accuracy(
        model,
        baseline,
        dataset,
        batch_size=options.batch_size,
        in_flight=options.in_flight,
        others=rivals,
        steps=steps,
        progress=progress,
    )
    if comparison.predictions.output is None:
        _LOG.warning(
            "Which of its outputs %s is the first one of '%s' is not known, so no prediction is "
            "compared: TensorRT has an order of its own. Give the graph: --graph model.onnx",
            ", ".join(map(repr, comparison.outputs)),
            model.name,
        )
    if recorded is not None:
        comparison = compare_with(recorded, comparison)
    located = Located()
    if locate is not None:
        # Before the timing, which takes longest: TensorRT may not build the engine for it.
        located = locate_loss(
            model, locate, dataset, batch_size=options.batch_size, progress=progress
        )
    times = _Times()
    if options.latency is not None:
        times = _measure_times(timed, baseline is not None, dataset, options, options.latency)
    curve = times.curve
    theirs: Timing | None = None
    if recorded is not None:
        curve = tuple(beside(recorded, point) for point in curve)
        theirs = recorded.timings.get(options.batch_size)
    at = next((point for point in curve if point.batch_size == options.batch_size), None)
    speedup = at.speedup if at else None
    side = baseline or recorded
    budget = options.latency_budget_ms
    best = None if budget is None else best_within(curve, budget)
    return Report(
        model=Measured(
            model.name, model.device, comparison.model, at.model if at else None, model.size_bytes
        ),
        baseline=None
        if side is None
        else Measured(
            side.name,
            side.device,
            comparison.baseline,
            at.baseline if at else theirs,
            baseline.size_bytes if baseline else None,
        ),
        comparison=comparison,
        rivals=_rivals(rivals, comparison, at),
        data=dataset.name,
        images=len(dataset),
        batch_size=options.batch_size,
        speedup=speedup,
        environment=describe_environment(with_gpu=model.device == "cuda"),
        telemetry=times.telemetry,
        trtexec=times.trtexec,
        failed_gates=tuple(failed_gates(options, comparison, speedup)),
        curve=curve if options.sweep else (),
        latency_budget_ms=budget,
        best_batch=best.batch_size if best else None,
        located=located,
        layers=time_layers(model, options.batch_size) if options.layer_times else (),
    )


@dataclass(frozen=True)
class _Times:
    curve: tuple[BatchPoint, ...] = ()
    telemetry: Telemetry | None = None
    trtexec: TrtexecTiming | None = None


def _measure_times(
    models: Sequence[Model],
    has_baseline: bool,
    dataset: Dataset,
    options: EvaluateOptions,
    latency: LatencyOptions,
) -> _Times:
    """Times the model, the baseline if there is one, and the rivals, in this order."""
    model = models[0]
    curve = []
    with watch_gpu() if model.device == "cuda" else contextlib.nullcontext() as watch:
        look = watch.look if watch else lambda: None
        for size in sorted({options.batch_size, *options.sweep}):
            inputs = _full_batch(dataset, size)
            curve.append(
                _time(models, has_baseline, inputs, size, options.in_flight, latency, look)
            )
        telemetry = watch.result() if watch else None
    trtexec = None
    if options.like is not None:
        size = options.batch_size
        inputs = _full_batch(dataset, size)
        trtexec = measure_like_trtexec(model, size, inputs, options.like, latency)
    return _Times(tuple(curve), telemetry, trtexec)


def _time(
    models: Sequence[Model],
    has_baseline: bool,
    inputs: Arrays,
    batch_size: int,
    in_flight: int,
    latency: LatencyOptions,
    look: Callable[[], None],
) -> BatchPoint:
    _LOG.info("Timing %s at batch %d.", ", ".join(each.name for each in models), batch_size)
    with contextlib.ExitStack() as stack:
        lanes = open_sessions(models, batch_size, in_flight)
        for session in itertools.chain.from_iterable(lanes):
            stack.callback(session.close)
        firsts = [sessions[0] for sessions in lanes]
        timings, ratios = measure_in_turns(firsts, inputs, latency, between=look)
        if all(model.device == "cuda" for model in models):
            found = measure_throughput(lanes, inputs, latency, between=look)
            timings = [
                replace(timing, throughput=each)
                for timing, each in zip(timings, found, strict=True)
            ]
    others = [RivalPoint(*each) for each in zip(timings[1:], ratios, strict=True)]
    other = others.pop(0) if has_baseline else None
    return BatchPoint(
        batch_size,
        timings[0],
        other.timing if other else None,
        other.speedup if other else None,
        tuple(others),
    )


def _rivals(
    rivals: Sequence[Model], comparison: AccuracyResult, at: BatchPoint | None
) -> tuple[Rival, ...]:
    points = at.rivals if at else (None,) * len(rivals)
    return tuple(
        Rival(
            Measured(
                each.name,
                each.device,
                found.accuracy,
                point.timing if point else None,
                each.size_bytes,
            ),
            found.agreement,
            found.paired,
            point.speedup if point else None,
        )
        for each, found, point in zip(rivals, comparison.others, points, strict=True)
    )


def _full_batch(dataset: Dataset, batch_size: int) -> Arrays:
    """One batch of real data; a smaller dataset is repeated."""
    batch = dataset.batch(0, min(batch_size, len(dataset)))
    return {
        name: array[[index % len(array) for index in range(batch_size)]]
        for name, array in batch.inputs.items()
    }
