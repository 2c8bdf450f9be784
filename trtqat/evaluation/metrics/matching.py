"""Which detections of an image are right, at each threshold of overlap: COCO's rules.

1. Classes are looked at one by one, detections from the surest on, and at most 100 of a class.
2. A detection is right if a box of the labels, that no surer one has taken, overlaps it enough. It
   takes the one that overlaps most; of equal ones the last.
3. A crowd is taken only where no other box is, and by as many as fall into it; such detections
   count neither as right nor as wrong.

A test compares the outcome with pycocotools.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from trtqat.data.labels import BOXES, CLASSES, CROWD
from trtqat.evaluation.metrics.detections import Detections, intersection_over_union
from trtqat.tensors import Array

# COCO's. An overlap of exactly 1 reaches a threshold of 1.
_MOST_DETECTIONS = 100
_HIGHEST = 1 - 1e-10

# Columns of a row: whether it is a detection or the boxes of a class in the labels, the class, the
# score or how many boxes, and at which thresholds it is right, and at which it does not count.
IS_DETECTION, CLASS, SCORE, RIGHT, IGNORED = range(5)
COLUMNS = 5


def match(found: Detections, label: Mapping[str, Array], thresholds: Sequence[float]) -> Array:
    """The rows of one image: ``(M, 5)``.

    Args:
        found: Its detections.
        label: Its boxes, classes, and perhaps which of them are crowds.
        thresholds: Intersection over union that is enough, at most 30 of them; each is a bit.
    """
    rows = []
    crowd = label.get(CROWD, np.zeros(len(label[CLASSES]), np.int64)) > 0
    for name in np.union1d(found.classes, label[CLASSES]):
        here = label[CLASSES] == name
        rows.append([0, name, (here & ~crowd).sum(), 0, 0])
        mine = np.flatnonzero(found.classes == name)
        mine = mine[np.argsort(-found.scores[mine], kind="stable")][:_MOST_DETECTIONS]
        right, ignored = _taken(found.boxes[mine], label[BOXES][here], crowd[here], thresholds)
        rows += [
            [1, name, *each]
            for each in zip(found.scores[mine], right.tolist(), ignored.tolist(), strict=True)
        ]
    return np.array(rows, np.float64).reshape(-1, COLUMNS)


def _taken(
    boxes: Array, wanted: Array, crowd: Array, thresholds: Sequence[float]
) -> tuple[Array, Array]:
    """Bits of the thresholds at which each box takes one, and a crowd: ``(D,)`` each."""
    right, ignored = np.zeros(len(boxes), np.int64), np.zeros(len(boxes), np.int64)
    overlaps = intersection_over_union(boxes, wanted, crowd)
    least = np.minimum(thresholds, _HIGHEST)
    is_free = np.ones((len(least), len(wanted)), bool) & ~crowd
    bits = 1 << np.arange(len(least))
    # A box that overlaps nothing takes nothing.
    for index in np.flatnonzero((overlaps >= least.min()).any(axis=1)):
        is_enough = overlaps[index] >= least[:, None]
        can = is_enough & is_free
        # The last of equal ones.
        best = len(wanted) - 1 - np.where(can, overlaps[index], -1.0)[:, ::-1].argmax(axis=1)
        takes = can.any(axis=1)
        is_free[takes, best[takes]] = False
        right[index] = bits[takes].sum()
        ignored[index] = bits[~takes & (is_enough & crowd).any(axis=1)].sum()
    return right, ignored
