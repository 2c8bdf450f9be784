"""What may be a label, and the checks that every kind of data shares.

A class number is the usual one. A mask, an image or a vector is an array; boxes are a dict of
arrays, and text is a ``str``. What a label means is the metric's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trtqat.errors import DataError
from trtqat.tensors import Array

# An array ``(N, …)``, or an object for each of N samples.
Labels: TypeAlias = Array | tuple[Any, ...]

BOXES, CLASSES, CROWD, AREA = "boxes", "classes", "crowd", "area"
# As torchvision's targets call them.
_OF_TORCHVISION = {CLASSES: "labels", CROWD: "iscrowd"}


def as_labels(given: Any) -> Labels:  # noqa: ANN401 - it is the user's
    """Labels as arrays, dicts of arrays and texts, whatever a user's code makes them of.

    Args:
        given: An array ``(N, …)``, or a sequence of N labels: numbers, arrays, dicts or texts.

    Returns:
        An array where the labels are numbers, or arrays of one shape; else a tuple.
    """
    array = np.asarray(given) if hasattr(given, "__array__") else None
    if array is not None and array.dtype.kind not in "OU":
        return array
    items = list(given if array is None or array.ndim == 0 else array)
    if any(isinstance(item, (str, Mapping)) for item in items):
        return tuple(_as_object(item) for item in items)
    arrays = [np.asarray(item) for item in items]
    if len({each.shape for each in arrays}) != 1:
        return tuple(arrays)
    # Of single numbers all at once: two of them may have no type of their own in common.
    return np.asarray(items) if arrays[0].ndim == 0 else np.stack(arrays)


def _as_object(item: Any) -> Any:  # noqa: ANN401
    if isinstance(item, str):
        return str(item)
    if isinstance(item, Mapping):
        return {str(name): np.asarray(value) for name, value in item.items()}
    return item


def check_labels(source: str, labels: Labels, count: int, *, start: int = 0) -> Labels:
    """Checks labels, and converts class numbers to int64.

    Args:
        source: The labels in words, the subject of a message.
        labels: As ``as_labels`` makes them. Integers of shape ``(count,)`` are class numbers, none
            of them negative.
        count: Number of samples.
        start: Index of the first one.

    Returns:
        The same; where they are dicts with ``boxes``, these are float64 ``(K, 4)`` and ``classes``
        int64 ``(K,)``.

    Raises:
        DataError: They are of another number, or what no label can be.
    """
    if isinstance(labels, np.ndarray):
        _check_values(source, labels, start)
    if len(labels) != count:
        raise DataError(
            f"{source} are {len(labels)}, but there are {count} samples.",
            "Save one label for each sample.",
        )
    if isinstance(labels, np.ndarray):
        return labels.astype(np.int64) if _are_integers(labels) else labels
    return _check_objects(source, labels, start)


def class_numbers(source: str, labels: Labels) -> NDArray[np.int64]:
    """Labels as class numbers, where nothing else is of use.

    Args:
        source: The labels in words, the subject of a message.
        labels: As ``check_labels`` returned them.

    Raises:
        DataError: They are something else.
    """
    if isinstance(labels, np.ndarray) and _are_integers(labels):
        return labels
    raise DataError(
        f"{source} must be one integer per sample, but are {labels_in_words(labels)}.",
        "Save class indices of shape (N,), or name a metric that reads such labels (--metric).",
    )


def labels_in_words(labels: Labels) -> str:
    """What labels are, as the end of a sentence: ``uint8 of shape (N, 28, 28)``.

    Args:
        labels: At least one.
    """
    if isinstance(labels, np.ndarray):
        dims = ", ".join(["N", *map(str, labels.shape[1:])])
        return f"{labels.dtype} of shape ({dims}{',' if labels.ndim == 1 else ''})"
    first = labels[0]
    if isinstance(first, str):
        return "texts"
    if isinstance(first, Mapping):
        return f"dicts with {', '.join(map(repr, first)) or 'nothing'}"
    return "arrays of several shapes"


def label_bytes(labels: Labels) -> Iterator[bytes]:
    """What a hash of labels is made of; the same for the same samples in other batches.

    Args:
        labels: As ``check_labels`` returned them.
    """
    for label in (labels,) if isinstance(labels, np.ndarray) else labels:
        if isinstance(label, str):
            yield label.encode() + b"\0"
        elif isinstance(label, Mapping):
            for name in sorted(label):
                yield name.encode() + label[name].tobytes()
            yield b"\0"
        else:
            yield label.tobytes()


def _are_integers(labels: Array) -> bool:
    return labels.ndim == 1 and labels.dtype.kind in "iu"


def _check_values(source: str, labels: Array, start: int) -> None:
    """Refuses what no label can be, and class numbers that are none."""
    unfit = _first_unfit(labels) if labels.ndim == 1 else None
    if unfit is not None:
        what = "number" if labels.dtype.kind == "f" else "integer of 64 bits"
        raise DataError(
            f"{source} hold {labels[unfit]} at sample {start + unfit}, which is no {what}.",
            "Class indices start at 0 and are below the number of classes; leave out samples "
            "without a class.",
        )
    if labels.ndim == 0 or labels.dtype.kind not in "biuf":
        raise DataError(
            f"{source} are {labels.dtype} of shape {labels.shape}.",
            "Give an array with numbers for each sample, or a sequence of texts or of dicts of "
            "arrays.",
        )
    negative = np.flatnonzero(labels < 0) if _are_integers(labels) else labels[:0]
    if negative.size:
        raise DataError(
            f"{source} hold {labels[negative[0]]} at sample {start + negative[0]}.",
            "Class indices start at 0; leave out samples without a class, and save numbers that "
            "are no classes as floats.",
        )


def _first_unfit(labels: Array) -> int | None:
    """Index of the first label that is nothing, no number, or too large for int64."""
    most = np.iinfo(np.int64).max
    unfit = np.zeros(len(labels), bool)
    if labels.dtype.kind == "u":
        unfit = labels > most
    elif labels.dtype.kind == "f":
        unfit = ~np.isfinite(labels)
    elif labels.dtype.kind == "O":
        # What NumPy makes of None, and of integers that no type of its own holds.
        unfit = np.array(
            [each is None or (isinstance(each, int) and abs(each) > most) for each in labels], bool
        )
    found = np.flatnonzero(unfit)
    return int(found[0]) if found.size else None


def _check_objects(source: str, labels: Sequence[Any], start: int) -> tuple[Any, ...]:
    kinds = {str: "a text", dict: "a dict", np.ndarray: "an array"}
    first = next((kind for kind in kinds if labels and isinstance(labels[0], kind)), None)
    for index, label in enumerate(labels, start):
        if first is None or not isinstance(label, first):
            wanted = f"not {kinds[first]} as the first one" if first else "which no label can be"
            raise DataError(
                f"{source} hold a {type(label).__name__} at sample {index}, {wanted}.",
                "Give every sample a text, a dict of arrays, or an array.",
            )
        arrays: list[Any] = list(label.values()) if isinstance(label, dict) else [label]
        if first is not str and any(array.dtype.kind not in "biuf" for array in arrays):
            raise DataError(
                f"{source} hold something else than numbers at sample {index}.",
                "Give numbers, as arrays of NumPy.",
            )
    return tuple(
        _check_boxes(f"{source} at sample {index}", label)
        if isinstance(label, dict) and BOXES in label
        else label
        for index, label in enumerate(labels, start)
    )


def _check_boxes(source: str, label: Mapping[str, Array]) -> dict[str, Array]:
    """Boxes of one sample with the class of each.

    ``crowd`` marks those that nothing must find; ``area`` is that of each object.
    """
    boxes, count = label[BOXES], len(np.atleast_1d(label[BOXES]))
    if boxes.size == 0:
        boxes, count = boxes.reshape(0, 4), 0
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        raise DataError(
            f"{source} have boxes of shape {boxes.shape}, or with a number that is none.",
            "Give an array (K, 4) of x1, y1, x2, y2 in pixels of the model's input.",
        )
    turned = np.flatnonzero((boxes[:, :2] > boxes[:, 2:]).any(axis=1))
    if turned.size:
        raise DataError(
            f"{source} have the box {boxes[turned[0]].tolist()}, whose end lies before its begin.",
            "Write boxes as x1, y1, x2, y2, not with a width and a height.",
        )
    found = {**label, BOXES: boxes.astype(np.float64)}
    for name, other in _OF_TORCHVISION.items():
        if name not in found and other in found:
            found[name] = found.pop(other)
    for name in (CLASSES, CROWD):
        values = found.get(name)
        if values is None:
            continue
        if values.size and (values.dtype.kind not in "iub" or values.shape != (count,)):
            raise DataError(
                f"{source} have {name} of {values.dtype} and shape {values.shape} for {count} "
                "boxes.",
                "Give one integer for each box.",
            )
        if values.size != count:
            raise DataError(
                f"{source} have no {name} for {count} boxes.", "Give one integer for each box."
            )
        found[name] = values.reshape(count).astype(np.int64)
    areas = found.get(AREA)
    if areas is not None:
        if areas.shape != (count,) or not (np.isfinite(areas) & (areas >= 0)).all():
            raise DataError(
                f"{source} have areas of shape {areas.shape} for {count} boxes, or one that is "
                "none.",
                "Give the area of each object in pixels of the model's input, or none of them.",
            )
        found[AREA] = areas.astype(np.float64)
    return found
