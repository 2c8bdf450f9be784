"""The asked metrics of every contender, beside the baseline's on the same resamples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from trtqat.errors import DataError
from trtqat.evaluation.accuracy import AccuracyRun
from trtqat.evaluation.contenders import Measured
from trtqat.evaluation.metrics.bootstrap import Resampled, resample
from trtqat.evaluation.metrics.figures import MetricFigure, MetricPart
from trtqat.evaluation.metrics.metric import Metric, PerSample
from trtqat.evaluation.metrics.packing import pack_samples, unpack_samples

_LOG = logging.getLogger(__name__)


def measure_metrics(
    metrics: Sequence[Metric], run: AccuracyRun, recorded: Measured | None
) -> tuple[AccuracyRun, Measured | None]:
    """Makes figures of what was kept of every sample.

    Args:
        metrics: In the order of ``run.samples``.
        run: What every sample told.
        recorded: A baseline that was measured elsewhere, if there is one.

    Returns:
        Both, with the figures of exactly these metrics.

    Raises:
        DataError: The recorded baseline's metrics are others.
    """
    sides = [*run.contenders, *([recorded] if recorded else [])]
    figures: list[list[MetricFigure]] = [[] for _ in sides]
    for index, metric in enumerate(metrics):
        found: list[PerSample | None] = [samples[index] for samples in run.samples]
        if recorded is not None:
            found.append(_recorded(metric, recorded, found[0]))
        for own, figure in zip(figures, _figures(metric, sides, found), strict=True):
            own += [figure] if figure else []
    made = [replace(side, metrics=tuple(own)) for side, own in zip(sides, figures, strict=True)]
    count = len(run.contenders)
    return replace(run, contenders=tuple(made[:count])), (made[count] if recorded else None)


def check_recorded_metrics(metrics: Sequence[Metric], recorded: Measured) -> None:
    """Refuses a record of other metrics of the same name, before anything is measured.

    Args:
        metrics: What is asked for.
        recorded: The baseline.

    Raises:
        DataError: One of its metrics has the name of one of these, and other options or files.
    """
    for metric in metrics:
        figure = recorded.metric(metric.label)
        if figure is not None and figure.spec != metric.spec:
            raise DataError(
                f"The baseline was recorded with the metric {figure.spec}, and {metric.spec} is "
                "asked for.",
                "Ask for the same, or record the baseline again.",
            )
        if figure is not None and figure.files_sha256 not in ((), metric.files_sha256):
            raise DataError(
                f"The baseline was recorded with another {metric.spec}: something else stood in "
                "that file.",
                "Give the file that was there then, or record the baseline again.",
            )


def _recorded(metric: Metric, recorded: Measured, mine: PerSample | None) -> PerSample | None:
    """What was kept of the baseline's samples, if it was."""
    figure = recorded.metric(metric.label)
    if figure is None or figure.samples is None:
        _LOG.warning(
            "The report of '%s' has no %s, so there is no difference to it.",
            recorded.name,
            metric.label,
        )
        return None
    found = unpack_samples(figure.samples)
    here = found if mine is None else metric.recorded(mine)
    if found.rows.shape[1] != here.rows.shape[1]:
        raise DataError(
            f"The baseline was recorded with {found.rows.shape[1]} statistics of "
            f"{metric.label}, and here there are {here.rows.shape[1]}.",
            "Give the report of a baseline of this model.",
        )
    return found


def _figures(
    metric: Metric, sides: Sequence[Measured], found: Sequence[PerSample | None]
) -> list[MetricFigure | None]:
    """A figure of each side; None where it kept nothing."""
    there = [each for each in found if each is not None]
    resampled = iter(resample(metric, there))
    by_side: list[Resampled | None] = [None if each is None else next(resampled) for each in found]
    roles = [side.role for side in sides]
    baseline = by_side[roles.index("baseline")] if "baseline" in roles else None
    figures: list[MetricFigure | None] = []
    for side, kept, values in zip(sides, found, by_side, strict=True):
        if kept is None or values is None:
            figures.append(None)
            continue
        # Those of a record are figures, as it has no more of them.
        record = side.metric(metric.label)
        parts = tuple(MetricPart(*each) for each in metric.parts(kept).items())
        is_compared = baseline is not None and side.role != "baseline"
        figures.append(
            MetricFigure(
                metric=metric.label,
                spec=metric.spec,
                unit=metric.unit,
                higher_is_better=metric.higher_is_better,
                value=values.estimate(),
                to_baseline=values.less(baseline) if is_compared and baseline else None,
                resamples=metric.resamples,
                # Of a report the baseline is read again, or the subject if there is none.
                samples=pack_samples(metric.recorded(kept))
                if side.role in ("subject", "baseline")
                else None,
                parts=record.parts if record is not None else parts,
                files_sha256=metric.files_sha256,
            )
        )
    return figures
