"""What the records of all stages say together: one row for each stage of a model.

A row has the mean over the seeds of its stage, and the paired difference to another stage: the
same test images, and seed by seed the same order of training images. The interval is for other
images and other seeds (``crossed_interval``), and of one seed for other images
(``paired_interval``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.fashion_mnist.stages import Record
from trtqat.evaluation.intervals import Interval, paired_interval, share_interval
from trtqat.tensors import Array

# What each stage is compared with; what is not here is compared with FP32.
COMPARED = {"qat": "control", "fp32": ""}
# Whose answers are counted that are others: by what they are of, the stage that gave them.
OTHERS = {
    f"{kind}-{ending}": {"pytorch": model, "graph": f"onnx-{ending}"}
    for ending, model in (("qat", "qat"), ("ptq", "ptq-auto"))
    for kind in ("onnx", "engine")
}
# Steps of the integral that Student's distribution is computed by, and where it is normal.
_STEPS, _MOST_FREEDOM = 50_000, 2000.0


@dataclass(frozen=True)
class Difference:
    """A paired difference.

    Attributes:
        to: The stage that is compared with.
        points: Right answers more than that one's, in percentage points, mean over seeds.
        interval_points: Its 95 % interval.
        by_seed: The same for each seed alone.
    """

    to: str
    points: float
    interval_points: Interval
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """A stage of a model, over all its seeds.

    Attributes:
        model: Name of the model.
        stage: Name of the stage.
        seeds: What it was run with.
        correct: Right answers by seed.
        count: Test images.
        percent: Right answers of a hundred, mean over seeds.
        interval_percent: 95 %: Wilson's of one seed, ``crossed_interval`` of several.
        difference: To the stage that it is compared with; None if that was not run.
        other_answers: How many answers are others than those of ``"pytorch"`` and ``"graph"``,
            as far as these were run.
        figures: What else was measured: of several seeds, of the first.
        seconds: Wall-clock time of all seeds.
        device: Where it was run.
        torch: Version of PyTorch.
    """

    model: str
    stage: str
    seeds: tuple[int, ...]
    correct: tuple[int, ...]
    count: int
    percent: float
    interval_percent: Interval
    difference: Difference | None
    other_answers: Mapping[str, int]
    figures: Mapping[str, Any]
    seconds: float
    device: str
    torch: str


def compare(records: Sequence[Record], labels: Sequence[int]) -> list[Row]:
    """Sums up the records of each stage, in their order.

    Args:
        records: Of all models.
        labels: Of the test images.
    """
    grouped: dict[tuple[str, str], dict[int, Record]] = {}
    for each in records:
        grouped.setdefault((each.model, each.stage), {})[each.seed] = each
    right = {
        key: {seed: _right(each, labels) for seed, each in by_seed.items()}
        for key, by_seed in grouped.items()
    }
    rows = []
    for (model, stage), by_seed in grouped.items():
        answers = right[model, stage]
        to = COMPARED.get(stage, "fp32")
        others = right.get((model, to))
        first = next(iter(by_seed.values()))
        rows.append(
            Row(
                model=model,
                stage=stage,
                seeds=tuple(by_seed),
                correct=tuple(each.correct for each in by_seed.values()),
                count=first.count,
                percent=100 * float(np.mean([each.mean() for each in answers.values()])),
                interval_percent=_of_shares(answers, first),
                difference=_difference(to, answers, others) if others else None,
                other_answers=_other_answers(first, grouped),
                figures=first.figures,
                seconds=sum(each.seconds for each in by_seed.values()),
                device=first.device,
                torch=first.torch,
            )
        )
    return rows


def crossed_interval(values: Array) -> tuple[float, Interval]:
    """The mean of values that seeds and images share, and its 95 % interval.

    Seeds and images are both drawn at random, and cross: the two-way analysis of variance without
    replication. With S seeds, N images, the mean squares of seeds ``MS_s``, of images ``MS_i`` and
    of the rest ``MS_r``, the mean has the variance ``(MS_s + MS_i - MS_r) / (S N)``; its degrees
    of freedom are Satterthwaite's (Biometrics 2, 1946), its quantile Student's. It is no less than
    ``MS_i / (S N)``: what the images alone leave open. One seed has the variance of its images.

    Args:
        values: Shape ``(S, N)``; differences, or 0 and 1.
    """
    seeds, images = values.shape
    mean = float(values.mean())
    of_images = seeds * float(values.mean(axis=0).var(ddof=1)) if images > 1 else 0.0
    variance, freedom = of_images / (seeds * images), float(images - 1)
    if seeds > 1 and images > 1:
        of_seeds = images * float(values.mean(axis=1).var(ddof=1))
        rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + mean
        of_rest = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
        total = of_seeds + of_images - of_rest
        if total > of_images:
            parts = (
                (of_seeds, seeds - 1),
                (of_images, images - 1),
                (of_rest, (seeds - 1) * (images - 1)),
            )
            freedom = total**2 / sum(square**2 / degrees for square, degrees in parts)
            variance = total / (seeds * images)
    half = student_quantile(max(freedom, 1.0)) * math.sqrt(variance)
    return mean, Interval(mean - half, mean + half)


def student_quantile(freedom: float) -> float:
    """What 95 % of Student's distribution are within, on both sides of 0.

    ``t = sqrt(freedom) tan(a)`` has the density ``cos(a) ** (freedom - 1)`` in the angle ``a``.

    Args:
        freedom: Degrees of freedom, at least 1; they need not be whole.
    """
    freedom = min(freedom, _MOST_FREEDOM)
    angles = (np.arange(_STEPS) + 0.5) * (math.pi / 2 / _STEPS)
    inside = np.cumsum(np.cos(angles) ** (freedom - 1))
    angle = angles[int(np.searchsorted(inside, 0.95 * inside[-1]))]
    return math.sqrt(freedom) * math.tan(angle)


def table(rows: Sequence[Row]) -> str:
    """One line per row: counts, the share with its interval, and the paired difference."""
    lines = [
        f"{'model':<20}{'stage':<16}{'seeds':>6}{'correct':>10}{'count':>8}{'top-1':>9}"
        f"  {'95 % interval':<17}  difference in points, 95 % interval"
    ]
    worst = worst_ptq(rows)
    for row in rows:
        correct = sum(row.correct) / len(row.correct)
        low, high = row.interval_percent.low, row.interval_percent.high
        lines.append(
            f"{row.model:<20}{row.stage:<16}{len(row.seeds):>6}{correct:>10.6g}{row.count:>8}"
            f"{row.percent:>8.2f}%  {f'{low:.2f} to {high:.2f}%':<17}  {_words(row)}"
            f"{' (worst PTQ)' if worst.get(row.model) == row.stage else ''}".rstrip()
        )
    return "\n".join(lines)


def worst_ptq(rows: Sequence[Row]) -> dict[str, str]:
    """By model, the method of PTQ with the fewest right answers."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.stage.startswith("ptq-") and row.stage != "ptq-target":
            known = found.get(row.model)
            if known is None or row.percent < known.percent:
                found[row.model] = row
    return {model: row.stage for model, row in found.items()}


