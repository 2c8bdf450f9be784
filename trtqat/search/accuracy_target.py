"""The fewest MACs in floating point that keep the accuracy, by counts or a metric on all samples.

1. All layers in INT8 are counted first. If that holds the target, it is done.
2. Layers are ranked by their noise (``sensitivity.py``) for each MAC that keeping them costs. The
   shortest prefix of the ranking that holds the target is found by doubling, then by bisection.
   Accuracy hardly ever rises when a noisy layer is quantized; where it does, this finds a prefix
   that holds, and whose next shorter one does not.
3. Layers of the prefix are given back, those with most MACs first, where the target still holds.
   None is counted that has more noise, by the sum of its layers', than what lost beyond doubt.

Every count, or value of a metric, is over all samples. There are at most as many as the model has
quantized layers, besides the first one and FP32's own.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from trtqat.errors import GateError
from trtqat.evaluation.intervals import Interval, beside_limit
from trtqat.evaluation.metrics.metric import Metric
from trtqat.quant.quantize import Quantized, keeping
from trtqat.search.counting import Counts, LabelledSamples, Runs
from trtqat.search.metric_scores import MetricScores
from trtqat.search.running import Announce, Progress
from trtqat.search.saved_search import SavedSearch
from trtqat.search.sensitivity import LayerSensitivity

# What lost by so little a chance lost indeed.
_BEYOND_DOUBT = 0.05


@dataclass(frozen=True)
class Rung:
    """One count on the ladder.

    Attributes:
        kept: Names of the layers that went back to floating point for it.
        int8_share: Share of the MACs in INT8, 0 to 1.
        right: Right answers; None of a metric.
        count: Samples.
        lost: Samples that FP32 alone got right; None of a metric.
        gained: Samples that this model alone got right; None of a metric.
        drop_points: FP32's accuracy less this one's, in percentage points; of a metric how much
            worse than FP32's it is, in its own unit.
        interval_points: Its 95 % interval, paired by sample.
        p_value: McNemar's exact test: the probability of so uneven a split by chance; None of a
            metric.
        holds: Whether the drop is within the target.
        value: Of the metric; None where right answers were counted.
    """

    kept: tuple[str, ...]
    int8_share: float
    right: int | None
    count: int
    lost: int | None
    gained: int | None
    drop_points: float
    interval_points: Interval
    p_value: float | None
    holds: bool
    value: float | None = None

    @property
    def is_beyond_doubt(self) -> bool:
        """Whether the drop is no chance."""
        if self.p_value is None:
            return self.interval_points.low > 0
        return self.p_value < _BEYOND_DOUBT


@dataclass(frozen=True)
class Ladder:
    """The way to an accuracy target.

    Attributes:
        max_drop_points: The target: what the accuracy may drop, in percentage points; of a metric
            how much worse it may be, in its own unit.
        fp32_right: Right answers of the FP32 model; None of a metric.
        count: Samples.
        rungs: Every count, in its order; the first has all layers in INT8.
        best: Which of them has most MACs in INT8 of those that hold the target; None if none does.
        metric: What was measured instead of right answers, with its options.
        unit: Of the metric, as ``Metric`` has it.
        fp32_value: The metric of the FP32 model.
    """

    max_drop_points: float
    fp32_right: int | None
    count: int
    rungs: tuple[Rung, ...]
    best: int | None
    metric: str | None = None
    unit: str = "%"
    fp32_value: float | None = None

    @property
    def subject(self) -> str:
        """What may drop, as the subject of a sentence."""
        return f"The {self.metric or 'accuracy'}"

    def drop_in_words(self, drop: float) -> str:
        """What became of it: ``drops by 0.50 points``, ``gets better by 0.012``.

        Args:
            drop: Of a rung; below zero it is a gain.
        """
        is_worse = drop >= 0
        form = ".2f" if self.unit == "%" else ".4g"
        by = beside_limit(abs(drop), self.max_drop_points, form)
        if self.unit == "%" and self.metric is None:
            return f"{'drops' if is_worse else 'rises'} by {by} points"
        by += " points" if self.unit == "%" else f" {self.unit}"
        return f"gets {'worse' if is_worse else 'better'} by {by}".rstrip()

    @property
    def chosen(self) -> Rung | None:
        """The rung that the search ends on; None if the target was not reached."""
        return None if self.best is None else self.rungs[self.best]

    def check_reached(self, remedy: str) -> None:
        """Raises where no rung holds the target.

        Args:
            remedy: The way out.

        Raises:
            GateError: The accuracy drops by more on every rung.
        """
        if self.best is not None:
            return
        known = [each for each in self.rungs if not math.isnan(each.drop_points)]
        if not known:
            raise GateError(f"{self.subject} is no number, however many MACs are in INT8.", remedy)
        least = min(known, key=lambda each: each.drop_points)
        raise GateError(
            f"{self.subject} {self.drop_in_words(least.drop_points)} at least, with "
            f"{least.int8_share:.1%} of the MACs in INT8; {self.max_drop_points:g} are allowed.",
            remedy,
        )


Ranking = Callable[[], Sequence[LayerSensitivity]]


def find_within_target(
    quantized: Quantized,
    samples: LabelledSamples,
    max_drop_points: float,
    ranking: Ranking,
    *,
    metric: Metric | None = None,
    announce: Announce | None = None,
    progress: Progress | None = None,
    saved: SavedSearch | None = None,
) -> tuple[Quantized | None, Ladder]:
    """Finds the model with the most MACs in INT8 whose accuracy drop is within a target.

    Args:
        quantized: From ``trtqat.quantize``; not changed.
        samples: Labelled samples that neither trained nor calibrated the model.
        max_drop_points: What the accuracy may drop, in percentage points of all samples; of a
            metric how much worse it may be, in its own unit.
        ranking: Gives the layers' sensitivity; called only where all layers in INT8 lose more.
        metric: What to measure; None counts right answers.
        announce: Called once, after the first batch, with what it will take at most.
        progress: Called after every batch, with samples done and their most possible total.
        saved: Where every count is written down, and gone on from.

    Returns:
        The model, None if no rung holds the target, and the ladder.

    Raises:
        DataError: The samples have no labels, or do not fit the model.
        UsageError: The state cannot be written.
    """
    saved = saved or SavedSearch()
    runs: Counts | MetricScores
    if metric is None:
        runs = Counts(quantized, samples, max_drop_points, saved, announce, progress)
    else:
        runs = MetricScores(metric, quantized, samples, max_drop_points, saved, announce, progress)
    climb = _Climb(quantized, runs)
    climb.run(ranking)
    ladder = Ladder(
        max_drop_points,
        runs.fp32_right if isinstance(runs, Counts) else None,
        len(samples),
        tuple(climb.rungs),
        climb.best(),
        metric=metric.spec if metric else None,
        unit=metric.unit if metric else "%",
        fp32_value=runs.fp32_value if isinstance(runs, MetricScores) else None,
    )
    chosen = ladder.chosen
    if chosen is None:
        return None, ladder
    return _keeping(quantized, chosen.kept), ladder


def _keeping(quantized: Quantized, names: Sequence[str]) -> Quantized:
    # A name may hold a pattern's letters.
    return keeping(quantized, [glob.escape(name) for name in names]) if names else quantized


def by_noise_per_mac(sensitivity: Sequence[LayerSensitivity]) -> list[LayerSensitivity]:
    """The layers in the order in which they should go back to floating point.

    A layer that makes no noise comes last: to keep it gains nothing.
    """
    return sorted(sensitivity, key=lambda each: each.noise / max(each.macs, 1.0), reverse=True)


def _noise_left(noises: Mapping[str, float], kept: Collection[str]) -> float:
    """The noise of the layers that stay in INT8, nearly: that of each by itself, summed."""
    return sum(noise for name, noise in noises.items() if name not in kept)


class _Climb:
    """The search: which sets of layers are counted, one after the other."""

    def __init__(
        self,
        quantized: Quantized,
        runs: Runs,
    ) -> None:
        self._quantized = quantized
        self._runs = runs
        self._known: dict[frozenset[str], Rung] = {}

    @property
    def rungs(self) -> list[Rung]:
        """All that was counted, in its order."""
        return list(self._known.values())

    def best(self) -> int | None:
        """The rung with most MACs in INT8 of those that hold; of the same ones the best count."""
        held = [number for number, each in enumerate(self.rungs) if each.holds]
        return max(
            held,
            key=lambda at: (self.rungs[at].int8_share, -self.rungs[at].drop_points),
            default=None,
        )

    def run(self, ranking: Ranking) -> None:
        """Counts until the target is held by as few MACs in floating point as it finds."""
        if self._rung([]).holds:
            return
        order = by_noise_per_mac(ranking())
        names = [each.layer for each in order]
        prefix = self._shortest(names)
        if prefix is None:
            return
        macs = {each.layer: each.macs for each in order}
        noises = {each.layer: each.noise for each in order}
        # Without its last layer the prefix was counted already.
        back = sorted(prefix[:-1], key=lambda name: macs[name], reverse=True)
        kept = prefix
        for name in back:
            # The first one, with all layers in INT8, is not one of them.
            if len(self._known) > len(names):
                break
            trial = [each for each in kept if each != name]
            if not self._is_hopeless(trial, noises) and self._rung(trial).holds:
                kept = trial

    def _is_hopeless(self, kept: Collection[str], noises: Mapping[str, float]) -> bool:
        """Whether it has the noise of a rung whose drop is no chance."""
        noise = _noise_left(noises, kept)
        return any(
            not each.holds and each.is_beyond_doubt and noise >= _noise_left(noises, each.kept)
            for each in self.rungs
        )

    def _shortest(self, names: Sequence[str]) -> list[str] | None:
        """The shortest prefix that holds; None if not even the one of all layers but one does."""
        most = len(names) - 1
        failing, length = 0, min(1, most)
        while length and not self._rung(names[:length]).holds:
            if length == most:
                return None
            failing, length = length, min(2 * length, most)
        if not length:
            return None
        holding = length
        while holding - failing > 1:
            middle = (holding + failing) // 2
            if self._rung(names[:middle]).holds:
                holding = middle
            else:
                failing = middle
        return list(names[:holding])

    def _rung(self, kept: Sequence[str]) -> Rung:
        key = frozenset(kept)
        if key not in self._known:
            model = _keeping(self._quantized, kept)
            in_order = [each.name for each in self._quantized.layers if each.name in key]
            score = self._runs.of(model, in_order)
            self._known[key] = Rung(
                kept=tuple(in_order),
                int8_share=model.int8_share,
                right=score.right,
                count=self._runs.count,
                lost=score.lost,
                gained=score.gained,
                drop_points=score.drop,
                interval_points=score.interval,
                p_value=score.p_value,
                holds=score.holds,
                value=score.value,
            )
        return self._known[key]
