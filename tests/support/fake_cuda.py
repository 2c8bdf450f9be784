"""A device whose streams run nothing until they are looked at: what is ordered, and how.

What is sent to a stream runs in its order, and waits for events of other streams. Which of the
streams goes on first is drawn, so that what no event orders comes in any order.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(eq=False)
class FakeEvent:
    """An event of ``cuda.core``: recorded on a stream, waited for by streams and the host."""

    device: FakeDevice
    version: int = 0
    reached: int = 0

    def sync(self) -> None:
        self.device.run_until(lambda: self.reached == self.version)


@dataclass(eq=False)
class FakeStream:
    """A stream of ``cuda.core``."""

    device: FakeDevice
    waiting: deque[tuple[Callable[[], bool], Callable[[], None]]] = field(default_factory=deque)
    is_closed: bool = False

    def send(self, work: Callable[[], None]) -> None:
        self.waiting.append((lambda: True, work))

    def record(self, event: FakeEvent) -> None:
        event.version += 1
        version = event.version

        def reach() -> None:
            event.reached = version

        self.send(reach)

    def wait(self, event: FakeEvent) -> None:
        version = event.version
        self.waiting.append((lambda: event.reached >= version, lambda: None))

    def close(self) -> None:
        self.is_closed = True


@dataclass(eq=False)
class FakeDevice:
    """A device of ``cuda.core``."""

    seed: int = 0
    streams: list[FakeStream] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def create_stream(self) -> FakeStream:
        self.streams.append(FakeStream(self))
        return self.streams[-1]

    def create_event(self, options: object = None) -> FakeEvent:
        return FakeEvent(self)

    def run_until(self, is_done: Callable[[], bool]) -> None:
        """Lets streams go on, one step of any of them after the other."""
        while not is_done():
            ready = [each for each in self.streams if each.waiting and each.waiting[0][0]()]
            if not ready:
                raise AssertionError("the host waits for what nothing will do")
            self.random.choice(ready).waiting.popleft()[1]()
