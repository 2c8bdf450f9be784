"""An engine bound to shapes, buffers and streams.

A session has fixed shapes and addresses, as a captured CUDA graph needs; another batch size is
another session, and so is another query in flight. Memory and streams come from cuda.core. The
kernels of all sessions run on one stream, one query behind the other (``streams``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from trtqat.checks import closed
from trtqat.errors import InferenceError, UsageError
from trtqat.host.tensorrt_log import Reasons
from trtqat.runtime.buffers import Buffer, fill
from trtqat.runtime.context_shapes import resolve_outputs, set_shapes
from trtqat.runtime.cuda_graph import capture
from trtqat.runtime.event_timer import EventTimer
from trtqat.runtime.held import Held
from trtqat.runtime.host_quantizer import HostQuantizer
from trtqat.runtime.streams import Route, own_streams, shared_streams
from trtqat.tensors import Array, Arrays, TensorSpec


class EngineSession(Held):
    """An engine's buffers and CUDA graph for one batch: one query at a time, of one thread.

    ``run`` takes a query from host memory to host memory. Several sessions may run at once, each
    on a thread of its own, or all on one thread by ``submit`` and ``collect``::

        for number, batch in enumerate(batches):
            session = sessions[number % len(sessions)]
            if session.is_pending:
                use(session.collect())
            batch.read_into(session.inputs["images"])
            session.submit()

    Attributes:
        context: TensorRT's ``IExecutionContext``, with its shapes set.
        device: The ``cuda.core.Device``.
        streams: Where its queries run.
        profile: The index of the engine's shape profile that it runs by.
        input_specs: Inputs with their final shapes, and the types that the engine reads.
        is_pending: Whether a query was submitted and not collected.
        mode: How queries are enqueued, in words.
        has_cuda_graph: Whether a CUDA graph was captured, or the library was told to do that.
        preparing_s: What setting the shapes and the first queries took, kernels compiled here too.
        enqueue_times_ms: Host time of each enqueue of the last ``compute_times_ms``.
    """

    def __init__(
        self,
        *,
        name: str,
        context: Any,  # noqa: ANN401
        device: Any,  # noqa: ANN401
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        reasons: Reasons,
        quantizers: Mapping[str, HostQuantizer],
        cuda_graph: bool,
        library_graph: bool = False,
        profile: int | None = None,
        own_stream: bool = False,
    ) -> None:
        """Allocates, enqueues once and captures.

        Args:
            name: Of the engine, for messages.
            context: An ``IExecutionContext`` of its own.
            device: A current ``cuda.core.Device``.
            inputs: Inputs with their final shapes.
            outputs: Outputs; their shapes follow from the inputs'.
            reasons: Why something fails, since just before the context was made.
            quantizers: Of the inputs that arrive as INT8 codes, for floats.
            cuda_graph: Whether to capture a CUDA graph.
            library_graph: Whether the context was made to capture and replay one itself.
            profile: The index of the shape profile; None for the only one, which a context has.
            own_stream: Whether its kernels have a stream of their own: ``Engine.session``.

        Raises:
            InferenceError: The profile or a shape is refused, an output's size depends on the
                data, or TensorRT's enqueue failed.
        """
        self._name, self.context = name, context
        # Looked up once: it stands in every enqueue.
        self._execute = context.execute_async_v3
        self.input_specs, self.device = tuple(inputs), device
        self._reasons, self._errors, self._quantizers = reasons, reasons.errors, quantizers
        self._has_own_stream = own_stream
        self.streams = own_streams(device) if own_stream else shared_streams(device)
        start = time.perf_counter()
        self.profile = profile or 0
        set_shapes(
            context,
            inputs,
            profile=profile,
            streams=self.streams,
            name=name,
            reasons=reasons,
        )
        self.preparing_s = time.perf_counter() - start
        stream = self.streams.compute
        resolved = resolve_outputs(context, outputs, name)
        # In the stream's order, so it would join what somebody captures on it.
        with self.streams.lock:
            self._inputs = {spec.name: Buffer(device, stream, spec) for spec in inputs}
            self._outputs = {spec.name: Buffer(device, stream, spec) for spec in resolved}
        for tensor_name, tensor in {**self._inputs, **self._outputs}.items():
            context.set_tensor_address(tensor_name, int(tensor.device.handle))
        self._views = MappingProxyType({name: each.host for name, each in self._inputs.items()})
        # The inputs were read by the copy; the kernels ran; the outputs are in host memory.
        self._copied, self._computed, self._done = (device.create_event() for _ in range(3))
        self.is_pending = self._is_set_up = False
        self._graph: Any = None
        start = time.perf_counter()
        # TensorRT wants one plain enqueue after a change of shape before a capture.
        self.enqueue()
        self._is_set_up = True
        if library_graph:
            # The library captures once the kernels of this shape are there: the first query waits
            # for these, and no query that is timed shall be the one that is captured.
            self.enqueue()
        self.preparing_s += time.perf_counter() - start
        if cuda_graph:
            self._graph = capture(device, self.streams, self._enqueue, name)
        self.has_cuda_graph = library_graph or self._graph is not None
        of_library = " of TensorRT for RTX" if library_graph else ""
        self.mode = f"CUDA graph{of_library}" if self.has_cuda_graph else "plain enqueue"
        self._timer = EventTimer(device, self.streams)
        self.enqueue_times_ms: list[float] = []

    @property
    def inputs(self) -> Mapping[str, Array]:
        """The pinned memory that queries are copied from: arrays to be filled, by input name.

        They have the session's shapes, and the types that the engine reads: INT8 codes where it
        takes codes. ``run()`` and ``submit()`` take what is there, and copy nothing on the host.

        Where a query is in flight, this waits until the GPU has read them. So ask anew before each
        query: an array from before does not wait.
        """
        self._check_open()
        if self.is_pending:
            self._copied.sync()
        return self._views

    def run(self, inputs: Arrays | None = None) -> dict[str, Array]:
        """Runs one batch: pinned host memory → device → compute → pinned host memory.

        Args:
            inputs: Arrays of the session's shapes by input name, which are copied into pinned
                memory; None takes what ``self.inputs`` was filled with.

        Returns:
            Arrays by output name, copies of their own.

        Raises:
            UsageError: A query was submitted and not collected, or an input is missing, has another
                shape or kind of numbers, or holds one that does not fit.
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_idle()
        if inputs is not None:
            self._fill(inputs)
        self._submit(marks_copy=False)
        return self.collect()

    def submit(self) -> None:
        """Enqueues a query on what ``self.inputs`` was filled with, and does not wait for it.

        Raises:
            UsageError: The one before was not collected.
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_idle()
        self._submit(marks_copy=True)

    def collect(self) -> dict[str, Array]:
        """Waits for the query that was submitted.

        Returns:
            Arrays by output name, copies of their own.

        Raises:
            UsageError: None was.
        """
        self._check_open()
        if not self.is_pending:
            raise UsageError(f"No query of '{self._name}' is in flight.", "Submit one first.")
        self._wait()
        return {name: each.host.copy() for name, each in self._outputs.items()}

    def load(self, inputs: Arrays) -> None:
        """Puts inputs on the device, for ``compute_times_ms``.

        Raises:
            UsageError: As ``run``.
        """
        self._check_idle()
        self._fill(inputs)
        with self.streams.lock:
            self.copy_inputs(self.streams.compute)
        self.streams.settle()

    def compute_times_ms(self, count: int) -> list[float]:
        """GPU time of each of ``count`` queries on the loaded inputs, by CUDA events, in ms.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_idle()
        self.enqueue_times_ms = []
        return self._timer.times_ms(self.launch, count, self.enqueue_times_ms)

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies of all inputs to the GPU, and of all outputs back, in ms.

        Pinned memory on the host, by CUDA events; trtexec's H2D and D2H latency.
        """
        self._check_idle()
        stream = self.streams.compute
        copies = (lambda: self.copy_inputs(stream), lambda: self.copy_outputs(stream))
        to_device, to_host = (self._timer.times_ms(copy, count, []) for copy in copies)
        return to_device, to_host

    def attach_profiler(self, profiler: Any) -> None:  # noqa: ANN401
        """Lets every later ``enqueue`` report the time of each layer to an ``IProfiler``."""
        self.context.profiler = profiler

    def enqueue(self) -> None:
        """Runs one query on the loaded inputs, without a graph of the session's own, and waits.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_idle()
        with self.streams.lock:
            self._enqueue(self.streams.address)
        self.streams.settle()

    def copy_inputs(self, stream: Any) -> None:  # noqa: ANN401
        """Copies the loaded inputs from pinned memory to the GPU, on a ``cuda.core.Stream``."""
        for tensor in self._inputs.values():
            tensor.device.copy_from(tensor.pinned, stream=stream)

    def launch(self, stream: Any = None) -> None:  # noqa: ANN401
        """Launches one query: the CUDA graph, or a plain enqueue.

        Args:
            stream: A ``cuda.core.Stream``; None takes the compute stream that sessions share.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        if self._graph is not None:
            self._graph.launch(self.streams.compute if stream is None else stream)
        else:
            self._enqueue(self.streams.address if stream is None else int(stream.handle))

    def copy_outputs(self, stream: Any) -> None:  # noqa: ANN401
        """Copies all outputs back into pinned memory, on a stream."""
        for tensor in self._outputs.values():
            tensor.device.copy_to(tensor.pinned, stream=stream)

    def close(self) -> None:
        """Frees graph, buffers and context; a second call does nothing.

        What a caller holds of ``inputs`` stays valid memory, which nobody reads any more.
        """
        if self.context is None:
            return
        if self.is_pending:
            self._wait()
        self.streams.settle()
        if self._graph is not None:
            self._graph.close()
        self._views = MappingProxyType({})
        with self.streams.lock:
            for tensor in [*self._inputs.values(), *self._outputs.values()]:
                tensor.close(self.streams.compute)
        self.streams.settle()
        self._timer.close()
        self._execute = self.context = None
        if self._has_own_stream:
            self.streams.compute.close()

    def _check_open(self) -> None:
        if self.context is None:
            raise closed(self._name)

    def _check_idle(self) -> None:
        self._check_open()
        if self.is_pending:
            raise UsageError(f"A query of '{self._name}' is in flight.", "Collect it first.")

    def _submit(self, *, marks_copy: bool) -> None:
        """Enqueues a query; unless it is marked, nobody may ask for ``inputs`` before its end."""
        # CUDA's current device belongs to a thread, and each query in flight may have its own.
        self.device.set_current()
        with self.streams.lock:
            route = self.streams.route()
            try:
                self._enqueue_query(route, marks_copy=marks_copy)
            except BaseException:
                # The copy of the inputs may be on its way, and a caller may fill them again.
                route.to_device.record(self._copied)
                self._copied.sync()
                raise
            self.streams.traffic.submitted()
        self.is_pending = True

    def _enqueue_query(self, route: Route, *, marks_copy: bool) -> None:
        is_parted = route.to_device is not route.compute
        self.copy_inputs(route.to_device)
        if is_parted or marks_copy:
            route.to_device.record(self._copied)
        if is_parted:
            route.compute.wait(self._copied)
        self.launch()
        if is_parted:
            route.compute.record(self._computed)
            route.to_host.wait(self._computed)
        self.copy_outputs(route.to_host)
        route.to_host.record(self._done)

    def _wait(self) -> None:
        """Waits for the query in flight, whatever it ends with."""
        try:
            self._done.sync()
        finally:
            self.is_pending = False
            self.streams.traffic.ended()

    def _fill(self, inputs: Arrays) -> None:
        """Copies inputs into pinned memory, floats as codes where the engine takes these."""
        fill(self.inputs, inputs, self._quantizers, self._name)

    def _enqueue(self, address: int) -> None:
        # A context that TensorRT could not set up fails here, with False, not before.
        before = len(self._errors) if self._is_set_up else 0
        if not self._execute(address):
            raise InferenceError(
                f"TensorRT could not enqueue '{self._name}': {self._reasons.reason(before)}.",
                "If the message names cuBLAS or cuDNN, install them or build with "
                "--tactic-sources -cublas,-cublas-lt,-cudnn.",
            )
