"""Which batches the shape profiles of a plan hold, and which of them takes a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trtqat.plan.manifest import ProfileShapes
from trtqat.tensors import TensorSpec


@dataclass(frozen=True)
class BatchRange:
    """The batches of one profile, and the one that it is tuned for; as text MIN:OPT:MAX."""

    min: int
    opt: int
    max: int

    def __str__(self) -> str:
        return f"{self.min}:{self.opt}:{self.max}"

    @property
    def is_static(self) -> bool:
        """Whether it holds one batch alone."""
        return self.min == self.max

    @property
    def as_option(self) -> str:
        """As ``--batch`` takes it: ``"8"``, or ``"1:32:128"``."""
        return str(self.opt) if self.is_static else str(self)


def batches_of(
    profile: Mapping[str, ProfileShapes], inputs: Sequence[TensorSpec] = ()
) -> BatchRange:
    """The batches that a profile takes: those of all inputs whose batch is open.

    An input with a fixed first dimension, as a table of anchors, has no say beside one of these.
    Where all are fixed, the smallest is as good as any.

    Args:
        profile: Shapes by input name.
        inputs: Of the plan, dynamic dimensions as -1; where none are said, all have a say.
    """
    # An open one is -1, and so smaller than any fixed one.
    first = min((spec.shape[:1] for spec in inputs if spec.shape), default=())
    batched = [profile[spec.name] for spec in inputs if spec.shape[:1] == first]
    shapes = [each for each in batched or profile.values() if each.min]
    low = max((each.min[0] for each in shapes), default=1)
    high = min((each.max[0] for each in shapes), default=1)
    opt = min(max(shapes[0].opt[0], low), high) if shapes else low
    return BatchRange(low, opt, high)


def choose_profile(ranges: Sequence[BatchRange], batch_size: int) -> int | None:
    """The index of the narrowest profile that holds a batch; None if none does.

    Of equally narrow ones it is the one whose optimum is nearest, and of those the first.

    Args:
        ranges: Of the profiles.
        batch_size: What it must hold.
    """
    holding = [index for index, each in enumerate(ranges) if each.min <= batch_size <= each.max]
    return min(
        holding,
        key=lambda index: (
            ranges[index].max - ranges[index].min,
            abs(ranges[index].opt - batch_size),
        ),
        default=None,
    )


def main_profile(ranges: Sequence[BatchRange]) -> int:
    """The index of the profile whose optimum is what a plan is tuned for: the largest.

    Args:
        ranges: Of the profiles, at least one.
    """
    return max(range(len(ranges)), key=lambda index: ranges[index].opt)


def joined(ranges: Iterable[BatchRange]) -> tuple[tuple[int, int], ...]:
    """The batches that several profiles hold together, as spans ``(first, last)`` without overlap.

    Args:
        ranges: Of the profiles.
    """
    spans: list[tuple[int, int]] = []
    for each in sorted(ranges, key=lambda each: each.min):
        if spans and each.min <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(spans[-1][1], each.max)
        else:
            spans.append((each.min, each.max))
    return tuple(spans)


def batches_in_words(ranges: Iterable[BatchRange]) -> str:
    """The batches that several profiles hold together, as ``"1, 8 and 16 to 32"``.

    Args:
        ranges: Of the profiles.
    """
    spans = [
        str(first) if first == last else f"{first} to {last}" for first, last in joined(ranges)
    ]
    *others, final = spans
    return f"{', '.join(others)} and {final}" if others else final
