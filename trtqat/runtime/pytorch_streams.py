"""The streams of PyTorch's models: the same as the engines', so that kernels are on one alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import torch

from trtqat.errors import MissingError
from trtqat.host.tensorrt_library import open_device
from trtqat.runtime.streams import Traffic, shared_streams


class PyTorchStreams:
    """A compute stream, the streams of its copies, and its traffic, as ``streams.Streams``.

    Attributes:
        compute: The stream of all kernels.
        traffic: Queries in flight on them.
    """

    def __init__(
        self,
        compute: torch.cuda.Stream,
        to_device: torch.cuda.Stream,
        to_host: torch.cuda.Stream,
        traffic: Traffic,
    ) -> None:
        """Keeps streams.

        Args:
            compute: Of all kernels.
            to_device: Copies the inputs of queries that are not alone; it may be the same.
            to_host: Copies their outputs; it may be the same.
            traffic: Theirs.
        """
        self.compute, self.traffic = compute, traffic
        self._to_device, self._to_host = to_device, to_host

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Has the compute stream to itself, as PyTorch's current one.

        So it may be waited for and captured, too.
        """
        with self.traffic.lock, torch.cuda.stream(self.compute):
            yield

    def route(self) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
        """The streams that copy the inputs and the outputs of the next query.

        The caller holds the traffic's lock until it is submitted.
        """
        if self.traffic.in_flight:
            return self._to_device, self._to_host
        return self.compute, self.compute

    def settle(self) -> None:
        """Waits until the kernels that were submitted so far have run."""
        with self.traffic.lock:
            event = self.compute.record_event()
        event.synchronize()


@functools.cache
def shared_pytorch_streams() -> PyTorchStreams:
    """The streams of this process on the first GPU."""
    try:
        device = open_device("PyTorch beside engines")
    except MissingError:
        # A host without cuda-python has no engines: PyTorch's own streams are all that there are.
        one, two, three = (torch.cuda.Stream() for _ in range(3))  # type: ignore[no-untyped-call]
        return PyTorchStreams(one, two, three, Traffic())
    streams = shared_streams(device)
    compute, to_device, to_host = (
        torch.cuda.ExternalStream(int(each.handle))  # type: ignore[no-untyped-call]
        for each in (streams.compute, streams.to_device, streams.to_host)
    )
    return PyTorchStreams(compute, to_device, to_host, streams.traffic)


def own_pytorch_streams() -> PyTorchStreams:
    """A stream for one session alone, on which its kernels run beside those of other sessions."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    return PyTorchStreams(stream, stream, stream, Traffic())


def computing_on(streams: PyTorchStreams | None) -> contextlib.AbstractContextManager[None]:
    """``streams.computing``, or nothing on a CPU, which has no streams."""
    return contextlib.nullcontext() if streams is None else streams.computing()
