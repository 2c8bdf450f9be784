"""A metric of a model beside FP32's, on all samples of a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from trtqat.errors import DataError
from trtqat.evaluation.intervals import Interval, is_allowed
from trtqat.evaluation.metrics.bootstrap import Estimate, resample
from trtqat.evaluation.metrics.metric import Metric, PerSample, joined
from trtqat.evaluation.metrics.packing import Packed, PackedSamples, pack_samples, unpack_samples
from trtqat.quant.placing.placed import only_calls
from trtqat.quant.quantize import Quantized
from trtqat.search.counting import LabelledSamples, Runs, Score
from trtqat.search.running import Announce, Progress
from trtqat.search.saved_search import SavedSearch
from trtqat.typed_json import as_fields

TASK = "metric"


class MetricScores(Runs):
    """Measures a metric, and knows what an earlier run measured.

    Attributes:
        metric: Which one.
        fp32_value: Of the model in floating point.
    """

    def __init__(
        self,
        metric: Metric,
        quantized: Quantized,
        samples: LabelledSamples,
        max_drop: float,
        saved: SavedSearch,
        announce: Announce | None,
        progress: Progress | None,
    ) -> None:
        """Measures FP32, or knows it already.

        Args:
            metric: Reads the samples' labels.
            quantized: As for ``Runs``.
            samples: With labels.
            max_drop: How much worse than FP32's it may be, in its own unit.
            saved: Where every value is written down, and gone on from.
            announce: As for ``Runs``.
            progress: As for ``Runs``.

        Raises:
            DataError: FP32's value is no number, or the samples do not fit the model.
        """
        super().__init__(TASK, quantized, samples, announce, progress)
        self.metric = metric
        self._allowed = max_drop
        self._saved = saved
        state = saved.part(TASK)
        # Value, drop and the two ends of its interval.
        self._measured: dict[str, list[float]] = state.get("measured", {})
        if "fp32" in state:
            self._fp32 = _unpacked(state["fp32"])
            self._known = 1 + len(self._measured)
        else:
            with only_calls(quantized.model, ()):
                self._fp32 = self._kept(quantized)
            self._write()
        ones = np.ones((1, len(self._fp32)))
        self.fp32_value = float(metric.values(self._fp32, ones)[0])
        if not math.isfinite(self.fp32_value):
            raise DataError(
                f"The {metric.label} of the FP32 model is {self.fp32_value}, so there is no drop.",
                "Check model and labels, or choose another --metric.",
            )

    def of(self, quantized: Quantized, kept: Sequence[str]) -> Score:
        """The metric of a model, and how much worse than FP32's it is."""
        name = "\n".join(kept)
        if name not in self._measured:
            mine, theirs = resample(self.metric, [self._kept(quantized), self._fp32])
            drop = mine.less(theirs)
            if self.metric.higher_is_better:
                drop = Estimate(-drop.value, -drop.high, -drop.low)
            self._measured[name] = [mine.value, drop.value, drop.low, drop.high]
            self._write()
        value, dropped, low, high = self._measured[name]
        return Score(
            # Zero without a sign.
            drop=dropped + 0.0,
            interval=Interval(low + 0.0, high + 0.0),
            holds=is_allowed(dropped, self._allowed),
            value=value,
        )

    def _kept(self, quantized: Quantized) -> PerSample:
        answers = self._samples.answers(quantized.model, self._told)
        found = joined(self.metric.per_sample(outputs, labels) for outputs, labels in answers)
        self._known += 1
        return found

    def _write(self) -> None:
        state = {"fp32": as_fields(pack_samples(self._fp32)), "measured": self._measured}
        self._saved.write(TASK, state)


def _unpacked(state: dict[str, Any]) -> PerSample:
    lengths = state["lengths"]
    packed = PackedSamples(Packed(**state["rows"]), Packed(**lengths) if lengths else None)
    return unpack_samples(packed)
