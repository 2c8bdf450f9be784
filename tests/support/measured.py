"""Data and models in NumPy, whose figures are known, for the evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Batch, check_range
from trtqat.data.labels import Labels
from trtqat.errors import UsageError
from trtqat.evaluation.contenders import Contender, Lineup, Measured
from trtqat.evaluation.counts import Agreement
from trtqat.evaluation.timing import LatencyOptions
from trtqat.io_names import IoNames
from trtqat.runtime.protocol import Model, Session
from trtqat.tensors import Array, Arrays, TensorSpec


class Samples:
    """Rows of ``x`` with labels or without; notes which rows were asked for."""

    name = "samples"

    def __init__(self, x: Array, labels: Labels | None) -> None:
        self._x, self._labels = x, labels
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self._x)

    def batch(self, start: int, stop: int) -> Batch:
        check_range(start, stop, len(self))
        self.asked.extend(range(start, stop))
        labels = None if self._labels is None else self._labels[start:stop]
        return Batch({"x": self._x[start:stop]}, labels)


class PlainModel:
    """What a model has that is no engine, and was exported from nothing."""

    name = "plain"
    device: Literal["cpu", "cuda"] = "cpu"
    inputs: tuple[TensorSpec, ...] = ()
    io: IoNames | None = None
    quantizers: tuple[str, ...] = ()
    engine: None = None
    path: Path | None = None
    reopen: Callable[[], Model] | None = None

    @property
    def session_inputs(self) -> tuple[TensorSpec, ...]:
        return self.inputs

    @property
    def runs_concurrently(self) -> bool:
        return self.device == "cuda"

    def session(self, batch_size: int) -> Session:
        raise NotImplementedError

    def session_on_own_stream(self, batch_size: int) -> Session:
        return self.session(batch_size)

    def source_graph(self, given: Path | None = None) -> Path:
        raise UsageError(f"'{self.name}' was built from no graph.", "Give an engine.")


class NumpyModel(PlainModel):
    """A function on arrays; refuses two sessions at once, and batches of another size."""

    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", (-1, 7)),)
    size_bytes = 28

    def __init__(
        self,
        function: Callable[[Array], Array] = np.copy,
        batch_range: tuple[int, int | None] = (1, None),
        compute_ms: float = 1.0,
        outputs: tuple[TensorSpec, ...] = (TensorSpec("logits", (-1, 7)),),
    ) -> None:
        self.name = "numpy"
        self.function, self.batch_range, self.compute_ms = function, batch_range, compute_ms
        self.outputs = outputs
        self.sessions: list[int] = []
        self.is_open = False

    def session(self, batch_size: int) -> Session:
        low, high = self.batch_range
        assert low <= batch_size <= (high or batch_size)
        assert not self.is_open
        self.sessions.append(batch_size)
        self.is_open = True
        return NumpySession(self, batch_size)

    def close(self) -> None:
        raise AssertionError("it belongs to the caller")


class NumpySession:
    mode = "numpy"
    enqueue_times_ms: tuple[float, ...] = ()

    def __init__(self, model: NumpyModel, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size

    def run(self, inputs: Arrays) -> dict[str, Array]:
        assert len(inputs["x"]) == self._batch_size
        # The first output is found by its name, not by its place here.
        return {"other": np.zeros(3), "logits": self._model.function(inputs["x"])}

    def load(self, inputs: Arrays) -> None:
        assert len(inputs["x"]) == self._batch_size

    def compute_times_ms(self, count: int) -> list[float]:
        return [self._model.compute_ms] * count

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        return [], []

    def close(self) -> None:
        self._model.is_open = False


def lined_up(
    subject: Model,
    baseline: Model | None = None,
    *,
    steps: Sequence[Model] = (),
    rivals: Sequence[Model] = (),
) -> list[Contender]:
    """Contenders; the subject last, as its place says nothing."""
    return [
        *(Contender(each, "rival") for each in rivals),
        *(Contender(each, "step") for each in steps),
        *([Contender(baseline, "baseline")] if baseline else []),
        Contender(subject, "subject"),
    ]


def agreement(lineup: Lineup) -> Agreement | None:
    """Of the subject with the baseline."""
    comparison = lineup.subject.to_baseline
    return comparison.agreement if comparison else None


def agreement_before(measured: Measured) -> Agreement | None:
    """Of a contender with the step before it."""
    comparison = measured.to_step_before
    return comparison.agreement if comparison else None


def speedups(lineup: Lineup) -> list[float | None]:
    """Of the subject over the baseline, by batch size; None where that has no times."""
    found = [
        lineup.baseline.at(each.batch_size) if lineup.baseline else None
        for each in lineup.subject.timings
    ]
    return [each.speedup.value if each and each.speedup else None for each in found]


def make_samples(count: int, seed: int = 0, classes: int = 7) -> tuple[Array, NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, classes)).astype(np.float32), random.integers(
        0, classes, count
    )


QUICK = LatencyOptions(warm_up_ms=0, duration_s=0)
X, _ = make_samples(20)
LABELS = X.argmax(axis=1)
DATA = Samples(X, LABELS)


def one_of_twenty_wrong(x: Array) -> Array:
    return np.where((x == X[3]).all(axis=1, keepdims=True), -x, x)
