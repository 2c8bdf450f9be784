"""Every image once: predictions, exact counts, and how far two models' outputs are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.evaluation.counts import Accuracy, Agreement, Comparison, Counter, Paired, pair
from trtqat.evaluation.running import names_of, run_models
from trtqat.runtime.protocol import Model

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Predictions:
    """Image by image, for a comparison on another host.

    Attributes:
        labels: Right classes; empty without labels.
        model: Predicted classes, -1 where an output is NaN; empty if the first output is no
            ``(N, classes)``.
        baseline: The baseline's, likewise; empty if there was none.
        data_sha256: Of the labels and the first image: whether it is the same data.
        output: Name of the first output; None if it is not known which one that is.
    """

    labels: tuple[int, ...]
    model: tuple[int, ...]
    baseline: tuple[int, ...]
    data_sha256: str
    output: str | None = None


@dataclass(frozen=True)
class Compared:
    """One more model, and how close it is to another.

    Attributes:
        name: Of the model.
        accuracy: Its counts; None without labels.
        agreement: With the other one; None if there is none.
        paired: Likewise.
    """

    name: str
    accuracy: Accuracy | None
    agreement: Agreement | None
    paired: Paired | None


@dataclass(frozen=True)
class AccuracyResult:
    """What ``measure_accuracy`` found; None where it does not apply.

    Attributes:
        model: Counts of the model.
        baseline: Of the baseline.
        agreement: Of the model with the baseline.
        paired: Likewise.
        predictions: Of both.
        others: Each of the others, compared with the baseline.
        steps: The way from the baseline to the model, each compared with the one before.
        outputs: Names of the model's outputs, in the order of the exported model.
    """

    model: Accuracy | None
    baseline: Accuracy | None
    agreement: Agreement | None
    paired: Paired | None
    predictions: Predictions
    others: tuple[Compared, ...] = ()
    steps: tuple[Compared, ...] = ()
    outputs: tuple[str, ...] = ()


def measure_accuracy(
    model: Model,
    baseline: Model | None,
    dataset: Dataset,
    *,
    batch_size: int,
    in_flight: int = 1,
    others: Sequence[Model] = (),
    steps: Sequence[Model] = (),
    progress: Progress | None = None,
) -> AccuracyResult:
    """Runs every image of a dataset once through a model and what it is compared with.

    Args:
        model: What is measured.
        baseline: What it is compared with, on the same batches.
        dataset: Images, with labels or without.
        batch_size: Of all batches but the last.
        in_flight: Batches at once, as ``run_models`` has it.
        others: Each compared with the baseline, too.
        steps: What lies between baseline and model: each is compared with the one before it.
        progress: Called with the number of images done and their total.

    Raises:
        DataError: There are labels, but the first output is not ``(N, classes)``, or not known;
            or the models' outputs do not belong together.
        InferenceError: A runtime failed.
    """
    chain = [*([baseline] if baseline else []), *steps, model] if steps else []
    models: list[Model] = []
    for each in (model, *([baseline] if baseline else []), *steps, *others):
        if each not in models:
            models.append(each)
    pairs = list(pairwise(chain))
    pairs += [(baseline, each) for each in (model, *others)] if baseline else []
    counters = [Counter(each.name) for each in models]
    comparisons = {(models.index(one), models.index(two)): Comparison() for one, two in pairs}
    digest = hashlib.sha256()
    labels: list[int] = []
    shapes: dict[str, tuple[int, ...]] = {}
    total = len(dataset)
    known = names_of(models)
    prediction = known.prediction if known else None
    for answers in run_models(models, dataset, batch_size=batch_size, in_flight=in_flight):
        batch, outputs = answers.batch, answers.outputs
        shapes = shapes or dict(answers.shapes)
        if known is None:
            prediction = next(iter(shapes))
        if prediction is None and batch.labels is not None:
            raise DataError(
                f"The data has labels, but which of its outputs {', '.join(map(repr, shapes))} is "
                f"the first one of '{model.name}', is not known: TensorRT has an order of its own.",
                "Give the graph that it was built from (--graph model.onnx), or build it again.",
            )
        if prediction is not None:
            for counter, output in zip(counters, outputs, strict=True):
                counter.add(output[prediction], batch.labels)
        for (before, after), comparison in comparisons.items():
            names = {"baseline": models[before].name, "model": models[after].name}
            comparison.add(outputs[before], outputs[after], **names)
        if batch.labels is not None:
            labels += batch.labels.tolist()
        if answers.start == 0:
            for _, array in sorted(batch.inputs.items()):
                digest.update(np.ascontiguousarray(array[0]).tobytes())
        if progress:
            progress(answers.start + len(batch), total)
    digest.update(np.asarray(labels, np.int64).tobytes())

    def compared(two: Model, one: Model | None) -> Compared:
        after = models.index(two)
        before = None if one is None else models.index(one)
        return Compared(
            two.name,
            counters[after].result(),
            None if before is None else comparisons[before, after].result(shapes, prediction),
            None
            if before is None
            else pair(labels, counters[after].predicted, counters[before].predicted),
        )

    mine = compared(model, baseline)
    theirs = counters[models.index(baseline)] if baseline else Counter("")
    return AccuracyResult(
        model=mine.accuracy,
        baseline=theirs.result(),
        agreement=mine.agreement,
        paired=mine.paired,
        predictions=Predictions(
            tuple(labels),
            tuple(counters[0].predicted),
            tuple(theirs.predicted),
            digest.hexdigest(),
            prediction,
        ),
        others=tuple(compared(each, baseline) for each in others),
        steps=tuple(compared(two, one) for one, two in zip([None, *chain], chain, strict=False)),
        outputs=tuple(shapes),
    )
