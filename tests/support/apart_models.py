"""Models that note in a folder what is done with them, in whichever process that is."""

from __future__ import annotations

import itertools
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from tests.support.measured import PlainModel
from trtqat.errors import InferenceError, PlanError
from trtqat.runtime.protocol import Model, Session
from trtqat.runtime.rtx import Compilation
from trtqat.tensors import Array, Arrays, TensorSpec


class NotingModel(PlainModel):
    """A model on a GPU. Each line of its notes has a process, what it did, and a number."""

    device: Literal["cpu", "cuda"] = "cuda"
    inputs = (TensorSpec("x", (-1, 7)),)
    outputs = (TensorSpec("y", (-1, 7)),)
    size_bytes = 1
    batch_range = (1, None)

    def __init__(
        self, notes: Path, *, fails: str = "", most: int = 99, is_engine: bool = False
    ) -> None:
        """Opens it.

        Args:
            notes: A folder.
            fails: What it does not do in a process of its own: ``open``, ``session`` or ``run``.
            most: So many sessions at most.
            is_engine: Whether it is one.
        """
        self.notes, self._fails, self._most = notes, fails, most
        self.name = notes.name
        self._parent = int(os.environ.setdefault("NOTING_PARENT", str(os.getpid())))
        self.reopen: Callable[[], Model] | None = partial(
            NotingModel, notes, fails=fails, most=most, is_engine=is_engine
        )
        if is_engine:
            self.engine: Any = SimpleNamespace(
                compilations=(Compilation(8, 1.5, from_cache=False),) if self.is_apart else (),
                tensorrt=SimpleNamespace(title="noted"),
            )
        self.open = 0
        self.note("open", 0)
        logging.getLogger("trtqat").warning("Opened %s.", self.name)
        self.fail("open")

    @property
    def is_apart(self) -> bool:
        return os.getpid() != self._parent

    def note(self, what: str, number: int) -> None:
        with (self.notes / "notes").open("a") as file:
            file.write(f"{os.getpid()} {what} {number}\n")

    def fail(self, what: str) -> None:
        if not self.is_apart or what != self._fails.removesuffix("!"):
            return
        if self._fails.endswith("!"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise PlanError("It does not.", "Let it.")

    def session(self, batch_size: int, *, own_stream: bool = False) -> Session:
        self.fail("session")
        if self.open == self._most:
            raise InferenceError("No further session.")
        self.open += 1
        self.note("own" if own_stream else "session", batch_size)
        return NotingSession(self, batch_size)

    def session_on_own_stream(self, batch_size: int) -> Session:
        return self.session(batch_size, own_stream=True)

    def close(self) -> None:
        self.note("close", 0)


class NotingSession:
    mode = "noted"

    def __init__(self, model: NotingModel, batch_size: int) -> None:
        self._model, self._batch_size = model, batch_size
        self._numbers = itertools.count(1)
        self.enqueue_times_ms: list[float] = []

    def run(self, inputs: Arrays) -> dict[str, Array]:
        self._model.fail("run")
        self._model.note("run", len(inputs["x"]))
        return {"y": inputs["x"]}

    def load(self, inputs: Arrays) -> None:
        self._model.note("load", round(float(inputs["x"].sum())))

    def compute_times_ms(self, count: int) -> list[float]:
        self._model.note("compute", count)
        self.enqueue_times_ms = [0.5] * count
        return [2.0 if self._model.is_apart else 1.0] * count

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        return [3.0] * count, []

    def close(self) -> None:
        self._model.open -= 1


def read_notes(folder: Path) -> list[tuple[int, str, int]]:
    """What was noted, in order: process, what, number."""
    lines = (folder / "notes").read_text().splitlines()
    return [(int(pid), what, int(number)) for pid, what, number in map(str.split, lines)]