def _words(row: Row) -> str:
    words = []
    if row.difference is not None:
        interval = row.difference.interval_points
        words.append(
            f"{row.difference.points:+.2f} to {row.difference.to}, "
            f"{interval.low:+.2f} to {interval.high:+.2f}"
        )
    figures = row.figures
    if "kept" in figures:
        reached = "" if figures["is_reached"] else "; not reached"
        words.append(
            f"{len(figures['kept'])} layers kept, {figures['int8_share']:.1%} of MACs INT8{reached}"
        )
    for other, count in row.other_answers.items():
        words.append(f"{count} other answers than {other}")
    if figures.get("gpu_ms") is not None:
        wanted = figures["layers_wanted_in_int8"]
        if wanted is not None:
            words.append(f"{wanted - len(figures['layers_not_in_int8'])} of {wanted} layers INT8")
        words.append(f"{figures['gpu_ms']:.3f} ms at {figures['gpu_ms_batch']}")
    return "; ".join(words)


def _right(record: Record, labels: Sequence[int]) -> Array:
    return np.array([int(a) == b for a, b in zip(record.answers, labels, strict=True)], float)


def _other_answers(
    record: Record, grouped: Mapping[tuple[str, str], Mapping[int, Record]]
) -> dict[str, int]:
    counts = {}
    for name, stage in OTHERS.get(record.stage, {}).items():
        other = grouped.get((record.model, stage), {}).get(record.seed)
        if other is not None and other is not record:
            pairs = zip(record.answers, other.answers, strict=True)
            counts[name] = sum(mine != its for mine, its in pairs)
    return counts


def _of_shares(answers: Mapping[int, Array], first: Record) -> Interval:
    if len(answers) == 1:
        share = share_interval(first.correct, first.count)
    else:
        _, share = crossed_interval(np.stack(list(answers.values())))
    return Interval(100 * share.low, 100 * share.high)


def _difference(to: str, mine: Mapping[int, Array], others: Mapping[int, Array]) -> Difference:
    """Seed by seed; what was run once stands against every seed."""
    only = next(iter(others.values())) if len(others) == 1 else None
    pairs = [
        each - (only if only is not None else others[seed])
        for seed, each in mine.items()
        if only is not None or seed in others
    ]
    mean, interval = crossed_interval(np.stack(pairs))
    if len(pairs) == 1:
        lost, gained = int((pairs[0] < 0).sum()), int((pairs[0] > 0).sum())
        drop = paired_interval(lost, gained, pairs[0].size)
        interval = Interval(-drop.high, -drop.low)
    return Difference(
        to,
        100 * mean,
        Interval(100 * interval.low, 100 * interval.high),
        tuple(100 * float(each.mean()) for each in pairs),
    )
