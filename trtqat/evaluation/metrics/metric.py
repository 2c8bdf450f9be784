"""What every metric is: a row or more for each sample, and a value of any weighting of samples.

A value with its interval, and a difference with its, need the metric of thousands of resamples. So
no metric sees outputs twice: it keeps what its value is made of, sample by sample. A resample is a
weight for each sample, how often it was drawn, and two models are compared on the same weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trtqat.data.labels import Labels, labels_in_words
from trtqat.errors import DataError
from trtqat.files import is_file, sha256_of
from trtqat.pointers import is_pointer
from trtqat.tensors import Array, Arrays, are_texts


@dataclass(frozen=True, eq=False)
class PerSample:
    """What a metric keeps of samples.

    Attributes:
        rows: float64 ``(M, k)``.
        lengths: int64 ``(N,)``: how many of the rows are each sample's, in the samples' order.
    """

    rows: Array
    lengths: Array

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def samples(self) -> Array:
        """Which sample each row is of: ``(M,)``."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)


def joined(parts: Iterable[PerSample]) -> PerSample:
    """The samples of several batches, one behind the other.

    Args:
        parts: At least one, all of one metric.
    """
    parts = list(parts)
    return PerSample(
        np.concatenate([each.rows for each in parts]),
        np.concatenate([each.lengths for each in parts]),
    )


def differing_samples(one: PerSample, other: PerSample) -> int:
    """How many samples have other rows in one than in the other; NaN is like NaN.

    Args:
        one: Of N samples, with rows of k numbers.
        other: The same.
    """
    differs = one.lengths != other.lengths
    # Of samples with as many rows each has its counterpart.
    owners = one.samples[~differs[one.samples]]
    mine, theirs = (each.rows[~differs[each.samples]] for each in (one, other))
    is_other = (mine != theirs) & ~(np.isnan(mine) & np.isnan(theirs))
    differs[owners[is_other.any(axis=1)]] = True
    return int(differs.sum())


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """One figure of a model on labelled samples.

    Attributes:
        output: Name of the output that it reads; None is the first one.
        unit: Of the value and of a drop: ``%``, whose differences are points, ``dB``, or nothing.
        higher_is_better: Whether a model that gets worse has a lower value.
        resamples: Of which an interval is made.
        is_optimistic: Whether few samples give too high a value, and resamples of them a higher one
            again.
        bounds: The least and the most that a value can be, where percentiles would leave that.
    """

    # What is written behind the name as ``key=value``, and what makes a field of it.
    OPTIONS: ClassVar[Mapping[str, Callable[[str], Any]]] = {}

    output: str | None = None
    unit: str = field(default="%", init=False)
    higher_is_better: bool = field(default=True, init=False)
    resamples: int = field(default=1000, init=False)
    is_optimistic: bool = field(default=False, init=False)
    bounds: tuple[float, float] = field(default=(-math.inf, math.inf), init=False)

    @property
    @abstractmethod
    def name(self) -> str:
        """As ``--metric`` calls it, without output and options."""

    @abstractmethod
    def per_sample(self, outputs: Arrays, labels: Labels) -> PerSample:
        """What the value is made of, of one batch.

        Args:
            outputs: Every output ``(N, …)`` by name, in the order of the exported model.
            labels: Of these N samples.

        Raises:
            DataError: Outputs or labels are none that it reads.
        """

    @abstractmethod
    def values(self, found: PerSample, weights: Array) -> Array:
        """The value of each resample; NaN where it has none.

        Args:
            found: Of N samples.
            weights: float64 ``(R, N)``: how often each sample was drawn.

        Returns:
            float64 ``(R,)``.
        """

    def parts(self, found: PerSample) -> Mapping[str, float]:
        """Values of a part of what is asked for each, by name, as of small boxes alone.

        Args:
            found: Of all samples.

        Returns:
            Empty unless the metric has such. A part of which the labels have nothing is left out.
        """
        del found
        return {}

    def recorded(self, found: PerSample) -> PerSample:
        """What of it a report keeps: enough for the value of any weighting.

        Args:
            found: Of all samples.
        """
        return found

    def right(self, found: PerSample) -> NDArray[np.bool_] | None:
        """Which samples are right, where the value is their share in percent.

        Args:
            found: Of N samples.

        Returns:
            ``(N,)``; None where samples are not just right or wrong.
        """
        del found
        return None

    @property
    def reads_first(self) -> bool:
        """Whether it has to know which output is the first one."""
        return self.output is None

    @property
    def label(self) -> str:
        """What it is called in reports and gates: ``miou``, ``miou@aux``."""
        return self.name if self.output is None else f"{self.name}@{self.output}"

    @property
    def spec(self) -> str:
        """Its label and its options, the same on every host: ``miou:classes=5,ignore=255``."""
        given = {key: getattr(self, key) for key in self.OPTIONS}
        shown = [f"{key}={_portable(value)}" for key, value in given.items() if value is not None]
        return f"{self.label}:{','.join(shown)}" if shown else self.label

    @property
    def files_sha256(self) -> tuple[str, ...]:
        """Of each file that an option names: what stands in it decides what is measured."""
        return hashes([getattr(self, key) for key in self.OPTIONS])

    def chosen(self, outputs: Arrays) -> tuple[str, Array]:
        """The output that it reads, in words and as an array.

        Args:
            outputs: By name, in the order of the exported model.

        Raises:
            DataError: There is none of this name, or it holds texts.
        """
        name = next(iter(outputs)) if self.output is None else self.output
        return f"the output '{name}'", self.named(outputs, name)

    def named(self, outputs: Arrays, name: str) -> Array:
        """An output by its name.

        Raises:
            DataError: There is none of this name, or it holds texts.
        """
        if name not in outputs:
            raise DataError(
                f"The metric {self.label} reads an output '{name}', and the model has "
                f"{', '.join(map(repr, outputs))}.",
                "Name one of them.",
            )
        if are_texts(outputs[name]):
            raise DataError(
                f"The metric {self.label} reads numbers, but the output '{name}' holds texts.",
                f"Name another output, as in {self.name}@OUTPUT, or give a metric of yours.",
            )
        return outputs[name]

    def unfit_labels(self, labels: Labels, wanted: str) -> DataError:
        """The error that the labels are none that it reads.

        Args:
            labels: Of a batch.
            wanted: What it reads, as an object: "class numbers".
        """
        return DataError(
            f"The metric {self.label} reads {wanted}, but the labels are "
            f"{labels_in_words(labels)}.",
            "Give data with such labels, or another --metric.",
        )


