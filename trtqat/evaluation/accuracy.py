"""Every image once: predictions, exact counts, and how far two contenders' outputs are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trtqat.data.batches import Dataset
from trtqat.data.labels import class_numbers, label_bytes
from trtqat.errors import DataError
from trtqat.evaluation.contenders import (
    Comparison,
    Contender,
    Lineup,
    Measured,
    Predictions,
    Role,
    sorted_by_role,
)
from trtqat.evaluation.counts import AgreementCounter, Counter, pair
from trtqat.evaluation.metrics.metric import Metric, PerSample, joined
from trtqat.evaluation.running import Answers, names_of, run_models
from trtqat.runtime.protocol import Model
from trtqat.tensors import Arrays

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AccuracyRun(Lineup):
    """What every image told; no contender has times yet.

    Attributes:
        labels: Right classes; empty if none were counted.
        outputs: Names of the outputs, in the order of the exported model.
        samples: What each metric kept, by contender.
    """

    labels: tuple[int, ...]
    outputs: tuple[str, ...]
    samples: tuple[tuple[PerSample, ...], ...]


def measure_accuracy(
    contenders: Sequence[Contender],
    dataset: Dataset,
    *,
    batch_size: int,
    in_flight: int = 1,
    metrics: Sequence[Metric] = (),
    counts_classes: bool = True,
    progress: Progress | None = None,
) -> AccuracyRun:
    """Runs every image of a dataset once through all contenders, on the same batches.

    Subject and rivals are compared with the baseline, steps and the subject behind them with the
    step before.

    Args:
        contenders: One subject, at most one baseline, and any steps and rivals; steps in their
            order.
        dataset: Images, with labels or without.
        batch_size: Of all batches but the last.
        in_flight: Batches at once, as ``run_models`` has it.
        metrics: What to keep of every sample; the data has labels then.
        counts_classes: Whether labels are class numbers, and right answers are to be counted.
        progress: Called with the number of images done and their total.

    Raises:
        DataError: Labels or outputs are none that are counted, or that a metric reads; the first
            output is asked for, and not known; or the contenders' outputs do not belong together.
        InferenceError: A runtime failed.
    """
    # Outputs have the names of the first one that knows its own.
    source = f"The labels of '{dataset.name}'"
    tally = _Tally(sorted_by_role(contenders), metrics, source if counts_classes else None)
    needs_first = counts_classes or any(each.reads_first for each in metrics)
    known = names_of(tally.models)
    prediction = known.prediction if known else None
    runs = run_models(tally.models, dataset, batch_size=batch_size, in_flight=in_flight)
    for answers in runs:
        if known is None:
            prediction = next(iter(answers.shapes))
        if prediction is None and answers.batch.labels is not None and needs_first:
            names = ", ".join(map(repr, answers.shapes))
            raise DataError(
                f"The data has labels, but which of its outputs {names} is the first one of "
                f"'{tally.models[0].name}', is not known: TensorRT has an order of its own.",
                "Give the graph that it was built from (--graph model.onnx), or build it again.",
            )
        tally.add(answers, prediction)
        if progress:
            progress(answers.start + len(answers.batch), len(dataset))
    return tally.result(prediction)


class _Tally:
    """Counts and compares, batch by batch. A model that has several roles runs once."""

    def __init__(
        self, contenders: Sequence[Contender], metrics: Sequence[Metric], counted: str | None
    ) -> None:
        """Starts with nothing.

        Args:
            contenders: In their order.
            metrics: What to keep of every sample.
            counted: Labels whose classes are counted, as the subject of a message.
        """
        self._contenders = contenders
        self._metrics = metrics
        self._counted = counted
        self.models: list[Model] = []
        for each in contenders:
            if each.model not in self.models:
                self.models.append(each.model)
        self._counters = [Counter(model.name) for model in self.models]
        self._nans = [_NanCounter() for _ in self.models]
        self._kept: list[list[list[PerSample]]] = [[[] for _ in metrics] for _ in self.models]
        pairs = [*_to_baseline(contenders), *_to_step_before(contenders)]
        self._agreements = {
            (self._index(one), self._index(other)): AgreementCounter() for one, other in pairs
        }
        self._labels: list[int] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._digest = hashlib.sha256()

    def add(self, answers: Answers, prediction: str | None) -> None:
        """Counts a batch; its predictions are those of the output ``prediction``."""
        batch, outputs = answers.batch, answers.outputs
        self._shapes = self._shapes or dict(answers.shapes)
        for nans, output in zip(self._nans, outputs, strict=True):
            nans.add(output)
        classes = None
        if batch.labels is not None and self._counted is not None:
            classes = class_numbers(self._counted, batch.labels)
            self._labels += classes.tolist()
        if prediction is not None:
            for counter, output in zip(self._counters, outputs, strict=True):
                counter.add(output[prediction], classes)
        if batch.labels is not None:
            for kept, output in zip(self._kept, outputs, strict=True):
                for metric, parts in zip(self._metrics, kept, strict=True):
                    parts.append(metric.per_sample(output, batch.labels))
        for (one, other), agreement in self._agreements.items():
            names = {"model": self.models[one].name, "baseline": self.models[other].name}
            agreement.add(outputs[other], outputs[one], **names)
        if answers.start == 0:
            for _, array in sorted(batch.inputs.items()):
                self._digest.update(np.ascontiguousarray(array[0]).tobytes())
        for part in () if batch.labels is None else label_bytes(batch.labels):
            self._digest.update(part)

    def result(self, prediction: str | None) -> AccuracyRun:
        """What was counted."""
        to_baseline = dict(_to_baseline(self._contenders))
        to_step_before = dict(_to_step_before(self._contenders))
        measured = []
        for each in self._contenders:
            index = self._index(each)
            counter, nans = self._counters[index], self._nans[index]
            predictions = Predictions(
                tuple(counter.predicted), prediction, self._digest.hexdigest()
            )
            measured.append(
                Measured(
                    name=each.model.name,
                    role=each.role,
                    device=each.model.device,
                    size_bytes=each.model.size_bytes,
                    recorded_on=None,
                    accuracy=counter.result(),
                    to_baseline=self._compared(each, to_baseline.get(each), prediction),
                    to_step_before=self._compared(each, to_step_before.get(each), prediction),
                    predictions=predictions,
                    nan_images=nans.images,
                    nan_outputs=nans.outputs,
                )
            )
        kept = [tuple(map(joined, self._kept[self._index(each)])) for each in self._contenders]
        return AccuracyRun(
            tuple(measured), tuple(self._labels), tuple(self._shapes), samples=tuple(kept)
        )

    def _compared(
        self, one: Contender, other: Contender | None, prediction: str | None
    ) -> Comparison | None:
        if other is None:
            return None
        mine, theirs = self._index(one), self._index(other)
        return Comparison(
            other.model.name,
            self._agreements[mine, theirs].result(self._shapes, prediction),
            pair(self._labels, self._counters[mine].predicted, self._counters[theirs].predicted),
        )

    def _index(self, contender: Contender) -> int:
        return self.models.index(contender.model)


class _NanCounter:
    """Finds what is no number in the outputs of one model, batch by batch."""

    def __init__(self) -> None:
        self.images = 0
        self._is_nan: dict[str, bool] = {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of those that held nothing but NaN."""
        return tuple(name for name, is_nan in self._is_nan.items() if is_nan)

    def add(self, outputs: Arrays) -> None:
        """Looks into a batch: arrays ``(N, …)`` by name."""
        found = {
            name: np.isnan(array).reshape(len(array), -1)
            for name, array in outputs.items()
            if array.dtype.kind == "f" and array.size
        }
        for name, is_nan in found.items():
            self._is_nan[name] = self._is_nan.get(name, True) and bool(is_nan.all())
        if found:
            self.images += int(np.any([each.any(axis=1) for each in found.values()], axis=0).sum())


def _to_baseline(contenders: Sequence[Contender]) -> Iterator[tuple[Contender, Contender]]:
    """Who is compared with the baseline."""
    for baseline in contenders:
        if baseline.role == "baseline":
            for each in contenders:
                if each.role in ("subject", "rival"):
                    yield each, baseline


def _to_step_before(contenders: Sequence[Contender]) -> Iterator[tuple[Contender, Contender]]:
    """Who is compared with the step before, on the way from the baseline to the subject."""
    roles: tuple[Role, ...] = ("baseline", "step", "subject")
    way = [each for role in roles for each in contenders if each.role == role]
    if any(each.role == "step" for each in way):
        yield from ((after, before) for before, after in pairwise(way))
