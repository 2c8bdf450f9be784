"""How fast contenders are: in turns at every batch size, with the subject's speed-up over each.

What runs on a GPU is timed in processes of its own (``timed_apart``): other models and other batch
sizes may slow a process's launches.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trtqat.data.batches import Dataset, full_batch
from trtqat.errors import ForwardError, InferenceError
from trtqat.evaluation.contenders import BatchTiming, Contender
from trtqat.evaluation.intervals import Ratio
from trtqat.evaluation.latency import time_in_turns
from trtqat.evaluation.layers import LayerTime, time_layers
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.throughput import faster, rate_in_turns
from trtqat.evaluation.timed_apart import TimingPlaces, like_trtexec_apart
from trtqat.evaluation.timing import LatencyOptions, Timing
from trtqat.evaluation.trtexec import TrtexecTiming
from trtqat.host.telemetry import Telemetry, watch_gpu
from trtqat.runtime.rtx import Compilation

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """What was timed.

    Attributes:
        timings: Of each contender that was timed, by batch size, ascending.
        compilations: How long the kernels of each contender took to compile in the processes that
            timed it.
        telemetry: The GPU during the timing, if the subject is on one and NVML tells.
        trtexec: What trtexec would report of the subject, if that was asked for.
        layers: The subject's layers with their times, if that was asked for.
    """

    timings: Mapping[Contender, tuple[BatchTiming, ...]] = field(default_factory=dict)
    compilations: Mapping[Contender, tuple[Compilation, ...]] = field(default_factory=dict)
    telemetry: Telemetry | None = None
    trtexec: TrtexecTiming | None = None
    layers: tuple[LayerTime, ...] = ()


def measure_speed(
    contenders: Sequence[Contender],
    dataset: Dataset,
    options: EvaluateOptions,
    latency: LatencyOptions,
) -> Speed:
    """Times all contenders but steps, and those that may not be timed beside the subject.

    Args:
        contenders: One subject, and what it is compared with.
        dataset: Data that fits the inputs.
        options: Batch sizes, and what to time besides.
        latency: How long.

    Raises:
        InferenceError: A runtime failed.
    """
    (subject,) = (each for each in contenders if each.role == "subject")
    others = (each for each in contenders if each.is_timed)
    timed = [subject, *(each for each in others if each.role not in ("subject", "step"))]
    engine = subject.model.engine
    trtexec: TrtexecTiming | None = None
    layers: tuple[LayerTime, ...] = ()
    with contextlib.ExitStack() as stack:
        on_gpu = subject.model.device == "cuda"
        watch = stack.enter_context(watch_gpu()) if on_gpu else None
        places = stack.enter_context(TimingPlaces([each.model for each in timed]))
        timer = _Timer(places, timed, dataset, latency, watch.look if watch else lambda: None)
        found = {size: timer.on_one_stream(size, options.in_flight) for size in options.sizes}
        if options.like is not None and engine is not None:
            size = options.batch_size
            inputs = full_batch(dataset, size)
            trtexec = like_trtexec_apart(engine, size, inputs, options.like, latency)
        if options.layer_times:
            layers = time_layers(subject.model, options.batch_size)
        for size, timings in found.items():
            found[size] = timer.on_several_streams(size, timings)
        telemetry = watch.result() if watch else None
    by_contender = {
        each: tuple(BatchTiming(size, *timings[index]) for size, timings in found.items())
        for index, each in enumerate(timed)
    }
    compilations = dict(zip(timed, places.compilations, strict=True))
    return Speed(by_contender, compilations, telemetry, trtexec, layers)


# A contender's times, and how many times the subject is as fast as it; None of itself.
_Timed = tuple[Timing, Ratio | None]


class _Timer:
    """Times contenders in turns, at one batch size after the other."""

    def __init__(
        self,
        places: TimingPlaces,
        timed: Sequence[Contender],
        dataset: Dataset,
        latency: LatencyOptions,
        look: Callable[[], None],
    ) -> None:
        """Keeps what to time.

        Args:
            places: Where.
            timed: The subject first.
            dataset: Data that fits the inputs.
            latency: How long.
            look: Called between turns.
        """
        self._places = places
        self._names = ", ".join(each.model.name for each in timed)
        self._overlaps = all(each.model.runs_concurrently for each in timed)
        self._dataset, self._latency, self._look = dataset, latency, look

    def on_one_stream(self, batch_size: int, in_flight: int) -> list[_Timed]:
        """All times, with the kernels of each model on one stream."""
        _LOG.info("Timing %s at batch %d.", self._names, batch_size)
        inputs = full_batch(self._dataset, batch_size)
        with self._places.open(inputs, batch_size, in_flight) as models:
            timings, ratios = time_in_turns(models, self._latency, between=self._look)
            if self._overlaps:
                rates = rate_in_turns(models, batch_size, self._latency, between=self._look)
                timings = [
                    replace(timing, throughput=each)
                    for timing, each in zip(timings, rates, strict=True)
                ]
        return list(zip(timings, (None, *ratios), strict=True))

    def on_several_streams(self, batch_size: int, timings: list[_Timed]) -> list[_Timed]:
        """The same times, where queries in flight are faster with streams of their own with these.

        What is timed in this process may be slower behind it.
        """
        rates = [timing.throughput for timing, _ in timings]
        in_flight = min((each.in_flight for each in rates if each is not None), default=1)
        if in_flight < 2:
            return timings
        _LOG.info("Timing %s at batch %d on several streams.", self._names, batch_size)
        inputs = full_batch(self._dataset, batch_size)
        try:
            with self._places.open(inputs, batch_size, in_flight, own_streams=True) as models:
                several = rate_in_turns(
                    models, batch_size, self._latency, between=self._look, own_streams=True
                )
        except (ForwardError, InferenceError) as error:
            # Everything else is measured by now, and must not be lost.
            _LOG.warning("Several streams at batch %d were not timed: %s", batch_size, error)
            return timings
        return [
            (replace(timing, throughput=faster(one, other)) if one else timing, ratio)
            for (timing, ratio), one, other in zip(timings, rates, several, strict=True)
        ]
