"""A baseline that was measured elsewhere: read from the report of an earlier evaluation.

A target host has no PyTorch; the report of the build host says what PyTorch predicted there for
every image, and how fast it was.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trtqat.errors import DataError, UsageError
from trtqat.evaluation.accuracy import AccuracyResult
from trtqat.evaluation.counts import Accuracy, Agreement, pair
from trtqat.evaluation.intervals import Interval
from trtqat.evaluation.sweep import BatchPoint
from trtqat.evaluation.timing import Ratio, Timing
from trtqat.files import read_input, why_unreadable
from trtqat.typed_json import parse_json, read_as

_LOG = logging.getLogger(__name__)

# Of reports in JSON; what is read here is in them since the oldest.
SCHEMA_VERSION = 6
_OLDEST_SCHEMA = 2
# Predictions and times of some million images.
_MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class RecordedBaseline:
    """One side of a report.

    Attributes:
        name: Of the model, with the place where it was measured.
        device: ``"cpu"`` or ``"cuda"``.
        accuracy: Its counts; None if the data had no labels.
        timings: Its latency by batch size; empty if it was not measured.
        predicted: Its class for every image; empty if it is no classifier.
        data_sha256: What it was measured on.
        output: Name of the output that the predictions are of; None in reports before schema 6.
    """

    name: str
    device: str
    accuracy: Accuracy | None
    timings: Mapping[int, Timing]
    predicted: tuple[int, ...]
    data_sha256: str
    output: str | None = None


def read_baseline(path: Path | str) -> RecordedBaseline:
    """Reads the baseline of a report of ``trtqat eval --json``, or its model if it has none.

    Raises:
        UsageError: The file is missing, is no such report, or is of an older version.
    """
    try:
        fields = parse_json(read_input(path, most_bytes=_MOST_BYTES), with_nan=True)
        _check_schema(read_as(_Schema, fields).schema_version, path)
        return _baseline(read_as(_Report, fields))
    except OSError as error:
        raise UsageError(
            f"The report '{path}' cannot be read: {why_unreadable(error)}.", "Check the path."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"'{path}' is no report of trtqat eval: {error}.",
            "Write one with: trtqat eval … --json report.json",
        ) from error


@dataclass(frozen=True)
class _Schema:
    """What is read of a report of any schema."""

    schema_version: int


@dataclass(frozen=True)
class _Side:
    """What is read of a model's figures; the same for the types below."""

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
    model: str
    baseline: str
    data_sha256: str
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
    # Only newer schemas have one.
    curve: tuple[_Point, ...] | None = None


def _check_schema(schema: int, path: Path | str) -> None:
    if schema < 1:
        raise ValueError(f"'schema_version' is {schema}")
    if schema < _OLDEST_SCHEMA:
        raise UsageError(
            f"'{path}' is a report of schema {schema}, which has no predictions.",
            "Measure the baseline again with this version of trtqat.",
        )
    if schema > SCHEMA_VERSION:
        raise UsageError(
            f"'{path}' is a report of schema {schema}, newer than this trtqat knows.",
            "Read it with the trtqat that wrote it, or a newer one.",
        )


def _baseline(report: _Report) -> RecordedBaseline:
    """The side that is compared with.

    Raises:
        ValueError: The report contradicts itself.
    """
    side = report.baseline or report.model
    is_baseline = report.baseline is not None
    predictions = report.predictions
    predicted = unpack(predictions.baseline if is_baseline else predictions.model)
    accuracy, images = side.accuracy, report.images
    if predicted and len(predicted) != images:
        raise ValueError(f"{len(predicted)} predictions for {images} images")
    if accuracy and not 0 <= accuracy.top1 <= accuracy.count == images:
        raise ValueError(f"{accuracy.top1} of {accuracy.count} of {images} images right")
    if accuracy and not accuracy.top1 <= (accuracy.top5 or accuracy.top1) <= images:
        raise ValueError(f"{accuracy.top5} of {images} images right among five")
    timings = {report.batch_size: side.timing}
    timings |= {
        point.batch_size: point.baseline if is_baseline else point.model
        for point in report.curve or ()
    }
    for size, timing in timings.items():
        if size < 1:
            raise ValueError(f"'batch_size' is {size}")
        if timing is not None:
            _check_timing(timing)
    host = report.environment
    return RecordedBaseline(
        name=f"{side.name} (recorded on {host.gpu.name if host.gpu else host.cpu})",
        device=side.device,
        accuracy=accuracy,
        timings={size: timing for size, timing in timings.items() if timing is not None},
        predicted=predicted,
        data_sha256=predictions.data_sha256,
        output=predictions.output,
    )


