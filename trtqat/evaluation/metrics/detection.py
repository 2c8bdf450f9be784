"""``map``, ``map50``, ``map75``: mean average precision of detected boxes, as COCO defines it.

It is no function of sums. What is kept of an image is which of its detections are right at which
overlap, which depends on no other image (``matching.py``); so of a resample only the precision at
each recall has to be found again. pycocotools, which counts no image twice, takes no resample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, get_args

import numpy as np

from trtqat.checks import check_choice
from trtqat.data.labels import BOXES, CLASSES, Labels
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.average_precision import average_precisions
from trtqat.evaluation.metrics.decoding import Decoder, as_numbers
from trtqat.evaluation.metrics.detections import (
    Detections,
    Form,
    OutputNames,
    as_corners,
    read_detections,
    suppress,
)
from trtqat.evaluation.metrics.matching import COLUMNS, COLUMNS_OF_ALL, OF_AREAS, match
from trtqat.evaluation.metrics.metric import Metric, PerSample
from trtqat.tensors import Array, Arrays

# COCO's: 0.5, 0.55, … 0.95, as pycocotools computes them.
_OVERLAPS = tuple(np.linspace(0.5, 0.95, 10).tolist())


def _scale(text: str) -> tuple[float, float]:
    """``640`` or ``640x480``."""
    x, by, y = text.partition("x")
    return float(x), float(y if by else x)


@dataclass(frozen=True, kw_only=True)
class MeanAveragePrecision(Metric):
    """Mean average precision over classes and overlaps, in percent.

    Reads detections (``detections.py`` says which outputs), and labels with ``boxes`` and
    ``classes``.

    Attributes:
        overlap: The only overlap that is asked for, in percent; None is the mean over COCO's ten.
        boxes: Name of an output, as ``OutputNames`` has it; so are the next three.
        scores: For the boxes.
        classes: Of the boxes.
        counts: How many of them there are.
        form: Of the boxes: ``xyxy``, ``xywh`` or ``cxcywh``.
        scale: What boxes are multiplied by to be pixels of the model's input, as x and y.
        nms: Intersection over union above which the surer of two boxes of a class stays alone;
            None suppresses nothing.
        decode: Pointer to a function that gets all outputs by name, and returns for each sample a
            dict with ``boxes`` ``(K, 4)``, ``scores`` ``(K,)`` and ``classes`` ``(K,)``.
    """

    OPTIONS: ClassVar[Mapping[str, Callable[[str], Any]]] = {
        "boxes": str,
        "scores": str,
        "classes": str,
        "counts": str,
        "form": str,
        "scale": _scale,
        "nms": float,
        "decode": str,
    }

    resamples: int = field(default=200, init=False)
    # The best precision at a recall or a higher one gains by chance.
    is_optimistic: bool = field(default=True, init=False)
    bounds: tuple[float, float] = field(default=(0.0, 100.0), init=False)
    overlap: int | None = None
    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    counts: str | None = None
    form: Form | None = None
    scale: tuple[float, float] | None = None
    nms: float | None = None
    decode: str | None = None

    def __post_init__(self) -> None:
        if self.form is not None:
            check_choice("The form of map", self.form, get_args(Form))
        if self.overlap is not None and not 1 <= self.overlap <= 100:
            raise UsageError(f"'{self.name}' is no metric.", "Write map, map50 or map75.")
        if self.nms is not None and not 0 <= self.nms <= 1:
            raise UsageError(f"The nms of map is {self.nms!r}.", "Give an overlap from 0 to 1.")
        if self.scale is not None and not all(0 < each < np.inf for each in self.scale):
            raise UsageError(f"The scale of map is {self.scale!r}.", "Give it as 640 or 640x480.")
        if self.decode is not None:
            self._decoder  # noqa: B018 - before a model is loaded, which takes longer

    @property
    def name(self) -> str:
        """``map``, ``map50``."""
        return f"map{'' if self.overlap is None else self.overlap}"

    @property
    def reads_first(self) -> bool:
        """No: it goes by names, unless there is one output alone."""
        return False

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Overlaps at which a detection may be right."""
        return _OVERLAPS if self.overlap is None else (self.overlap / 100,)

    def per_sample(self, outputs: Arrays, labels: Labels) -> PerSample:
        """A row for each detection, and for each class."""
        if not isinstance(labels, tuple) or not all(
            isinstance(each, Mapping) and BOXES in each and CLASSES in each for each in labels
        ):
            raise self.unfit_labels(labels, "dicts with 'boxes' and 'classes'")
        rows = [
            match(self._finished(found), label, self.thresholds)
            for found, label in zip(self._detections(outputs, len(labels)), labels, strict=True)
        ]
        lengths = np.array([len(each) for each in rows], np.int64)
        return PerSample(np.concatenate(rows), lengths)

    def values(self, found: PerSample, weights: Array) -> Array:
        """In percent; NaN where a resample has no box."""
        return 100 * average_precisions(found, weights, len(self.thresholds))

    def parts(self, found: PerSample) -> dict[str, float]:
        """Of small, medium and large boxes; a record does not have them."""
        if found.rows.shape[1] < COLUMNS:
            return {}
        ones, thresholds = np.ones((1, len(found))), len(self.thresholds)
        values = {
            name: 100 * float(average_precisions(found, ones, thresholds, columns)[0])
            for name, columns in OF_AREAS.items()
        }
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def recorded(self, found: PerSample) -> PerSample:
        """Without what is of areas, whose values have no interval."""
        return PerSample(found.rows[:, :COLUMNS_OF_ALL], found.lengths)

    def _detections(self, outputs: Arrays, count: int) -> list[Detections]:
        if self.decode is not None:
            return [self._decoded(each) for each in self._decoder(outputs, count)]
        if self.output is not None:
            # An only output has all that is needed.
            outputs = {self.output: self.named(outputs, self.output)}
        names = OutputNames(self.boxes, self.scores, self.classes, self.counts)
        return read_detections(outputs, names)

    def _finished(self, found: Detections) -> Detections:
        found = as_corners(found, self.form or "xyxy", self.scale or (1.0, 1.0))
        return found if self.nms is None else suppress(found, self.nms)

    def _decoded(self, thing: Any) -> Detections:  # noqa: ANN401 - it is the user's
        wanted = ("boxes", "scores", "classes")
        if not isinstance(thing, Mapping) or not all(name in thing for name in wanted):
            raise DataError(
                f"{self.decode} returned a {type(thing).__name__} for a sample, or one that lacks "
                "something.",
                "Return a list with a dict of boxes, scores and classes for each sample.",
            )
        boxes, scores, classes = (as_numbers(str(self.decode), thing, name) for name in wanted)
        count = scores.size
        if boxes.size != 4 * count or classes.size != count or not np.isfinite(classes).all():
            raise DataError(
                f"{self.decode} returned boxes of {boxes.shape}, scores of {scores.shape} and "
                f"classes of {classes.shape}.",
                "Return (K, 4), (K,) and (K,).",
            )
        boxes, scores = boxes.reshape(count, 4).astype(np.float64), scores.reshape(count)
        sound = np.isfinite(scores) & np.isfinite(boxes).all(axis=1)
        labels = classes.reshape(count).astype(np.int64)
        return Detections(boxes, scores.astype(np.float64), labels).at(sound)

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(str(self.decode))
