"""Which detections of an image are right, at each threshold of overlap: COCO's rules.

1. Classes are looked at one by one, detections from the surest on, and at most 100 of a class.
2. A detection is right if a box of the labels, that no surer one has taken, overlaps it enough. It
   takes the one that overlaps most; of equal ones the last.
3. A crowd is taken only where no other box is, and by as many as fall into it; such detections
   count neither as right nor as wrong.
4. Of small, medium or large boxes alone: one of another area is taken only where none of that area
   is, and by one detection, which does not count then; nor does a detection of another area that
   takes nothing.

A test compares the outcome with pycocotools.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trtqat.data.labels import AREA, BOXES, CLASSES, CROWD
from trtqat.evaluation.metrics.detections import Detections, intersection_over_union
from trtqat.tensors import Array

# COCO's. An overlap of exactly 1 reaches a threshold of 1.
_MOST_DETECTIONS = 100
_HIGHEST = 1 - 1e-10

# COCO's, in pixels; both ends belong to a range.
AREAS: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}


@dataclass(frozen=True)
class Columns:
    """Where a row says what is needed for one average precision.

    A row is of a detection, or of the boxes of a class in the labels.

    Attributes:
        count: How many boxes, in a row of such.
        right: At which thresholds a detection is right, a bit each.
        ignored: At which of them it does not count.
    """

    count: int
    right: int
    ignored: int


IS_DETECTION, CLASS, SCORE = range(3)
# In a row of boxes their number stands where others have the score.
OF_ALL = Columns(SCORE, 3, 4)
COLUMNS_OF_ALL = 5
OF_AREAS: Mapping[str, Columns] = {
    name: Columns(first, first, first + 1)
    for name, first in zip(AREAS, itertools.count(COLUMNS_OF_ALL, 2), strict=False)
}
COLUMNS = COLUMNS_OF_ALL + 2 * len(AREAS)
_RANGES = (OF_ALL, *OF_AREAS.values())


def match(found: Detections, label: Mapping[str, Array], thresholds: Sequence[float]) -> Array:
    """The rows of one image: ``(M, COLUMNS)``.

    Args:
        found: Its detections.
        label: Its boxes, classes, and perhaps which of them are crowds, and their areas; where
            they are not there, they are those of the boxes.
        thresholds: Intersection over union that is enough, at most 30 of them; each is a bit.
    """
    rows = []
    crowd = label.get(CROWD, np.zeros(len(label[CLASSES]), np.int64)) > 0
    own, other = (_outside(each) for each in (_areas(found.boxes), _areas_of(label)))
    for name in np.union1d(found.classes, label[CLASSES]):
        here = label[CLASSES] == name
        mine = np.flatnonzero(found.classes == name)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:_MOST_DETECTIONS]
        of_class = np.zeros((1 + len(mine), COLUMNS))
        of_class[:, CLASS] = name
        of_class[1:, IS_DETECTION], of_class[1:, SCORE] = 1, found.scores[mine]
        right, ignored = _taken(
            found.boxes[mine], label[BOXES][here], crowd[here], other[:, here], thresholds
        )
        # What takes nothing, and is of another area.
        free = (1 << len(thresholds)) - 1 & ~(right | ignored)
        ignored |= np.where(own[:, mine], free, 0)
        counts = (~crowd[here] & ~other[:, here]).sum(axis=1)
        for place, columns in enumerate(_RANGES):
            of_class[0, columns.count] = counts[place]
            of_class[1:, columns.right] = right[place]
            of_class[1:, columns.ignored] = ignored[place]
        rows.append(of_class)
    return np.concatenate(rows) if rows else np.zeros((0, COLUMNS))


def _areas(boxes: Array) -> Array:
    areas: Array = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas


def _areas_of(label: Mapping[str, Array]) -> Array:
    return label[AREA] if AREA in label else _areas(label[BOXES])


def _outside(areas: Array) -> Array:
    """Whether each is of another area: ``(R, K)``; of all boxes none is."""
    ranges = [(-np.inf, np.inf), *AREAS.values()]
    return np.array([(areas < low) | (areas > high) for low, high in ranges])


def _taken(
    boxes: Array, wanted: Array, crowd: Array, outside: Array, thresholds: Sequence[float]
) -> tuple[Array, Array]:
    """Bits of the thresholds at which each box takes one that counts, and another: ``(R, D)`` each.

    Args:
        boxes: The surest first, ``(D, 4)``.
        wanted: Those of the labels, ``(G, 4)``.
        crowd: Which of these are crowds.
        outside: Which of these are of another area than asked for, ``(R, G)``.
        thresholds: Of overlap.
    """
    ranges, steps = len(outside), len(thresholds)
    right, ignored = (np.zeros((ranges, len(boxes)), np.int64) for _ in range(2))
    overlaps = intersection_over_union(boxes, wanted, crowd)
    least = np.minimum(thresholds, _HIGHEST)
    bits = 1 << np.arange(steps)
    # A row for each range and threshold, which have nothing to do with each other.
    at_least = np.tile(least, ranges)[:, None]
    counts = np.repeat(~(crowd | outside), steps, axis=0)
    is_free = np.ones_like(counts)
    # A box that overlaps nothing takes nothing.
    for index in np.flatnonzero((overlaps >= least.min()).any(axis=1)):
        can = (overlaps[index] >= at_least) & is_free
        first = can & counts
        is_right = first.any(axis=1)
        chosen = np.where(is_right[:, None], first, can)
        # The last of equal ones.
        best = len(wanted) - 1 - np.where(chosen, overlaps[index], -1.0)[:, ::-1].argmax(axis=1)
        takes = chosen.any(axis=1)
        is_free[takes, best[takes]] = crowd[best[takes]]
        right[:, index] = is_right.reshape(ranges, steps) @ bits
        ignored[:, index] = (takes & ~is_right).reshape(ranges, steps) @ bits
    return right, ignored
