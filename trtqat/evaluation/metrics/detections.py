"""A detector's outputs as the detections of each image.

Detectors have no form in common. Read are four outputs as TensorRT's EfficientNMS names them, three
as most exports do, and one of six columns; ``map:decode=`` takes anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from trtqat.errors import DataError
from trtqat.tensors import Array, Arrays, are_texts

Form: TypeAlias = Literal["xyxy", "xywh", "cxcywh"]

_BOXES = ("boxes", "detection_boxes", "pred_boxes", "bboxes")
_SCORES = ("scores", "detection_scores", "pred_logits", "logits")
_CLASSES = ("classes", "labels", "detection_classes")
_COUNTS = ("num_detections", "num_dets", "counts")
_REMEDY = "Name them, as in map:boxes=NAME,scores=NAME, or give map:decode=file.py:function."


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image.

    Attributes:
        boxes: float64 ``(K, 4)``: x1, y1, x2, y2 in pixels of the model's input.
        scores: float64 ``(K,)``: larger is surer.
        classes: int64 ``(K,)``.
    """

    boxes: Array
    scores: Array
    classes: Array

    def at(self, index: Array) -> Detections:
        """Some of them.

        Args:
            index: What NumPy takes along the first axis.
        """
        return Detections(self.boxes[index], self.scores[index], self.classes[index])


@dataclass(frozen=True)
class OutputNames:
    """Which outputs hold what; None goes by what they are usually called.

    Attributes:
        boxes: ``(N, K, 4)``, or with scores and classes behind them ``(N, K, 6)``.
        scores: ``(N, K)`` with ``classes``, or ``(N, K, classes)``.
        classes: ``(N, K)``.
        counts: How many of the K are detections: ``(N,)`` or ``(N, 1)``; the first ones are.
    """

    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    counts: str | None = None


def read_detections(outputs: Arrays, names: OutputNames) -> list[Detections]:
    """The detections of each image, as they stand in the outputs; what is NaN is none.

    Args:
        outputs: By name.
        names: Which of them hold what.

    Raises:
        DataError: They hold something else.
    """
    boxes, scores, classes, counts = _found(outputs, names)
    if scores is None:
        boxes, scores, classes = boxes[..., :4], boxes[..., 4], boxes[..., 5]
    elif scores.ndim == 3:
        classes = scores.argmax(axis=2)
        scores = scores.max(axis=2)
    assert classes is not None
    places = np.arange(boxes.shape[1])
    ends = np.full(len(boxes), len(places)) if counts is None else counts
    found = []
    for box, score, label, end in zip(boxes, scores, classes, ends, strict=True):
        is_one = (places < end) & np.isfinite(score) & np.isfinite(box).all(axis=1)
        is_one &= np.isfinite(label)
        found.append(
            Detections(
                box[is_one].astype(np.float64),
                score[is_one].astype(np.float64),
                label[is_one].astype(np.int64),
            )
        )
    return found


def as_corners(found: Detections, form: Form, scale: tuple[float, float]) -> Detections:
    """Boxes as x1, y1, x2, y2 in pixels.

    Args:
        found: As the model writes them.
        form: ``xyxy``; with width and height behind a corner ``xywh``, or behind the centre
            ``cxcywh``.
        scale: What x and y are multiplied by.
    """
    first, second = found.boxes[:, :2], found.boxes[:, 2:]
    if form == "xywh":
        second = first + second
    elif form == "cxcywh":
        first, second = first - second / 2, first + second / 2
    boxes = np.concatenate([first, second], axis=1) * (*scale, *scale)
    return Detections(boxes, found.scores, found.classes)


def suppress(found: Detections, most_overlap: float) -> Detections:
    """Non-maximum suppression: of two boxes of a class that overlap, the surer one stays.

    Args:
        found: Detections of an image.
        most_overlap: Intersection over union that two of them may have.
    """
    kept: list[int] = []
    for label in np.unique(found.classes):
        of_class = np.flatnonzero(found.classes == label)
        left = of_class[np.argsort(-found.scores[of_class], kind="stable")]
        while left.size:
            kept.append(int(left[0]))
            overlaps = intersection_over_union(found.boxes[left[:1]], found.boxes[left[1:]])[0]
            left = left[1:][overlaps <= most_overlap]
    return found.at(np.array(sorted(kept), np.int64))


def intersection_over_union(one: Array, other: Array, is_crowd: Array | None = None) -> Array:
    """Of every box with every other: ``(D, G)``.

    Args:
        one: ``(D, 4)`` as x1, y1, x2, y2.
        other: ``(G, 4)``.
        is_crowd: Which of the latter are crowds, ``(G,)``: with these it is the share of the first
            box that lies inside, as COCO has it.
    """
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    own, others = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (one, other))
    union = own[:, None] + others[None] - shared
    if is_crowd is not None:
        union = np.where(is_crowd, own[:, None], union)
    # Boxes without an area share nothing.
    return np.where(shared > 0, shared, 0.0) / np.where(shared > 0, union, 1.0)


def _found(
    outputs: Arrays, names: OutputNames
) -> tuple[Array, Array | None, Array | None, Array | None]:
    """Boxes, scores, classes and counts; all but the boxes may be None."""
    boxes = _one(outputs, names.boxes, _BOXES)
    scores = _one(outputs, names.scores, _SCORES)
    if scores is None:
        boxes = next(iter(outputs.values())) if boxes is None and len(outputs) == 1 else boxes
        if boxes is None or boxes.ndim != 3 or boxes.shape[2] != 6:
            raise _unknown(outputs, "boxes and scores")
        return boxes, None, None, _per_image(outputs, names.counts, len(boxes))
    if boxes is None or boxes.ndim != 3 or boxes.shape[2] != 4:
        raise _unknown(outputs, "boxes (N, K, 4)")
    classes = _one(outputs, names.classes, _CLASSES)
    if scores.ndim == 3 and scores.shape[2] == 1 and classes is not None:
        scores = scores[..., 0]
    if scores.shape[:2] != boxes.shape[:2] or scores.ndim not in (2, 3):
        raise _unknown(outputs, f"scores for boxes of {boxes.shape}")
    if scores.ndim == 2 and (classes is None or classes.size != scores.size):
        raise _unknown(outputs, f"a class for each of the scores {scores.shape}")
    classes = None if classes is None or scores.ndim == 3 else classes.reshape(scores.shape)
    return boxes, scores, classes, _per_image(outputs, names.counts, len(boxes))


def _per_image(outputs: Arrays, name: str | None, images: int) -> Array | None:
    """How many boxes of each image are detections: ``(N,)``; None if all are."""
    counts = _one(outputs, name, _COUNTS)
    if counts is None:
        return None
    if counts.size != images:
        raise _unknown(outputs, "count of detections for each image")
    return counts.reshape(images)


def _one(outputs: Arrays, name: str | None, usual: Sequence[str]) -> Array | None:
    if name is None:
        name = next((each for each in usual if each in outputs), None)
        if name is None:
            return None
    if name not in outputs:
        raise _unknown(outputs, f"output '{name}'")
    if are_texts(outputs[name]):
        raise _unknown(outputs, f"numbers in '{name}'")
    return outputs[name]


def _unknown(outputs: Arrays, wanted: str) -> DataError:
    shown = ", ".join(f"'{name}' {array.shape}" for name, array in outputs.items())
    return DataError(f"The metric map finds no {wanted} among the outputs {shown}.", _REMEDY)
