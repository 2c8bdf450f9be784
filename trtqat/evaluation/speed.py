"""How fast contenders are: in turns at every batch size, with the subject's speed-up over each."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trtqat.data.batches import Dataset, full_batch
from trtqat.evaluation.contenders import BatchTiming, Contender
from trtqat.evaluation.latency import measure_in_turns
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.running import open_sessions
from trtqat.evaluation.throughput import measure_throughput
from trtqat.evaluation.timing import LatencyOptions
from trtqat.evaluation.trtexec import TrtexecTiming, measure_like_trtexec
from trtqat.host.telemetry import Telemetry, watch_gpu
from trtqat.tensors import Arrays

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """What was timed.

    Attributes:
        timings: Of each contender that was timed, by batch size, ascending.
        telemetry: The GPU during the timing, if the subject is on one and NVML tells.
        trtexec: What trtexec would report of the subject, if that was asked for.
    """

    timings: Mapping[Contender, tuple[BatchTiming, ...]] = field(default_factory=dict)
    telemetry: Telemetry | None = None
    trtexec: TrtexecTiming | None = None


def measure_speed(
    contenders: Sequence[Contender],
    dataset: Dataset,
    options: EvaluateOptions,
    latency: LatencyOptions,
) -> Speed:
    """Times all contenders but steps.

    Args:
        contenders: One subject, and what it is compared with.
        dataset: Data that fits the inputs.
        options: Batch sizes, and what to time besides.
        latency: How long.

    Raises:
        InferenceError: A runtime failed.
    """
    timed = [each for each in contenders if each.role != "step"]
    (subject,) = (each for each in timed if each.role == "subject")
    found: dict[Contender, tuple[BatchTiming, ...]] = dict.fromkeys(timed, ())
    with watch_gpu() if subject.model.device == "cuda" else contextlib.nullcontext() as watch:
        look = watch.look if watch else lambda: None
        for size in options.sizes:
            inputs = full_batch(dataset, size)
            at_size = _time(subject, timed, inputs, size, options.in_flight, latency, look)
            for each, timing in at_size.items():
                found[each] += (timing,)
        telemetry = watch.result() if watch else None
    trtexec = None
    if options.like is not None and subject.model.engine is not None:
        size, engine = options.batch_size, subject.model.engine
        inputs = full_batch(dataset, size)
        trtexec = measure_like_trtexec(engine, size, inputs, options.like, latency)
    return Speed(found, telemetry, trtexec)


def _time(
    subject: Contender,
    timed: Sequence[Contender],
    inputs: Arrays,
    batch_size: int,
    in_flight: int,
    latency: LatencyOptions,
    look: Callable[[], None],
) -> dict[Contender, BatchTiming]:
    """Times contenders at one batch size; ratios are of the subject over each of the others."""
    others = [each for each in timed if each is not subject]
    models = [each.model for each in (subject, *others)]
    _LOG.info("Timing %s at batch %d.", ", ".join(each.name for each in models), batch_size)
    with contextlib.ExitStack() as stack:
        lanes = open_sessions(models, batch_size, in_flight)
        for session in itertools.chain.from_iterable(lanes):
            stack.callback(session.close)
        firsts = [sessions[0] for sessions in lanes]
        timings, ratios = measure_in_turns(firsts, inputs, latency, between=look)
        if all(model.runs_concurrently for model in models):
            found = measure_throughput(lanes, inputs, latency, between=look)
            timings = [
                replace(timing, throughput=each)
                for timing, each in zip(timings, found, strict=True)
            ]
    return {
        each: BatchTiming(batch_size, timing, speedup)
        for each, timing, speedup in zip((subject, *others), timings, (None, *ratios), strict=True)
    }