def _check_timing(timing: Timing) -> None:
    """Refuses times that are none: ratios are made of them."""
    latencies = (timing.compute, timing.request, timing.enqueue, timing.h2d, timing.d2h)
    for latency in filter(None, latencies):
        times = (latency.min_ms, latency.median_ms, latency.max_ms, *latency.quantiles_ms)
        interval = latency.interval_ms
        if min(times) < 0 or latency.count < 1 or not 0 <= interval.low <= interval.high:
            raise ValueError("a latency is negative, or was measured in no query")
    if timing.compute.median_ms <= 0:
        raise ValueError("a median compute time is not positive")


def compare_with(recorded: RecordedBaseline, found: AccuracyResult) -> AccuracyResult:
    """Sets a recorded baseline beside what was measured here.

    Args:
        recorded: The baseline.
        found: The model's result, without baseline.

    Raises:
        DataError: They were not measured on the same data, or their predictions are of different
            outputs.
    """
    mine = found.predictions
    if mine.data_sha256 != recorded.data_sha256:
        raise DataError(
            "The recorded baseline was measured on other data: labels or first image differ.",
            "Give the same --data and --limit as there.",
        )
    if len(found.outputs) > 1 and mine.model:
        _check_output(recorded, mine.output, found.outputs)
    agreement = None
    if mine.model and len(mine.model) == len(recorded.predicted):
        both = zip(mine.model, recorded.predicted, strict=True)
        same = sum(one == other != -1 for one, other in both)
        agreement = Agreement(same, len(mine.model), None, None)
    return replace(
        found,
        baseline=recorded.accuracy,
        agreement=agreement,
        paired=pair(mine.labels, mine.model, recorded.predicted) if agreement else None,
        predictions=replace(mine, baseline=recorded.predicted),
    )


def _check_output(recorded: RecordedBaseline, output: str | None, names: Sequence[str]) -> None:
    if recorded.output is None:
        _LOG.warning(
            "The report of '%s' does not tell which output its predictions are of; here they are "
            "of '%s'. Measure the baseline again if that was another one.",
            recorded.name,
            output,
        )
    elif recorded.output != output:
        raise DataError(
            f"The recorded predictions are of the output '{recorded.output}', and those of the "
            f"model of '{output}', the first of {', '.join(map(repr, names))}.",
            "Give the report of a baseline of this model.",
        )


def beside(recorded: RecordedBaseline, point: BatchPoint) -> BatchPoint:
    """A batch size's figures with those of the baseline, if it was recorded at that size.

    Args:
        recorded: The baseline.
        point: What was measured here.
    """
    timing = recorded.timings.get(point.batch_size)
    if timing is None:
        return point
    return replace(point, baseline=timing, speedup=_ratio(timing, point.model))


def _ratio(recorded: Timing, here: Timing) -> Ratio:
    """How much faster a model is, of two hosts, not measured in turns.

    The interval is the widest that the intervals of the two medians allow.
    """
    theirs, mine = recorded.compute, here.compute
    interval = Interval(
        theirs.interval_ms.low / mine.interval_ms.high,
        theirs.interval_ms.high / mine.interval_ms.low,
    )
    return Ratio(theirs.median_ms / mine.median_ms, interval, rounds=0)


def pack(classes: tuple[int, ...]) -> str:
    """Predictions as they stand in a report: numbers with spaces between them."""
    return " ".join(map(str, classes))


def unpack(text: str) -> tuple[int, ...]:
    """The reverse of ``pack``.

    Raises:
        ValueError: It holds something else than classes, -1 among them for none.
    """
    classes = tuple(map(int, text.split()))
    if any(not -1 <= each < 2**63 for each in classes):
        raise ValueError("a prediction is no class")
    return classes
