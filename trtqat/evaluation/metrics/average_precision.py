"""Average precision of matched detections, for many weightings of the images at once.

As COCO has it: detections of a class are ordered by their scores over all images, precision at a
recall is the best one at that recall or a higher one, and it is averaged over 101 recalls.

An image with weight 2 counts as if it were there twice, one with 0 as if it were not. Detections of
one image with one score stand together then, not copy by copy.
"""

from __future__ import annotations

import numpy as np

from trtqat.evaluation.metrics.matching import CLASS, IS_DETECTION, OF_ALL, SCORE, Columns
from trtqat.evaluation.metrics.metric import PerSample, ratios
from trtqat.tensors import Array

# COCO's recalls: 0, 0.01, … 1.
_RECALLS = np.linspace(0.0, 1.0, 101)
# Numbers of a matrix of detections by resamples.
_MOST_AT_ONCE = 4_000_000


def average_precisions(
    found: PerSample, weights: Array, thresholds: int, columns: Columns = OF_ALL
) -> Array:
    """Mean over classes and thresholds, of each resample.

    Args:
        found: Rows of ``match``.
        weights: float64 ``(R, N)``: how often each image counts.
        thresholds: How many of them the rows have bits for.
        columns: Of all boxes, or of those of one range of areas.

    Returns:
        From 0 to 1 ``(R,)``; NaN where no image that counts has a box.
    """
    rows, images = found.rows, found.samples
    total, classes = np.zeros(len(weights)), np.zeros(len(weights))
    for name in np.unique(rows[:, CLASS]):
        of_class = rows[:, CLASS] == name
        detected = np.flatnonzero(of_class & (rows[:, IS_DETECTION] == 1))
        counted = np.flatnonzero(of_class & (rows[:, IS_DETECTION] == 0))
        wanted = weights[:, images[counted]] @ rows[counted, columns.count]
        # Stable, as in COCO: of equal scores the earlier image comes first.
        order = detected[np.argsort(-rows[detected, SCORE], kind="stable")]
        sums = np.zeros(len(weights))
        size = max(1, _MOST_AT_ONCE // max(1, len(order)))
        for start in range(0, len(weights), size):
            part = slice(start, start + size)
            of_images = weights[part][:, images[order]]
            taken = rows[order][:, [columns.right, columns.ignored]].astype(np.int64)
            sums[part] = _of_class(taken, of_images, wanted[part], thresholds)
        total += sums
        classes += wanted > 0
    return ratios(total, classes * thresholds)


def _of_class(detected: Array, weights: Array, wanted: Array, thresholds: int) -> Array:
    """The sum over thresholds of a class's average precision, by resample.

    Args:
        detected: Bits of its detections, the surest first: where they are right, and where they do
            not count, int64 ``(D, 2)``.
        weights: Of their images: ``(R, D)``.
        wanted: How many boxes the labels have: ``(R,)``.
        thresholds: How many.
    """
    right, ignored = detected.T
    answers = np.cumsum(weights, axis=1)
    sums = np.zeros(len(weights))
    for bit in range(thresholds):
        # Precision only falls between two right detections, so the others need not be looked at.
        places = np.flatnonzero(right >> bit & 1)
        if not places.size:
            continue
        if (ignored >> bit & 1).any():
            counting = np.cumsum(weights * (1 - (ignored >> bit & 1)), axis=1)[:, places]
        else:
            counting = answers[:, places]
        hits = np.cumsum(weights[:, places], axis=1)
        precision = hits / np.maximum(counting, 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        for index in np.flatnonzero(wanted > 0):
            at = np.searchsorted(hits[index] / wanted[index], _RECALLS, side="left")
            sums[index] += best[index, at[at < places.size]].sum() / len(_RECALLS)
    return sums
