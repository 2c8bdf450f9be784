"""One query at a time through a PyTorch model; several sessions may run at once."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from trtqat.checks import closed
from trtqat.errors import ForwardError, InferenceError, TrtqatError, first_line
from trtqat.host.device_memory import needs_device_memory
from trtqat.io_names import ByPosition
from trtqat.runtime.buffers import check_given, copy_into
from trtqat.runtime.held import Held
from trtqat.runtime.pytorch_arithmetic import Arithmetic
from trtqat.runtime.pytorch_inputs import Converter
from trtqat.runtime.pytorch_outputs import as_plain_floats, name_outputs, to_arrays
from trtqat.runtime.pytorch_quantizers import RequiredQuantizers
from trtqat.runtime.pytorch_streams import PyTorchStreams
from trtqat.tensors import Array, Arrays, TensorSpec
from trtqat.user_code import exits_told

_LOG = logging.getLogger(__name__)

# As in runtime/session.py: queries between two synchronisations.
_WINDOW = 32
# What is wrong is the GPU's, or one of NVIDIA's libraries', whatever class PyTorch has for it.
_OF_DEVICE = re.compile(r"\b(CUDA|cuDNN|CUBLAS|cuBLAS)")


class PyTorchSession(Held):
    """Runs the model on fixed input tensors, one query at a time.

    On a GPU the kernels of all sessions run on one stream, and the copies of several overlap.
    """

    def __init__(
        self,
        name: str,
        model: Callable[..., Any],
        specs: Sequence[TensorSpec],
        samples: list[torch.Tensor],
        inputs: list[torch.Tensor],
        converters: Sequence[Converter],
        *,
        streams: PyTorchStreams | None = None,
        arithmetic: Arithmetic,
        quantizers: RequiredQuantizers | None = None,
        way: str,
        cuda_graph: bool,
    ) -> None:
        """Allocates and, if wanted, captures.

        Args:
            name: Of the model, for messages.
            model: Its forward.
            specs: Names of the inputs.
            samples: Where host memory is copied to.
            inputs: What the model reads: the same tensors, or those they are converted into.
            converters: What the model reads, of each sample.
            streams: Where it runs, and where ``samples`` were made; None on a CPU.
            arithmetic: Switches to launch with.
            quantizers: What must run in each query from host memory, and while one is captured.
            way: How the model runs where no CUDA graph does, in words.
            cuda_graph: Whether to capture a CUDA graph.

        Raises:
            ForwardError: The model raised.
            InferenceError: The device failed, or its memory is short.
        """
        self._name = name
        self._model = model
        self._names = [spec.name for spec in specs]
        self._samples = samples
        self._inputs = inputs
        self._converters = converters
        self._arithmetic = arithmetic
        self._quantizers = quantizers
        self._streams = streams
        self._pinned: list[torch.Tensor] = []
        self._result: Any = None
        self._is_closed = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self.enqueue_times_ms: list[float] = []
        self.mode = f"{way}, CPU, wall clock"
        self._hosts: dict[str, torch.Tensor] = {}
        if streams is not None:
            self._pinned = [torch.empty_like(each, device="cpu").pin_memory() for each in samples]
            self._graph = self._capture(streams) if cuda_graph else None
            self.mode = "CUDA graph" if self._graph else way
            if self._graph is None:
                # Once now: whether it fits into memory beside the others is seen here.
                with told(self._name), streams.computing():
                    self._launch()
            streams.settle()

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Runs one batch from host memory to host memory; outputs are float32.

        Returns:
            Arrays by output name; ``ByPosition`` where the model names none.

        Raises:
            ForwardError: The model raised.
            InferenceError: The device failed, or its memory is short.
        """
        self._check_open()
        with told(self._name):
            self._fill(inputs)
            if self._streams is not None:
                return self._query(self._streams)
            self._launch(seen=True)
            return to_arrays(name_outputs(self._result, self._names))

    def load(self, inputs: Arrays) -> None:
        """Puts inputs on the device, for ``compute_times_ms``."""
        self._check_open()
        with told(self._name):
            self._fill(inputs)
            if self._streams is not None:
                with self._streams.computing():
                    self._copy_to_device()
                    self._convert()
                self._streams.settle()

    def compute_times_ms(self, count: int) -> list[float]:
        """Time of each of ``count`` runs: CUDA events on a GPU, wall clock on the CPU, in ms."""
        self._check_open()
        self.enqueue_times_ms = []
        if self._streams is not None:
            with told(self._name), self._streams.computing():
                return self._timed(self._launch, count, self.enqueue_times_ms)
        times = []
        with told(self._name):
            for _ in range(count):
                start = time.perf_counter()
                self._launch()
                times.append((time.perf_counter() - start) * 1e3)
        return times

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies to the GPU and back, by CUDA events; none on the CPU."""
        self._check_open()
        if self._streams is None:
            return [], []
        with told(self._name), self._streams.computing():
            self._launch()
            results = list(name_outputs(self._result, self._names).values())
            hosts = [torch.empty_like(each, device="cpu").pin_memory() for each in results]

            def to_host() -> None:
                for host, result in zip(hosts, results, strict=True):
                    host.copy_(result, non_blocking=True)

            to_device = self._timed(self._copy_to_device, count, [])
            return to_device, self._timed(to_host, count, [])

    def close(self) -> None:
        """Frees graph and tensors."""
        self._graph = None
        self._result = None
        self._samples, self._inputs, self._pinned = [], [], []
        self._hosts = {}
        self._is_closed = True

    def _check_open(self) -> None:
        if self._is_closed:
            raise closed(self._name)

    def _timed(self, launch: Callable[[], None], count: int, enqueues: list[float]) -> list[float]:
        events = [
            tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            for _ in range(min(count, _WINDOW))
        ]
        times: list[float] = []
        while len(times) < count:
            window = events[: count - len(times)]
            for begin, end in window:
                begin.record()
                before = time.perf_counter()
                launch()
                enqueues.append((time.perf_counter() - before) * 1e3)
                end.record()
            torch.cuda.current_stream().synchronize()
            times.extend(begin.elapsed_time(end) for begin, end in window)
        return times

    def _query(self, streams: PyTorchStreams) -> dict[str, Array]:
        """Runs a query on what ``_fill`` put into pinned memory."""
        with streams.traffic.lock:
            to_device, to_host = streams.route()
            with torch.cuda.stream(to_device):
                self._copy_to_device()
            if to_device is not streams.compute:
                streams.compute.wait_event(to_device.record_event())
            with torch.cuda.stream(streams.compute):
                self._convert()
                self._launch(seen=True)
                # What there is to compute of it is on the compute stream, too.
                outputs = as_plain_floats(name_outputs(self._result, self._names))
            if to_host is not streams.compute:
                to_host.wait_event(streams.compute.record_event())
            with torch.cuda.stream(to_host):
                for name, output in outputs.items():
                    self._host(name, output).copy_(output, non_blocking=True)
            done = to_host.record_event()
            streams.traffic.submitted()
        try:
            # ``outputs`` lives until here: its memory must not go to another query before.
            done.synchronize()
        finally:
            streams.traffic.ended()
        arrays = {name: self._hosts[name].numpy().copy() for name in outputs}
        return ByPosition(arrays) if isinstance(outputs, ByPosition) else arrays

    def _host(self, name: str, output: torch.Tensor) -> torch.Tensor:
        """Pinned memory for an output, whose shape may depend on the data."""
        host = self._hosts.get(name)
        if host is None or host.shape != output.shape:
            host = torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
            self._hosts[name] = host
        return host

    def _fill(self, inputs: Arrays) -> None:
        """Puts inputs into pinned memory, or on a CPU where the model reads them."""
        check_given(self._names, inputs, self._name)
        for index, name in enumerate(self._names):
            # Copied on a CPU, too: a model may work in place, and others read the same arrays.
            given = inputs[name]
            if self._streams is None:
                # No address must stay, so neither need the shape.
                source = torch.from_numpy(np.array(given, order="C"))
                dtype = self._inputs[index].dtype
                self._inputs[index] = self._converters[index](source).to(dtype)
            else:
                # By one thread, as an engine's session: PyTorch shares out 32,768 numbers and more
                # among a thread a core, and on a host of 64 waits 6 ms for them.
                copy_into(self._pinned[index].numpy(), given, f"Input '{name}' of '{self._name}'")

    def _copy_to_device(self) -> None:
        for sample, pinned in zip(self._samples, self._pinned, strict=True):
            sample.copy_(pinned, non_blocking=True)

    def _convert(self) -> None:
        """Brings the samples into what the model reads."""
        reads = zip(self._samples, self._inputs, self._converters, strict=True)
        for sample, read, convert in reads:
            if read is not sample:
                read.copy_(convert(sample))

    def _launch(self, *, seen: bool = False) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        with self._arithmetic, torch.no_grad(), self._seen() if seen else contextlib.nullcontext():
            self._result = self._model(*self._inputs)

    def _seen(self) -> contextlib.AbstractContextManager[None]:
        return self._quantizers.seen() if self._quantizers else contextlib.nullcontext()

    def _capture(self, streams: PyTorchStreams) -> torch.cuda.CUDAGraph | None:
        """Captures the forward, warmed up as PyTorch's manual asks.

        On the compute stream itself: a capture of PyTorch's writes its random state before, by
        kernels, and the workspaces that cuBLAS gets belong to a stream. Graphs that are replayed
        on one stream may share them.
        """
        try:
            capturing = exits_told(f"'{self._name}'")
            with streams.computing(), self._arithmetic, torch.no_grad(), capturing:
                for _ in range(3):
                    self._model(*self._inputs)
                torch.cuda.current_stream().synchronize()
                graph = torch.cuda.CUDAGraph()
                # Around the capture, not in it: an error there would read as one of capturing.
                capture = torch.cuda.graph(
                    graph, stream=streams.compute, capture_error_mode="thread_local"
                )
                with self._seen(), capture:
                    self._result = self._model(*self._inputs)
        except (TrtqatError, torch.OutOfMemoryError):
            raise
        # A model that synchronises or branches on data cannot be captured: it runs eagerly.
        except Exception as error:
            torch.cuda.synchronize()
            _LOG.warning("No CUDA graph for '%s' (%s): eager.", self._name, first_line(error))
            return None
        return graph


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Turns what a model raises into a sentence with its name.

    Raises:
        InferenceError: The device failed, or its memory is short.
        SourceError: The model raised (``ForwardError``), or ended the program.
    """
    with needs_device_memory(f"A query of '{name}'"):
        try:
            with exits_told(f"'{name}'"):
                yield
        except (TrtqatError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            problem = f"'{name}' raised {type(error).__name__}: {_reason(error)}."
            if _OF_DEVICE.search(str(error)):
                raise InferenceError(problem, "Run nvidia-smi: is the GPU in order?") from error
            raise ForwardError(
                problem, "Check that it takes the same inputs as the graph, in the same order."
            ) from error


def _reason(error: Exception) -> str:
    """TorchScript's errors begin with a stack, and end with what went wrong."""
    if "TorchScript interpreter" in (first := first_line(error)):
        last = str(error).strip().splitlines()[-1]
        return last.removeprefix(f"{type(error).__name__}: ").rstrip(".")
    return first
