"""Random detections and labels, and COCO's mean average precision by its definition."""

from __future__ import annotations

from typing import Any

import numpy as np

from trtqat.evaluation.metrics.detections import Detections
from trtqat.tensors import Array

OVERLAPS = np.linspace(0.5, 0.95, 10)


def make_case(
    seed: int,
    images: int = 6,
    *,
    classes: int = 3,
    with_crowds: bool = False,
    ties: bool = True,
    scale: int = 1,
    with_areas: bool = False,
) -> tuple[list[Detections], tuple[dict[str, Array], ...]]:
    """Detections near boxes and far from them; boxes repeat, and scores unless ``ties`` is False.

    All numbers of boxes are multiples of 1/4: no arithmetic rounds them. All are small; with a
    ``scale`` of 4 some are medium and large, and some are just between. With areas objects fill
    their box by a quarter, by half, or wholly.
    """
    random = np.random.default_rng(seed)
    found, labels = [], []
    for _ in range(images):
        count = int(random.integers(0, 5))
        corner = random.integers(0, 60, (count, 2))
        size = random.integers(1, 30, (count, 2))
        boxes = np.concatenate([corner, corner + size], axis=1).astype(float)
        names = random.integers(0, classes, count)
        near = random.integers(0, max(count, 1), random.integers(0, 9) if count else 0)
        moved = boxes[near] + random.integers(-8, 9, (len(near), 4)) / 4
        far = np.array([[0.0, 0, 9, 9]])[: int(random.integers(0, 2))]
        all_boxes = np.concatenate([moved, far])
        # No box is turned around or empty.
        all_boxes[:, 2:] = np.maximum(all_boxes[:, 2:], all_boxes[:, :2] + 0.25)
        same = random.random(len(all_boxes)) < 0.8
        own = np.concatenate([names[near], np.zeros(len(far), int)])
        others = random.integers(0, classes, len(all_boxes))
        scores = random.integers(1, 9, len(all_boxes)) / 8
        if not ties:
            scores = random.random(len(all_boxes))
        found.append(Detections(all_boxes * scale, scores, np.where(same, own, others)))
        label: dict[str, Array] = {"boxes": boxes * scale, "classes": names}
        if with_crowds:
            label["crowd"] = (random.random(count) < 0.3).astype(np.int64)
        if with_areas:
            filled = random.choice([0.25, 0.5, 1.0], count)
            label["area"] = filled * size.prod(axis=1) * scale**2
        labels.append(label)
    return found, tuple(labels)


def as_outputs(found: list[Detections]) -> dict[str, Any]:
    """As outputs of a fixed size, the way EfficientNMS fills them."""
    most = max(1, *(len(each.scores) for each in found))
    outputs = {
        "num_detections": np.array([[len(each.scores)] for each in found], np.int32),
        "detection_boxes": np.full((len(found), most, 4), 7.0),
        "detection_scores": np.full((len(found), most), 0.9),
        "detection_classes": np.zeros((len(found), most), np.int32),
    }
    for index, each in enumerate(found):
        end = len(each.scores)
        outputs["detection_boxes"][index, :end] = each.boxes
        outputs["detection_scores"][index, :end] = each.scores
        outputs["detection_classes"][index, :end] = each.classes
    return outputs


def naive_map(
    found: list[Detections], labels: tuple[dict[str, Array], ...], overlaps: Any = OVERLAPS
) -> float:
    """By the definition, one box at a time; no crowds."""
    precisions = []
    for name in sorted({int(each) for label in labels for each in label["classes"]}):
        wanted = sum(int((label["classes"] == name).sum()) for label in labels)
        for overlap in overlaps:
            answers: list[tuple[float, bool]] = []
            for each, label in zip(found, labels, strict=True):
                boxes = label["boxes"][label["classes"] == name].tolist()
                mine = [at for at in range(len(each.scores)) if each.classes[at] == name]
                for at in sorted(mine, key=lambda at: -each.scores[at]):
                    fitting = [box for box in boxes if iou(each.boxes[at], box) >= overlap]
                    if fitting:
                        best = max(iou(each.boxes[at], box) for box in fitting)
                        boxes.remove([b for b in fitting if iou(each.boxes[at], b) == best][-1])
                    answers.append((float(each.scores[at]), bool(fitting)))
            answers.sort(key=lambda answer: -answer[0])
            right, points = 0, []
            for number, (_, is_right) in enumerate(answers, start=1):
                right += is_right
                points.append((right / wanted, right / number))
            for recall in np.linspace(0, 1, 101):
                precisions.append(max((p for r, p in points if r >= recall), default=0.0))
    return 100 * float(np.mean(precisions)) if precisions else float("nan")


def iou(one: Any, other: Any) -> float:
    """Of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(width * height / (sum(areas) - width * height))
