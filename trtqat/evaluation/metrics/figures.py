"""What a metric found of one model, as it stands in a report."""

from __future__ import annotations

from dataclasses import dataclass

from trtqat.evaluation.metrics.bootstrap import Estimate
from trtqat.evaluation.metrics.packing import PackedSamples


@dataclass(frozen=True)
class MetricPart:
    """A metric's value of a part of what is asked for.

    Attributes:
        name: Of the part: ``small``, ``medium`` or ``large`` boxes of ``map``.
        value: In the metric's unit.
    """

    name: str
    value: float


@dataclass(frozen=True, kw_only=True)
class MetricFigure:
    """A metric of one model.

    Attributes:
        metric: What it is called: ``miou``, ``miou@aux``.
        spec: The same with its options.
        unit: Of the value and of a difference: ``%``, whose differences are points, ``dB``, or
            nothing.
        higher_is_better: Whether a model that gets worse has a lower value.
        value: Of all samples.
        to_baseline: This value less the baseline's, paired by sample; None if there is none.
        resamples: Of which the intervals are made.
        samples: What it kept of every sample, for a comparison on another host; None of models that
            no other one is compared with.
        parts: Its values of parts, without intervals; empty unless the metric has such. A part of
            which the labels have nothing is left out.
        files_sha256: Of the files that it is made of, as of a function or of characters; empty if
            there are none, and in reports that do not tell.
    """

    metric: str
    spec: str
    unit: str
    higher_is_better: bool
    value: Estimate
    to_baseline: Estimate | None
    resamples: int
    samples: PackedSamples | None
    parts: tuple[MetricPart, ...] = ()
    files_sha256: tuple[str, ...] = ()

    @property
    def drop(self) -> Estimate | None:
        """How much worse it is than the baseline; negative if it is better."""
        found = self.to_baseline
        if found is None or not self.higher_is_better:
            return found
        # Zero stays without a sign.
        return Estimate(0.0 - found.value, 0.0 - found.high, 0.0 - found.low)
