"""An engine bound to shapes, buffers and a stream.

A session has fixed shapes and fixed addresses, which is what a captured CUDA graph needs;
another batch size is another session, and so is another query in flight. Memory and streams come
from cuda.core, and TensorRT enqueues into them.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from trtqat.checks import closed
from trtqat.errors import InferenceError
from trtqat.host.tensorrt_log import Messages
from trtqat.runtime.held import Held
from trtqat.runtime.host_quantizer import HostQuantizer
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec

_LOG = logging.getLogger(__name__)

# Queries between two synchronisations while timing: the GPU never waits for the host's
# launch of the next query, and events are created once.
_WINDOW = 32


class EngineSession(Held):
    """An engine's buffers, stream and CUDA graph for one batch: one query at a time.

    Attributes:
        context: TensorRT's ``IExecutionContext``, with its shapes set.
        device: The ``cuda.core.Device``.
        profile: The index of the engine's shape profile that it runs by.
        inputs: Inputs with their final shapes.
        mode: How queries are enqueued, in words.
        has_cuda_graph: Whether a CUDA graph was captured, or the library was told to do that.
        preparing_s: What setting the shapes and the first queries took, in s: where kernels are
            compiled on this host, it is then.
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
        messages: Messages,
        quantizers: Mapping[str, HostQuantizer],
        cuda_graph: bool,
        library_graph: bool = False,
        profile: int | None = None,
    ) -> None:
        """Allocates, enqueues once and captures.

        Args:
            name: Of the engine, for messages.
            context: An ``IExecutionContext`` of its own.
            device: A current ``cuda.core.Device``.
            inputs: Inputs with their final shapes.
            outputs: Outputs; their shapes follow from the inputs'.
            messages: What TensorRT's logger collected.
            quantizers: Of the inputs that arrive as INT8 codes, for floats.
            cuda_graph: Whether to capture a CUDA graph.
            library_graph: Whether the context was made to capture and replay one itself.
            profile: The index of the shape profile; None for the only one, which a context has.

        Raises:
            InferenceError: The profile or a shape is refused, an output's size depends on the
                data, or TensorRT's enqueue failed.
        """
        self._name = name
        self.context = context
        self.inputs = tuple(inputs)
        self.device = device
        self._messages = messages
        self._quantizers = quantizers
        self._stream = device.create_stream()
        start = time.perf_counter()
        self.profile = profile or 0
        if profile is not None:
            self._set_profile(context, profile)
        for spec in inputs:
            if not context.set_input_shape(spec.name, spec.shape):
                raise InferenceError(
                    f"TensorRT refuses the shape {spec.shape} for input '{spec.name}' of "
                    f"'{name}': {messages.reason()}.",
                    "Build the engine for that shape.",
                )
        self.preparing_s = time.perf_counter() - start
        self._inputs = {spec.name: _Tensor(device, self._stream, spec) for spec in inputs}
        self._outputs = {}
        for spec in outputs:
            shape = tuple(context.get_tensor_shape(spec.name))
            if DYNAMIC in shape:
                raise InferenceError(
                    f"The size of output '{spec.name}' of '{name}' depends on the data {shape}.",
                    "Export the model without that operation, and do it after the engine.",
                )
            resolved = TensorSpec(spec.name, shape, spec.dtype)
            self._outputs[spec.name] = _Tensor(device, self._stream, resolved)
        for tensor_name, tensor in {**self._inputs, **self._outputs}.items():
            context.set_tensor_address(tensor_name, int(tensor.device.handle))
        self._graph: Any = None
        start = time.perf_counter()
        # TensorRT wants one plain enqueue after a change of shape before a capture.
        self.enqueue()
        if library_graph:
            # The library captures once the kernels of this shape are there: the first query waits
            # for these, and no query that is timed shall be the one that is captured.
            self.enqueue()
        self.preparing_s += time.perf_counter() - start
        if cuda_graph:
            self._graph = self._capture()
        self.has_cuda_graph = library_graph or self._graph is not None
        self.mode = "CUDA graph" if self.has_cuda_graph else "plain enqueue"
        if library_graph:
            self.mode = "CUDA graph of TensorRT for RTX"
        self._events: list[tuple[Any, Any]] = []
        self.enqueue_times_ms: list[float] = []

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Runs one batch: pinned host memory → device → compute → pinned host memory.

        Args:
            inputs: Arrays of the session's shapes by input name.

        Returns:
            Arrays by output name, copies of their own.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_open()
        # CUDA's current device belongs to a thread, and each query in flight has one of its own.
        self.device.set_current()
        self._copy_in(inputs)
        self._launch()
        self._copy_out()
        self._stream.sync()
        return {name: tensor.host.copy() for name, tensor in self._outputs.items()}

    def load(self, inputs: Arrays) -> None:
        """Puts inputs on the device, for ``compute_times_ms``."""
        self._check_open()
        self._copy_in(inputs)
        self._stream.sync()

    def compute_times_ms(self, count: int) -> list[float]:
        """GPU time of each of ``count`` queries on the loaded inputs, by CUDA events, in ms.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_open()
        self.enqueue_times_ms = []
        return self._timed(self._launch, count, self.enqueue_times_ms)

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies of all inputs to the GPU, and of all outputs back, in ms.

        Pinned memory on the host, by CUDA events; trtexec's H2D and D2H latency.
        """
        self._check_open()
        return self._timed(self._copy_to_device, count, []), self._timed(self._copy_out, count, [])

    def attach_profiler(self, profiler: Any) -> None:  # noqa: ANN401
        """Lets every later ``enqueue`` report the time of each layer to an ``IProfiler``."""
        self.context.profiler = profiler

    def enqueue(self) -> None:
        """Runs one query on the loaded inputs, without a graph of the session's own, and waits.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        self._check_open()
        self._enqueue()
        self._stream.sync()

    def copy_inputs(self, stream: Any) -> None:  # noqa: ANN401
        """Copies the loaded inputs from pinned memory to the GPU, on a ``cuda.core.Stream``."""
        for tensor in self._inputs.values():
            tensor.device.copy_from(tensor.pinned, stream=stream)

    def launch(self, stream: Any) -> None:  # noqa: ANN401
        """Launches one query on a stream: the CUDA graph, or a plain enqueue.

        Raises:
            InferenceError: TensorRT's enqueue failed.
        """
        if self._graph is not None:
            self._graph.launch(stream)
        else:
            self._enqueue(stream)

    def copy_outputs(self, stream: Any) -> None:  # noqa: ANN401
        """Copies all outputs back into pinned memory, on a stream."""
        for tensor in self._outputs.values():
            tensor.device.copy_to(tensor.pinned, stream=stream)

    def close(self) -> None:
        """Frees graph, buffers, context and stream; a second call does nothing."""
        if self.context is None:
            return
        self._stream.sync()
        if self._graph is not None:
            self._graph.close()
        for tensor in [*self._inputs.values(), *self._outputs.values()]:
            tensor.close(self._stream)
        self._stream.sync()
        self._events.clear()
        self.context = None
        self._stream.close()

    def _set_profile(self, context: Any, profile: int) -> None:  # noqa: ANN401
        """Makes a context run by a profile; shapes are set after it."""
        if not context.set_optimization_profile_async(profile, int(self._stream.handle)):
            raise InferenceError(
                f"TensorRT refuses profile {profile} of '{self._name}': {self._messages.reason()}.",
                "Close other sessions of that profile, or build the engine with trtqat build, "
                "whose profiles several sessions share.",
            )
        # It may copy on the stream, and what follows is not all on that stream.
        self._stream.sync()

    def _check_open(self) -> None:
        if self.context is None:
            raise closed(self._name)

    def _timed(self, launch: Callable[[], None], count: int, enqueues: list[float]) -> list[float]:
        """Times of ``count`` launches between two events each; host times go to ``enqueues``."""
        if not self._events:
            self._events = [(self._make_event(), self._make_event()) for _ in range(_WINDOW)]
        times: list[float] = []
        while len(times) < count:
            window = self._events[: count - len(times)]
            for start, end in window:
                self._stream.record(start)
                before = time.perf_counter()
                launch()
                enqueues.append((time.perf_counter() - before) * 1e3)
                self._stream.record(end)
            self._stream.sync()
            times.extend(float(end - start) for start, end in window)
        return times

    def _copy_in(self, inputs: Arrays) -> None:
        for name, tensor in self._inputs.items():
            quantizer = self._quantizers.get(name)
            if quantizer is not None and np.issubdtype(inputs[name].dtype, np.floating):
                quantizer(inputs[name], tensor.host)
            else:
                np.copyto(tensor.host, inputs[name], casting="same_kind")
        self._copy_to_device()

    def _copy_to_device(self) -> None:
        self.copy_inputs(self._stream)

    def _copy_out(self) -> None:
        self.copy_outputs(self._stream)

    def _launch(self) -> None:
        self.launch(self._stream)

    def _enqueue(self, stream: Any = None) -> None:  # noqa: ANN401
        # A context that TensorRT could not set up fails here, with False, not before.
        if not self.context.execute_async_v3(int((stream or self._stream).handle)):
            raise InferenceError(
                f"TensorRT could not enqueue '{self._name}': {self._messages.reason()}.",
                "If the message names cuBLAS or cuDNN, install them or build with "
                "--tactic-sources -cublas,-cublas-lt,-cudnn.",
            )

    def _capture(self) -> Any:  # noqa: ANN401
        """Captures the enqueue; None, with a note, where TensorRT or CUDA refuses."""
        builder = self._stream.create_graph_builder()
        try:
            builder.begin_building(mode="thread_local")
            try:
                self._enqueue()
            finally:
                builder.end_building()
            graph = builder.complete()
        # Whatever a capture fails with, plain enqueue still works.
        except Exception as error:
            _LOG.warning("No CUDA graph for '%s' (%s): plain enqueue.", self._name, error)
            return None
        finally:
            builder.close()
        graph.upload(self._stream)
        self._stream.sync()
        return graph

    def _make_event(self) -> Any:  # noqa: ANN401
        from cuda.core import EventOptions

        return self.device.create_event(EventOptions(timing_enabled=True))


class _Tensor:
    """A device buffer, a pinned host buffer of the same size, and the latter as an array."""

    def __init__(self, device: Any, stream: Any, spec: TensorSpec) -> None:  # noqa: ANN401
        from cuda.core import LegacyPinnedMemoryResource

        dtype = np.dtype(spec.dtype)
        # An empty tensor still needs an address.
        size = max(1, math.prod(spec.shape) * dtype.itemsize)
        self.device = device.allocate(size, stream=stream)
        self.pinned = LegacyPinnedMemoryResource().allocate(size)
        # Not through DLPack: NumPy makes such an array read-only.
        memory = memoryview((ctypes.c_ubyte * size).from_address(int(self.pinned.handle)))
        self.host: Array = np.frombuffer(memory, dtype, math.prod(spec.shape)).reshape(spec.shape)

    def close(self, stream: Any) -> None:  # noqa: ANN401
        del self.host
        self.device.close(stream)
        self.pinned.close()
