"""Reports of schema 2 to 6, which had places for model and baseline instead of a list.

Of them a baseline is read, and no more. Each type below holds what all these schemas have of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trtqat.evaluation.contenders import BatchTiming, Classes, Measured, Predictions
from trtqat.evaluation.counts import Accuracy
from trtqat.evaluation.timing import Timing
from trtqat.typed_json import read_as

OLDEST_SCHEMA = 2
# The first one with a list of contenders. Schema 8 has metrics besides.
OLDEST_LINEUP = 7


@dataclass(frozen=True)
class _Side:
    name: str
    device: Literal["cpu", "cuda"]
    accuracy: Accuracy | None
    timing: Timing | None


@dataclass(frozen=True)
class _Point:
    batch_size: int
    model: Timing
    baseline: Timing | None = None


@dataclass(frozen=True)
class _Predictions:
    model: Classes
    baseline: Classes
    data_sha256: str
    # Since schema 6.
    output: str | None = None


@dataclass(frozen=True)
class _Gpu:
    name: str


@dataclass(frozen=True)
class _Host:
    cpu: str
    gpu: _Gpu | None = None


@dataclass(frozen=True)
class _Report:
    images: int
    batch_size: int
    model: _Side
    baseline: _Side | None
    environment: _Host
    predictions: _Predictions
    # Since schema 3, and null there without a sweep.
    curve: tuple[_Point, ...] | None = None


def read_old_report(fields: object) -> tuple[Measured, int]:
    """The baseline of a report, or its model if it has none, and the number of images.

    Args:
        fields: Decoded JSON.

    Raises:
        ValueError: It is no such report; the message is the end of a sentence.
    """
    report = read_as(_Report, fields)
    predictions, host = report.predictions, report.environment
    if report.baseline is not None:
        side, classes = report.baseline, predictions.baseline
        swept = {point.batch_size: point.baseline for point in report.curve or ()}
    else:
        side, classes = report.model, predictions.model
        swept = {point.batch_size: point.model for point in report.curve or ()}
    timings: dict[int, Timing | None] = {report.batch_size: side.timing, **swept}
    for size in timings:
        if size < 1:
            raise ValueError(f"'batch_size' is {size}")
    baseline = Measured(
        name=side.name,
        role="baseline",
        device=side.device,
        size_bytes=None,
        recorded_on=host.gpu.name if host.gpu else host.cpu,
        accuracy=side.accuracy,
        to_baseline=None,
        to_step_before=None,
        predictions=Predictions(classes, predictions.output, predictions.data_sha256),
        timings=tuple(
            BatchTiming(size, timing, None)
            for size, timing in sorted(timings.items())
            if timing is not None
        ),
    )
    return baseline, report.images
