"""A model whose queries overtake each other."""

from __future__ import annotations

import threading
import time
from typing import Literal

from tests.support.hanging import HUNG_S
from tests.support.measured import PlainModel
from trtqat.errors import InferenceError
from trtqat.runtime.protocol import Session
from trtqat.tensors import Array, Arrays, TensorSpec


class SlowModel(PlainModel):
    """Doubles its input, the earlier batches more slowly than the later ones.

    Notes how many sessions ran at once, and fails if one of them does twice at once.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    inputs: tuple[TensorSpec, ...] = (TensorSpec("x", (-1, 7)),)
    outputs: tuple[TensorSpec, ...] = ()
    name = "slow"
    size_bytes = 0

    def __init__(self, most_sessions: int = 99, low: int = 1, meeting: int = 1) -> None:
        """Lets the first queries wait for each other, as many as are to meet in it."""
        self.meeting = threading.Barrier(meeting, timeout=HUNG_S)
        self.batch_range: tuple[int, int | None] = (low, None)
        self.most_sessions = most_sessions
        self.open: list[int] = []
        self.running = self.most_running = self.queries = 0
        self.lock = threading.Lock()

    def session(self, batch_size: int) -> Session:
        if len(self.open) >= self.most_sessions:
            raise InferenceError("No further execution context.")
        self.open.append(batch_size)
        return SlowSession(self, batch_size)

    def close(self) -> None:
        raise AssertionError("it belongs to the caller")


class SlowSession:
    mode = "slow"
    enqueue_times_ms: tuple[float, ...] = ()

    def __init__(self, model: SlowModel, size: int) -> None:
        self._model, self._size, self._own = model, size, threading.Lock()

    def run(self, inputs: Arrays) -> dict[str, Array]:
        assert len(inputs["x"]) == self._size
        assert self._own.acquire(blocking=False)
        with self._model.lock:
            self._model.running += 1
            self._model.queries += 1
            self._model.most_running = max(self._model.most_running, self._model.running)
            turn = self._model.queries
        if turn <= self._model.meeting.parties:
            self._model.meeting.wait()
        # Only to mix up the order: nothing below depends on how long it takes.
        time.sleep(0.004 if turn % 4 == 1 else 0.001)
        with self._model.lock:
            self._model.running -= 1
        self._own.release()
        return {"y": inputs["x"] * 2}

    def load(self, inputs: Arrays) -> None:
        raise AssertionError("only run is used")

    def compute_times_ms(self, count: int) -> list[float]:
        raise AssertionError("only run is used")

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        raise AssertionError("only run is used")

    def close(self) -> None:
        self._model.open.remove(self._size)
