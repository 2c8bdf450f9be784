"""A baseline that was measured elsewhere: read from the report of an earlier evaluation.

A target host has no PyTorch; the report of the build host says what PyTorch predicted there for
every image, and how fast it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trtqat.errors import DataError, UsageError
from trtqat.evaluation.accuracy import AccuracyResult
from trtqat.evaluation.counts import Accuracy, Agreement, pair
from trtqat.evaluation.statistics import Interval
from trtqat.evaluation.sweep import BatchPoint
from trtqat.evaluation.timing import Latency, Ratio, Throughput, Timing

_LOG = logging.getLogger(__name__)

# Of reports in JSON; what is read here is in them since the oldest.
SCHEMA_VERSION = 6
_OLDEST_SCHEMA = 2


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


def read_baseline(path: Path) -> RecordedBaseline:
    """Reads the baseline of a report of ``trtqat eval --json``, or its model if it has none.

    Raises:
        UsageError: The file is missing, is no such report, or is of an older version.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        schema = report["schema_version"]
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
        which = "baseline" if report["baseline"] else "model"
        side, predictions = report[which], report["predictions"]
        environment = report["environment"]
        where = (environment.get("gpu") or {}).get("name") or environment["cpu"]
        accuracy = Accuracy(**side["accuracy"]) if side["accuracy"] else None
        predicted = unpack(predictions[which])
        images = report["images"]
        if predicted and len(predicted) != images:
            raise ValueError(f"{len(predicted)} predictions for {images} images")
        if accuracy and not 0 <= accuracy.top1 <= accuracy.count == images:
            raise ValueError(f"{accuracy.top1} of {accuracy.count} of {images} images right")
        return RecordedBaseline(
            name=f"{side['name']} (recorded on {where})",
            device=side["device"],
            accuracy=accuracy,
            timings=_timings(report, which),
            predicted=predicted,
            data_sha256=predictions["data_sha256"],
            output=predictions.get("output"),
        )
    except OSError as error:
        raise UsageError(
            f"The report '{path}' cannot be read: {error.strerror}.", "Check the path."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"'{path}' is no report of trtqat eval ({type(error).__name__}: {error}).",
            "Write one with: trtqat eval … --json report.json",
        ) from error


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
    """The reverse of ``pack``."""
    return tuple(map(int, text.split()))


def _timings(report: Mapping[str, Any], which: str) -> dict[int, Timing]:
    """One side's latency by batch size: that of the report, and those of its curve."""
    found = {report["batch_size"]: report[which]["timing"]}
    found |= {point["batch_size"]: point[which] for point in report.get("curve") or ()}
    return {size: _timing(fields) for size, fields in found.items() if fields}


def _timing(fields: dict[str, Any]) -> Timing:
    # Transfers and throughput came with schema 3.
    latencies = {
        name: _latency(fields[name]) if fields.get(name) else None
        for name in ("enqueue", "h2d", "d2h")
    }
    throughput = fields.get("throughput")
    if throughput:
        throughput = Throughput(**{**throughput, "interval": Interval(**throughput["interval"])})
    return Timing(
        mode=fields["mode"],
        compute=_latency(fields["compute"]),
        request=_latency(fields["request"]),
        **latencies,
        throughput=throughput or None,
        warnings=tuple(fields["warnings"]),
    )


def _latency(fields: dict[str, Any]) -> Latency:
    exact = {
        "interval_ms": Interval(**fields["interval_ms"]),
        "quantiles_ms": tuple(fields["quantiles_ms"]),
    }
    return Latency(**{**fields, **exact})
