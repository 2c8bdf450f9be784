"""Data and models in NumPy, whose figures are known, for the evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Batch, check_range
from trtqat.evaluation.timing import LatencyOptions
from trtqat.runtime.protocol import Session
from trtqat.tensors import Array, Arrays, TensorSpec


class Samples:
    """Rows of ``x`` with labels or without; notes which rows were asked for."""

    name = "samples"

    def __init__(self, x: Array, labels: NDArray[np.int64] | None) -> None:
        self._x, self._labels = x, labels
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self._x)

    def batch(self, start: int, stop: int) -> Batch:
        check_range(start, stop, len(self))
        self.asked.extend(range(start, stop))
        labels = None if self._labels is None else self._labels[start:stop]
        return Batch({"x": self._x[start:stop]}, labels)


class NumpyModel:
    """A function on arrays; refuses two sessions at once, and batches of another size."""

    device: Literal["cpu", "cuda"] = "cpu"
    inputs = (TensorSpec("x", (-1, 7)),)
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
