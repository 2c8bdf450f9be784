"""Labels in an .npz file: an array ``labels``, or boxes as four arrays, without pickles.

The boxes of all samples stand one behind the other, and ``labels_counts`` says how many of them
are each sample's: of counts 2, 0, 1 the first two are sample 0's and the third is sample 2's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trtqat.data.labels import AREA, BOXES, CLASSES, CROWD, Labels, as_labels, check_labels
from trtqat.errors import DataError
from trtqat.tensors import Array

LABELS = "labels"
_COUNTS = "labels_counts"
_PARTS = {
    BOXES: "labels_boxes",
    CLASSES: "labels_classes",
    CROWD: "labels_crowd",
    AREA: "labels_area",
}

# Every name that an array of labels may have.
NAMES = (LABELS, _COUNTS, *_PARTS.values())


def read_labels(path: Path, arrays: Mapping[str, Array], count: int) -> Labels | None:
    """The labels of a file, checked.

    Args:
        path: The file, for messages.
        arrays: Those that were read, by name: ``labels`` of shape ``(N, …)``, or
            ``labels_boxes`` ``(M, 4)``, ``labels_classes`` ``(M,)``, ``labels_counts`` ``(N,)`` and
            perhaps ``labels_crowd`` and ``labels_area`` ``(M,)``.
        count: Number of samples.

    Returns:
        As ``check_labels`` has them; None if the file has no labels.

    Raises:
        DataError: They are of another number, or do not fit each other.
    """
    found = [name for name in NAMES if name in arrays]
    if not found:
        return None
    source = f"The labels of '{path}'"
    if LABELS not in found:
        return check_labels(source, _boxes(path, arrays, count), count)
    if len(found) > 1:
        raise DataError(
            f"'{path}' holds both '{LABELS}' and '{found[1]}'.",
            "Save one kind of labels: 'labels', or 'labels_boxes' with 'labels_classes' and "
            "'labels_counts'.",
        )
    labels = arrays[LABELS]
    return check_labels(source, as_labels(labels) if labels.dtype.kind == "U" else labels, count)


def _boxes(path: Path, arrays: Mapping[str, Array], count: int) -> tuple[dict[str, Array], ...]:
    for name in (_PARTS[BOXES], _PARTS[CLASSES], _COUNTS):
        if name not in arrays:
            raise DataError(
                f"'{path}' holds labels of boxes, but no '{name}'.",
                "Save 'labels_boxes' (M, 4), 'labels_classes' (M,) and 'labels_counts' (N,).",
            )
    counts = arrays[_COUNTS]
    if counts.shape != (count,) or counts.dtype.kind not in "iu" or (counts < 0).any():
        raise DataError(
            f"'{_COUNTS}' of '{path}' is {counts.dtype} of shape {counts.shape} for {count} "
            "samples.",
            "Save how many boxes each sample has.",
        )
    parts = {key: arrays[name] for key, name in _PARTS.items() if name in arrays}
    total = sum(counts.tolist())
    for key, array in parts.items():
        if array.ndim == 0 or len(array) != total:
            raise DataError(
                f"'{_PARTS[key]}' of '{path}' has the shape {array.shape}, but '{_COUNTS}' counts "
                f"{total} boxes.",
                "Save a row for each box, those of a sample one behind the other.",
            )
    # Up to the next sample's first box; there is nothing behind the last one's.
    ends = np.cumsum(counts.astype(np.int64))[:-1]
    split = {key: np.split(array, ends) for key, array in parts.items()}
    return tuple({key: split[key][index] for key in split} for index in range(count))
