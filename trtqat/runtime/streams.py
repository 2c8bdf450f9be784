"""The CUDA streams of this process: one for all kernels of a device, and two for copies.

Where kernels fill the GPU, queries on several streams only get in each other's way. On one stream
they come one behind the other, and other queries are copied meanwhile. PyTorch gets this stream,
too. TensorRT may run branches of an engine on streams of its own all the same
(``ICudaEngine.num_aux_streams``).

Nobody closes these streams, and the process has them until it ends: PyTorch's allocator refers to
them for as long as it keeps memory.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Route:
    """The streams of one query, each a ``cuda.core.Stream``.

    Attributes:
        to_device: Copies inputs to the GPU.
        compute: Runs kernels.
        to_host: Copies outputs back.
    """

    to_device: Any
    compute: Any
    to_host: Any


class Traffic:
    """Which queries of a set of streams are in flight, and who may submit.

    A query that is alone takes the compute stream for its copies, too: events between streams would
    cost it some microseconds, and there is nothing to overlap with. Beside other queries its copies
    go to streams of their own. Plain calls: a query of a small model takes 60 us of the host.

    Attributes:
        lock: Held while a query is submitted, so that its parts come in the same order on all
            streams, and while something is captured, which nobody else's launch may join.
        in_flight: Queries that were submitted, and whose end nobody has seen yet.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.in_flight = 0
        # Who has seen the end of a query does not wait for whoever submits the next one.
        self._counting = threading.Lock()

    def submitted(self) -> None:
        """Notes that a query is in flight; the caller holds the lock."""
        with self._counting:
            self.in_flight += 1

    def ended(self) -> None:
        """Notes that somebody has seen the end of a query that was submitted."""
        with self._counting:
            self.in_flight -= 1


class Streams:
    """A compute stream, the streams of its copies, and its traffic.

    Attributes:
        compute: The ``cuda.core.Stream`` of all kernels.
        to_device: The one that copies inputs, for queries that are not alone.
        to_host: The one that copies outputs.
        address: The handle of the compute stream, as TensorRT takes it.
        traffic: Queries in flight on them.
        lock: What whoever submits or captures holds.
    """

    def __init__(self, compute: Any, to_device: Any, to_host: Any) -> None:  # noqa: ANN401
        """Keeps streams.

        Args:
            compute: A ``cuda.core.Stream``.
            to_device: Another one, or the same.
            to_host: Another one, or the same.
        """
        self.compute, self.to_device, self.to_host = compute, to_device, to_host
        self.address = int(compute.handle)
        self.traffic = Traffic()
        self.lock = self.traffic.lock
        self._alone = Route(compute, compute, compute)
        self._among_others = Route(to_device, compute, to_host)

    def route(self) -> Route:
        """The streams of the next query; the caller holds the lock until it is submitted."""
        return self._among_others if self.traffic.in_flight else self._alone

    def settle(self) -> None:
        """Waits until the kernels that were submitted so far have run.

        By an event: CUDA refuses to wait for a stream on which another thread captures.
        """
        with self.lock:
            event = self.compute.record()
        event.sync()


_SHARED: dict[int, Streams] = {}
_SHARED_LOCK = threading.Lock()


def shared_streams(device: Any) -> Streams:  # noqa: ANN401
    """The streams that all sessions on a device share.

    Args:
        device: A ``cuda.core.Device``, current in this thread.
    """
    # Each thread has a Device object of its own, so its number tells which one it is.
    key = int(device.device_id)
    with _SHARED_LOCK:
        if key not in _SHARED:
            _SHARED[key] = Streams(*(device.create_stream() for _ in range(3)))
        return _SHARED[key]


def own_streams(device: Any) -> Streams:  # noqa: ANN401
    """A stream for one session alone, on which its kernels run beside those of other sessions.

    Args:
        device: A ``cuda.core.Device``, current in this thread.
    """
    stream = device.create_stream()
    return Streams(stream, stream, stream)
