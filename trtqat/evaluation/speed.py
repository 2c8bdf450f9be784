"""How fast contenders are: in turns at every batch size, with the subject's speed-up over each.

All that runs on one compute stream is measured first: GPU times, requests, queries in flight,
trtexec's modes, layers. Queries in flight on several compute streams come last, as further sessions
may make every later launch of the process slower (``runtime/README.md``).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from trtqat.data.batches import Dataset, full_batch
from trtqat.errors import InferenceError
from trtqat.evaluation.contenders import BatchTiming, Contender
from trtqat.evaluation.intervals import Ratio
from trtqat.evaluation.latency import measure_in_turns
from trtqat.evaluation.layers import LayerTime, time_layers
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.running import open_sessions
from trtqat.evaluation.throughput import faster, measure_throughput
from trtqat.evaluation.timing import LatencyOptions, Timing
from trtqat.evaluation.trtexec import TrtexecTiming, measure_like_trtexec
from trtqat.host.telemetry import Telemetry, watch_gpu
from trtqat.runtime.protocol import Session

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Speed:
    """What was timed.

    Attributes:
        timings: Of each contender that was timed, by batch size, ascending.
        telemetry: The GPU during the timing, if the subject is on one and NVML tells.
        trtexec: What trtexec would report of the subject, if that was asked for.
        layers: The subject's layers with their times, if that was asked for.
    """

    timings: Mapping[Contender, tuple[BatchTiming, ...]] = field(default_factory=dict)
    telemetry: Telemetry | None = None
    trtexec: TrtexecTiming | None = None
    layers: tuple[LayerTime, ...] = ()


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
    (subject,) = (each for each in contenders if each.role == "subject")
    timed = [subject, *(each for each in contenders if each.role not in ("subject", "step"))]
    engine = subject.model.engine
    trtexec: TrtexecTiming | None = None
    layers: tuple[LayerTime, ...] = ()
    with watch_gpu() if subject.model.device == "cuda" else contextlib.nullcontext() as watch:
        timer = _Timer(timed, dataset, latency, watch.look if watch else lambda: None)
        found = {size: timer.on_one_stream(size, options.in_flight) for size in options.sizes}
        if options.like is not None and engine is not None:
            size = options.batch_size
            inputs = full_batch(dataset, size)
            trtexec = measure_like_trtexec(engine, size, inputs, options.like, latency)
        if options.layer_times:
            layers = time_layers(subject.model, options.batch_size)
        for size, timings in found.items():
            found[size] = timer.on_several_streams(size, timings)
        telemetry = watch.result() if watch else None
    by_contender = {
        each: tuple(BatchTiming(size, *timings[index]) for size, timings in found.items())
        for index, each in enumerate(timed)
    }
    return Speed(by_contender, telemetry, trtexec, layers)


# A contender's times, and how many times the subject is as fast as it; None of itself.
_Timed = tuple[Timing, Ratio | None]


class _Timer:
    """Times contenders in turns, at one batch size after the other."""

    def __init__(
        self,
        timed: Sequence[Contender],
        dataset: Dataset,
        latency: LatencyOptions,
        look: Callable[[], None],
    ) -> None:
        """Keeps what to time.

        Args:
            timed: The subject first.
            dataset: Data that fits the inputs.
            latency: How long.
            look: Called between turns.
        """
        self._models = [each.model for each in timed]
        self._names = ", ".join(each.name for each in self._models)
        self._dataset, self._latency, self._look = dataset, latency, look
        self._overlaps = all(model.runs_concurrently for model in self._models)

    def on_one_stream(self, batch_size: int, in_flight: int) -> list[_Timed]:
        """All times, with every kernel on the compute stream of the process."""
        _LOG.info("Timing %s at batch %d.", self._names, batch_size)
        inputs = full_batch(self._dataset, batch_size)
        with self._sessions(batch_size, in_flight) as lanes:
            firsts = [sessions[0] for sessions in lanes]
            timings, ratios = measure_in_turns(firsts, inputs, self._latency, between=self._look)
            if self._overlaps:
                rates = measure_throughput(lanes, inputs, self._latency, between=self._look)
                timings = [
                    replace(timing, throughput=each)
                    for timing, each in zip(timings, rates, strict=True)
                ]
        return list(zip(timings, (None, *ratios), strict=True))

    def on_several_streams(self, batch_size: int, timings: list[_Timed]) -> list[_Timed]:
        """The same times, where queries in flight are faster with streams of their own with these.

        Nothing that shall be exact may be timed behind this.
        """
        rates = [timing.throughput for timing, _ in timings]
        in_flight = min((each.in_flight for each in rates if each is not None), default=1)
        if in_flight < 2:
            return timings
        _LOG.info("Timing %s at batch %d on several streams.", self._names, batch_size)
        inputs = full_batch(self._dataset, batch_size)
        try:
            with self._sessions(batch_size, in_flight, own_streams=True) as lanes:
                several = measure_throughput(
                    lanes, inputs, self._latency, between=self._look, own_streams=True
                )
        except InferenceError as error:
            # Everything else is measured by now, and must not be lost.
            _LOG.warning("Several streams at batch %d were not timed: %s", batch_size, error)
            return timings
        return [
            (replace(timing, throughput=faster(one, other)) if one else timing, ratio)
            for (timing, ratio), one, other in zip(timings, rates, several, strict=True)
        ]

    @contextlib.contextmanager
    def _sessions(
        self, batch_size: int, wanted: int, *, own_streams: bool = False
    ) -> Iterator[list[list[Session]]]:
        with contextlib.ExitStack() as stack:
            lanes = open_sessions(self._models, batch_size, wanted, own_streams=own_streams)
            for session in itertools.chain.from_iterable(lanes):
                stack.callback(session.close)
            yield lanes
