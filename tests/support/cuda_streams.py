"""CUDA's streams, as far as order goes: what is enqueued runs later, in any order that CUDA allows.

Work on one stream runs in the order in which it was enqueued, and behind the events that the stream
was told to wait for. Between streams nothing else is promised, so a random choice decides. Memory
is NumPy's; a kernel reads its input when it runs, not when it is enqueued.
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Callable
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trtqat.errors import InferenceError
from trtqat.host.tensorrt_log import Messages, Reasons
from trtqat.runtime import session
from trtqat.runtime.session import EngineSession
from trtqat.tensors import Array, TensorSpec


class Event:
    """Reached once what was enqueued before its last record has run; at first it is."""

    def __init__(self, device: Device) -> None:
        self.recorded = self.reached = 0
        self._device = device

    def sync(self) -> None:
        goal = self.recorded
        self._device.run_until(lambda: self.reached >= goal)


class Stream:
    """A queue of work, each piece with what it waits for."""

    def __init__(self, device: Device, number: int) -> None:
        self.handle = number
        self.work: deque[tuple[str, Callable[[], bool], Callable[[], None]]] = deque()
        self.is_closed = self.is_capturing = False
        self._device = device

    def enqueue(
        self, kind: str, work: Callable[[], None], ready: Callable[[], bool] = lambda: True
    ) -> None:
        assert not self.is_closed
        with self._device.lock:
            self.work.append((kind, ready, work))
            self._device.trace.append((kind, self.handle))

    def record(self, event: Event | None = None) -> Event:
        event = event or Event(self._device)
        event.recorded += 1
        goal = event.recorded

        def reach() -> None:
            event.reached = max(event.reached, goal)

        self.enqueue("record", reach)
        return event

    def wait(self, event: Event) -> None:
        goal = event.recorded
        self.enqueue("wait", lambda: None, lambda: event.reached >= goal)

    def create_graph_builder(self) -> Any:
        self.is_capturing = True

        def check(what: str) -> None:
            if self._device.breaks_captures:
                raise RuntimeError(what)

        def close() -> None:
            self.is_capturing = False
            check("the capture is invalid, and so is ending it")

        return SimpleNamespace(
            begin_building=lambda mode: None,
            end_building=lambda: check("the capture is invalid"),
            complete=lambda: Graph(self._device.captured.pop()),
            close=close,
        )

    def close(self) -> None:
        assert not self.work
        self.is_closed = True


class Graph:
    def __init__(self, kernel: Callable[[], None]) -> None:
        self._kernel = kernel
        self.is_closed = False

    def upload(self, stream: Stream) -> None:
        stream.enqueue("upload", lambda: None)

    def launch(self, stream: Stream) -> None:
        assert not self.is_closed
        stream.enqueue("kernel", self._kernel)

    def close(self) -> None:
        self.is_closed = True


class Device:
    """A GPU.

    Attributes:
        trace: What was enqueued on which stream, in order.
        captured: Kernels that were enqueued while a stream captured.
        breaks_captures: Whether each capture becomes invalid, which cuda.core tells twice: when it
            is ended, and when its builder is closed.
    """

    def __init__(self, number: int, seed: int = 0) -> None:
        self.device_id = number
        self.streams: list[Stream] = []
        self.trace: list[tuple[str, int]] = []
        self.captured: list[Callable[[], None]] = []
        self.breaks_captures = False
        self.lock = threading.RLock()
        self._random = Random(seed)

    def create_stream(self) -> Stream:
        self.streams.append(Stream(self, 1 + len(self.streams)))
        return self.streams[-1]

    def create_event(self) -> Event:
        return Event(self)

    def set_current(self) -> None:
        """There is one."""

    def advance(self) -> bool:
        """Runs one piece of work that may run now; False where there is none."""
        with self.lock:
            ready = [each for each in self.streams if each.work and each.work[0][1]()]
            if not ready:
                return False
            _, _, work = self._random.choice(ready).work.popleft()
            work()
            return True

    def run_until(self, is_over: Callable[[], bool]) -> None:
        """Runs work in a random order until something holds."""
        while True:
            with self.lock:
                if is_over():
                    return
                assert self.advance(), "nothing can run: the streams wait for each other"

    def streams_of(self, kind: str) -> set[int]:
        """On which streams work of a kind was enqueued."""
        return {handle for name, handle in self.trace if name == kind}


class Memory:
    """A session's buffer, here on both sides in NumPy."""

    def __init__(self, device: Device, stream: Stream, spec: TensorSpec) -> None:
        stream.enqueue("allocate", lambda: None)
        self.host = np.zeros(spec.shape, spec.dtype)
        self.there = np.zeros(spec.shape, spec.dtype)
        self.pinned = None
        handle = self.there.ctypes.data
        self.device = SimpleNamespace(handle=handle, copy_from=self._up, copy_to=self._down)

    def _up(self, source: object, *, stream: Stream) -> None:
        stream.enqueue("to device", lambda: np.copyto(self.there, self.host))

    def _down(self, target: object, *, stream: Stream) -> None:
        stream.enqueue("to host", lambda: np.copyto(self.host, self.there))

    def close(self, stream: Stream) -> None:
        stream.enqueue("free", lambda: None)
        del self.host


class Context:
    """Squares its input; refuses an enqueue where it is told to."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._shape: tuple[int, ...] = ()
        self._addresses: dict[str, int] = {}
        self.refuses = False

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def execute_async_v3(self, handle: int) -> bool:
        if self.refuses:
            return False
        stream = self._device.streams[handle - 1]
        if stream.is_capturing:
            self._device.captured.append(self._kernel)
        else:
            stream.enqueue("kernel", self._kernel)
        return True

    def _kernel(self) -> None:
        x, y = (self._tensor(name) for name in "xy")
        np.square(x, out=y)

    def _tensor(self, name: str) -> Array:
        pointer = ctypes.cast(self._addresses[name], ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, self._shape)


def open_session(
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    *,
    cuda_graph: bool = True,
    own_stream: bool = False,
    messages: Messages | None = None,
) -> EngineSession:
    """A session of four floats ``x`` → their squares ``y``.

    Raises:
        InferenceError: Never; it is what a context that refuses gives.
    """
    monkeypatch.setattr(session, "Buffer", Memory)
    spec = TensorSpec("x", (4,))
    return EngineSession(
        name="m.engine",
        context=Context(device),
        device=device,
        inputs=[spec],
        outputs=[TensorSpec("y", (4,))],
        reasons=Reasons(messages or Messages()),
        quantizers={},
        cuda_graph=cuda_graph,
        own_stream=own_stream,
    )


__all__ = ["Device", "Event", "InferenceError", "Stream", "open_session"]
