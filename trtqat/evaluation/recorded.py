"""A baseline that was measured elsewhere: read from the report of an earlier evaluation.

A target host has no PyTorch; the report of the build host says what PyTorch predicted there for
every image, and how fast it was.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from trtqat.errors import DataError, UsageError
from trtqat.evaluation.accuracy import AccuracyRun
from trtqat.evaluation.contenders import Comparison, Lineup, Measured, sorted_by_role
from trtqat.evaluation.counts import Agreement, pair
from trtqat.evaluation.metrics.packing import unpack_samples
from trtqat.evaluation.old_reports import OLDEST_LINEUP, OLDEST_SCHEMA, read_old_report
from trtqat.evaluation.report import SCHEMA_VERSION, Report
from trtqat.evaluation.timing import Timing, record_ratio
from trtqat.files import read_input, why_unreadable
from trtqat.typed_json import parse_json, read_as, schema_version_of

_LOG = logging.getLogger(__name__)

# Predictions and times of some million images.
_MOST_BYTES = 256 * 2**20


def read_baseline(path: Path | str) -> Measured:
    """Reads the baseline of a report of ``trtqat eval --json``, or its subject if it has none.

    Args:
        path: The report; of any schema since 2.

    Returns:
        The baseline, named after the host that it was measured on too.

    Raises:
        UsageError: The file is missing, is no such report, or is of an older version.
    """
    try:
        fields = parse_json(read_input(path, most_bytes=_MOST_BYTES), with_nan=True)
        schema = schema_version_of(fields)
        _check_schema(schema, path, fields)
        if schema < OLDEST_LINEUP:
            baseline, images = read_old_report(fields)
        else:
            # What a later schema has besides may be missing.
            assert isinstance(fields, dict)
            report = read_as(Report, {**fields, "schema_version": SCHEMA_VERSION})
            baseline, images = _baseline(report), report.images
        _check(baseline, images)
    except OSError as error:
        raise UsageError(
            f"The report '{path}' cannot be read: {why_unreadable(error)}.", "Check the path."
        ) from error
    except ValueError as error:
        raise UsageError(
            f"'{path}' is no report of trtqat eval: {error}.",
            "Write one with: trtqat eval … --json report.json",
        ) from error
    where = f" (recorded on {baseline.recorded_on})"
    return replace(baseline, name=f"{baseline.name.removesuffix(where)}{where}")


def _check_schema(schema: int, path: Path | str, fields: object) -> None:
    if schema < 1:
        raise ValueError(f"'schema_version' is {schema}")
    # A manifest and the options of a build are of schema 1, too.
    if schema < OLDEST_LINEUP and not (isinstance(fields, dict) and "model" in fields):
        raise ValueError("'model' is missing")
    if schema < OLDEST_SCHEMA:
        raise UsageError(
            f"'{path}' is a report of schema {schema}, which has no predictions.",
            "Measure the baseline again with this version of trtqat.",
        )
    if schema > SCHEMA_VERSION:
        raise UsageError(
            f"'{path}' is a report of schema {schema}, newer than this trtqat knows.",
            "Read it with the trtqat that wrote it, or a newer one.",
        )


def _baseline(report: Report) -> Measured:
    """What is compared with.

    Raises:
        ValueError: The report has no subject, or is of a batch of none.
    """
    if sum(each.role == "subject" for each in report.contenders) != 1:
        raise ValueError("not one of its contenders is the subject")
    if report.batch_size < 1:
        raise ValueError(f"'batch_size' is {report.batch_size}")
    found = report.baseline or report.subject
    host = report.environment
    here = host.gpu.name if host.gpu else host.cpu
    return replace(
        found,
        role="baseline",
        size_bytes=None,
        # That report may itself have taken its baseline from an earlier one.
        recorded_on=found.recorded_on or here,
        to_baseline=None,
        to_step_before=None,
        timings=tuple(replace(each, speedup=None) for each in found.timings),
    )


def _check(baseline: Measured, images: int) -> None:
    """Refuses what contradicts itself.

    Raises:
        ValueError: It does.
    """
    accuracy, predicted = baseline.accuracy, baseline.predictions.classes
    if predicted and len(predicted) != images:
        raise ValueError(f"{len(predicted)} predictions for {images} images")
    if accuracy and not 0 <= accuracy.top1 <= accuracy.count == images:
        raise ValueError(f"{accuracy.top1} of {accuracy.count} of {images} images right")
    if accuracy and not accuracy.top1 <= (accuracy.top5 or accuracy.top1) <= images:
        raise ValueError(f"{accuracy.top5} of {images} images right among five")
    for figure in baseline.metrics:
        if figure.samples is not None and len(unpack_samples(figure.samples)) != images:
            raise ValueError(f"the {figure.metric} is not of {images} images")
    for each in baseline.timings:
        if each.batch_size < 1:
            raise ValueError(f"'batch_size' is {each.batch_size}")
        _check_timing(each.timing)


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


def compare_predictions(run: AccuracyRun, recorded: Measured) -> Comparison | None:
    """Compares the subject with a recorded baseline, as far as its predictions go.

    Args:
        run: What every image told here.
        recorded: The baseline.

    Returns:
        None if one of the two has no predictions.

    Raises:
        DataError: They were not measured on the same data, or their predictions are of different
            outputs.
    """
    mine, theirs = run.subject.predictions, recorded.predictions
    if mine.data_sha256 != theirs.data_sha256:
        raise DataError(
            "The recorded baseline was measured on other data: labels or first image differ.",
            "Give the same --data and --limit as there.",
        )
    # Of data without labels the hash is of the first image alone.
    counts = len(theirs.classes), len(mine.classes)
    if all(counts) and counts[0] != counts[1]:
        raise DataError(
            f"The recorded baseline was measured on other data: of {counts[0]} samples, and here "
            f"there are {counts[1]}.",
            "Give the same --data and --limit as there.",
        )
    if len(run.outputs) > 1 and mine.classes:
        _check_output(recorded, mine.output, run.outputs)
    if not all(counts):
        return None
    both = zip(mine.classes, theirs.classes, strict=True)
    same = sum(one == other != -1 for one, other in both)
    return Comparison(
        recorded.name,
        Agreement(same, len(mine.classes), None, None),
        pair(run.labels, mine.classes, theirs.classes),
    )


def _check_output(recorded: Measured, output: str | None, names: Sequence[str]) -> None:
    if recorded.predictions.output is None:
        _LOG.warning(
            "The report of '%s' does not tell which output its predictions are of; here they are "
            "of '%s'. Measure the baseline again if that was another one.",
            recorded.name,
            output,
        )
    elif recorded.predictions.output != output:
        raise DataError(
            f"The recorded predictions are of the output '{recorded.predictions.output}', and "
            f"those of the model of '{output}', the first of {', '.join(map(repr, names))}.",
            "Give the report of a baseline of this model.",
        )


def join_baseline(
    lineup: Lineup, recorded: Measured, comparison: Comparison | None, sizes: Collection[int]
) -> Lineup:
    """Lets a recorded baseline take part in what was measured here.

    Args:
        lineup: Without a baseline.
        recorded: The baseline.
        comparison: Of the subject with it.
        sizes: Batch sizes that are asked for; times at others are left out. So are all of another
            kind of device: a CPU is none of a GPU's rivals.
    """
    subject = replace(lineup.subject, to_baseline=comparison)
    timings = []
    for each in recorded.timings:
        if each.batch_size in sizes and recorded.device == subject.device:
            here = subject.at(each.batch_size)
            speedup = record_ratio(each.timing.compute, here.timing.compute) if here else None
            timings.append(replace(each, speedup=speedup))
    baseline = replace(recorded, timings=tuple(timings))
    others = (each for each in lineup.contenders if each.role != "subject")
    return Lineup(tuple(sorted_by_role([subject, baseline, *others])))