class SumMetric(Metric):
    """A metric whose value is a function of sums over the samples."""

    @abstractmethod
    def statistics(self, outputs: Arrays, labels: Labels) -> Array:
        """What is summed, of each sample: ``(N, k)``."""

    @abstractmethod
    def value(self, sums: Array) -> Array:
        """Values of sums: ``(R, k)`` to ``(R,)``, NaN where there is none."""

    def per_sample(self, outputs: Arrays, labels: Labels) -> PerSample:
        """A row for each sample."""
        # A copy: outputs may lie in memory that the next batch is written to.
        rows = np.array(self.statistics(outputs, labels), np.float64)
        if rows.ndim != 2 or len(rows) != len(labels):
            raise DataError(
                f"The statistics of {self.label} have the shape {rows.shape} for {len(labels)} "
                "samples.",
                "Return (N, k), a row for each sample.",
            )
        return PerSample(rows, np.ones(len(rows), np.int64))

    def values(self, found: PerSample, weights: Array) -> Array:
        """The values of weighted sums."""
        # What is infinite or NaN in one sample is so in the sum, drawn or not.
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(self.value(weights @ found.rows), np.float64)


def ratios(numerators: Array, denominators: Array) -> Array:
    """Element by element; NaN where the denominator is 0.

    Args:
        numerators: Of any shape.
        denominators: Of the same shape.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.asarray(numerators, np.float64) / denominators
    return np.where(np.asarray(denominators) == 0, np.nan, found)


def hashes(values: Sequence[object]) -> tuple[str, ...]:
    """SHA-256 of the files among the values of options: paths, and pointers into a file.

    Args:
        values: Of any type; what names no file, as a name of an output, is passed over.
    """
    files = [each for each in values if isinstance(each, Path)]
    pointers = [each for each in values if isinstance(each, str) and is_pointer(each)]
    files += [Path(each.rpartition(":")[0]) for each in pointers]
    return tuple(sha256_of(each) for each in files if is_file(each))


def _portable(value: object) -> str:
    """An option's value without the folder of a file, which is another one on another host."""
    text = "x".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)
    source, colon, name = text.rpartition(":")
    if isinstance(value, str) and is_pointer(text):
        return f"{PurePath(source).name}{colon}{name}"
    return PurePath(text).name if isinstance(value, PurePath) else text
