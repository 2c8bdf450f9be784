"""Which batches a model takes: a range, or those of the profiles of an engine."""

from __future__ import annotations

from collections.abc import Sequence

from trtqat.plan.profiles import batches_in_words, joined
from trtqat.plan.sizes import sizes_in_words
from trtqat.runtime.protocol import Model


def next_batch(model: Model, size: int) -> int | None:
    """The smallest batch from a size on that a model takes; None if all are smaller.

    Args:
        model: The model.
        size: What is at hand.
    """
    held = [max(size, low) for low, high in batch_spans(model) if high is None or size <= high]
    return min(held, default=None)


def largest_batch(models: Sequence[Model], wanted: int) -> int:
    """The largest batch up to a size that all models take; the next larger one if none is.

    Args:
        models: At least one.
        wanted: The size.
    """
    taken = [
        size
        for size in range(wanted, 0, -1)
        if all(next_batch(model, size) == size for model in models)
    ]
    if taken:
        return taken[0]
    lowest = max(model.batch_range[0] for model in models)
    return max(lowest, wanted)


def batches_of_model(model: Model) -> str:
    """Which batches a model takes, in words: ``"1 to any"``, or ``"1, 8 and 32"``."""
    if model.engine is not None and len(model.engine.profiles.ranges) > 1:
        profiles = model.engine.profiles
        at = f" at {sizes_in_words(profiles.tuned_sizes)}" if profiles.has_sizes else ""
        return f"{batches_in_words(profiles.held)}{at}"
    low, high = model.batch_range
    return f"{low}" if low == high else f"{low} to {high or 'any'}"


def batch_spans(model: Model) -> tuple[tuple[int, int | None], ...]:
    """First and last of the batches that a model takes, of each span without a gap.

    Args:
        model: The model.
    """
    if model.engine is not None and len(model.engine.profiles.ranges) > 1:
        return joined(model.engine.profiles.held)
    return (model.batch_range,)
