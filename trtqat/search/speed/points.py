"""Where engines are measured: at a batch size, or where sizes are open at a batch of a size."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.plan.profile_text import parse_profile, profile_text
from trtqat.plan.sizes import Profile, holds_sizes, optimal_sizes, sizes_in_words
from trtqat.tensors import DYNAMIC, TensorSpec

# A batch size; or all shapes that a graph leaves open, as ``--shapes`` takes them.
Point: TypeAlias = int | str


def read_point(text: str) -> Point:
    """A point from its text, as it stands in a log."""
    return int(text) if text.isdecimal() else text


def batch_of(point: Point) -> int:
    """Its batch size."""
    if isinstance(point, int):
        return point
    return next(iter(parse_profile(point).values())).opt[0]


def sizes_of(point: Point) -> dict[str, tuple[int, ...]]:
    """Shape of one sample by input; empty of a batch size, which says nothing of it."""
    if isinstance(point, int):
        return {}
    profile = parse_profile(point)
    return optimal_sizes(profile, tuple(profile))


def point_at_optimum(profile: Profile, names: Sequence[str]) -> str:
    """The shapes that a profile is tuned for.

    Args:
        profile: Shapes by input name.
        names: Of the inputs with open dimensions.
    """
    shapes = {
        name: replace(profile[name], min=profile[name].opt, max=profile[name].opt) for name in names
    }
    return profile_text(shapes, names)


def ascending(points: Iterable[Point]) -> tuple[Point, ...]:
    """Points without repetition, by their number of elements."""
    return tuple(sorted(dict.fromkeys(points), key=_order))


def largest(points: Iterable[Point]) -> Point:
    """The point of the most elements, by which most of the work is done."""
    return max(points, key=_order)


def at_point(inputs: Iterable[TensorSpec], point: Point) -> list[TensorSpec]:
    """Inputs whose sizes are those of a point, and whose batch is left open.

    Args:
        inputs: Of the graph or engine.
        point: Where it is measured.
    """
    sizes = sizes_of(point)
    return [
        replace(spec, shape=(*spec.shape[:1], *sizes.get(spec.name, spec.shape[1:])))
        for spec in inputs
    ]


def points_for(
    dataset: Dataset, inputs: Sequence[TensorSpec], points: Sequence[Point]
) -> list[Point]:
    """The points of the size that data has; all where no size is open.

    Args:
        dataset: The data.
        inputs: Of the graph, dynamic dimensions as -1.
        points: What is measured.

    Raises:
        DataError: None of them has that size.
    """
    opened = [spec.name for spec in inputs if DYNAMIC in spec.shape[1:]]
    if not opened:
        return list(points)
    first = dataset.batch(0, 1).inputs
    size = {name: first[name].shape[1:] for name in opened}
    found = [each for each in points if holds_sizes(parse_profile(str(each)), size)]
    if not found:
        raise DataError(
            f"'{dataset.name}' is of size {sizes_in_words(size)}, and engines are measured at "
            f"{', '.join(map(str, points))}.",
            "Give data of one of these sizes, or a --shapes whose optimum is that of the data.",
        )
    return found


def _order(point: Point) -> tuple[int, str]:
    """One order of all: points of as many elements are not taken for each other."""
    return _elements(point), str(point)


def _elements(point: Point) -> int:
    if isinstance(point, int):
        return point
    return sum(math.prod(each.opt) for each in parse_profile(point).values())
