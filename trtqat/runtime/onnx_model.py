"""ONNX Runtime: on the CPU the reference for every graph, on a GPU a baseline alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trtqat.checks import closed
from trtqat.errors import GraphError, InferenceError, UsageError, first_line
from trtqat.extras import require
from trtqat.files import is_file
from trtqat.io_names import in_order, names_of_graph
from trtqat.pixels import with_pixels
from trtqat.provenance import METADATA_KEY, read_provenance
from trtqat.runtime.graph_inputs import Feeder, feed, make_feeders
from trtqat.runtime.held import Held
from trtqat.runtime.input_codes import input_scales, quantize_inputs, with_float_inputs
from trtqat.runtime.onnx_opening import open_session
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec, io_in_words

if TYPE_CHECKING:
    from trtqat.graph_file.serialized import Serialized
    from trtqat.runtime.protocol import Model

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


class OnnxModel(Held):
    """An ONNX graph loaded into ONNX Runtime.

    Attributes:
        name: For reports.
        path: Its file; None for a serialized model.
        device: ``"cpu"``, or ``"cuda"`` where that was asked for.
        runs_concurrently: Never: one query keeps the CPU busy.
        engine: None.
        inputs: The graph's inputs; those that arrive as INT8 codes as the floats that a session
            quantizes, and bytes of images as a ``PixelSpec``.
        outputs: The graph's outputs, like the inputs in the order of the exported model.
        io: Their names.
        batch_range: Smallest and largest batch, equal if it is fixed; None as the upper end
            if it is open.
        size_bytes: Of the graph.
        quantizers: Dotted names of the PyTorch quantizers that its Q/DQ pairs were made of, as
            far as the export recorded them.
    """

    runs_concurrently = False
    engine: None = None
    # What is timed on a GPU, by events, is timed in another process: this is by the wall clock.
    reopen: None = None

    def __init__(
        self,
        graph: Path | str | Serialized,
        *,
        as_written: bool = False,
        name: str | None = None,
        device: Literal["cpu", "cuda"] = "cpu",
    ) -> None:
        """Loads a graph.

        Args:
            graph: A file, which is checked (``graph_file.border``) where onnx is installed; or a
                serialized model of ours, which is not.
            as_written: Switches ONNX Runtime's own rewriting off. It fuses Q/DQ into
                integer kernels, which round otherwise than the float model under test.
            name: For reports; None takes the file's.
            device: Whether the CPU runs it, or CUDA, without TF32. What CUDA has no kernel for
                runs on the CPU then. This was never run on a GPU.

        Raises:
            GraphError: It is no ONNX file, damaged, or ONNX Runtime does not accept it.
            MissingError: ONNX Runtime is not installed, or has no CUDA provider that works here.
        """
        runtime = require("onnxruntime", extra="onnxruntime", purpose="Running a graph on the CPU")
        graph = Path(graph) if isinstance(graph, str) else graph
        self.path = graph if isinstance(graph, Path) else None
        file_name = graph.name if isinstance(graph, Path) else "graph"
        self.name = name or file_name
        if isinstance(graph, Path) and not is_file(graph):
            raise GraphError(f"There is no ONNX file '{graph}'.", "Check the path.")
        self._session: Any = open_session(
            runtime, graph, file_name, as_written=as_written, device=device
        )
        self.device: Literal["cpu", "cuda"] = device
        self._feeders: dict[str, Feeder] | None = None
        self.size_bytes = _size_of(graph)
        metadata = self._session.get_modelmeta().custom_metadata_map
        recorded = read_provenance(metadata.get(METADATA_KEY, "{}"))
        specs = [_spec(argument) for argument in self._session.get_inputs()]
        self._scales = input_scales(specs, recorded)
        self.quantizers = recorded.quantizers or ()
        outputs = [_spec(argument) for argument in self._session.get_outputs()]
        self.io = names_of_graph(
            [spec.name for spec in specs], [spec.name for spec in outputs], recorded.io_names
        )
        described = with_pixels(with_float_inputs(specs, self._scales), recorded.pixels)
        self.inputs = in_order(described, self.io.inputs)
        self.outputs = in_order(outputs, self.io.outputs)
        batches = {spec.shape[0] for spec in self.inputs if spec.shape}
        fixed = max(batches, default=1)
        self.batch_range: tuple[int, int | None] = (
            (1, None) if DYNAMIC in batches else (fixed, fixed)
        )

    def __repr__(self) -> str:
        return f"OnnxModel({self.name!r}, {io_in_words(self.inputs, self.outputs)})"

    @property
    def session_inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs: ONNX Runtime takes any shape that it allows."""
        return self.inputs

    def source_graph(self, given: Path | None = None) -> Path:
        """The file of the graph itself.

        Args:
            given: Nothing may be given.

        Raises:
            UsageError: Another graph is given, or this one is in no file.
        """
        if given is not None:
            raise UsageError(
                f"'{self.path or self.name}' is a graph itself; --graph is for engines.",
                "Leave out --graph.",
            )
        if self.path is None:
            raise UsageError(f"'{self.name}' is in no file.", "Write it to one, and open that.")
        return self.path

    def session(self, batch_size: int) -> OnnxSession:
        """Binds the graph to one batch size: a session runs one query at a time.

        Raises:
            UsageError: The model is closed.
        """
        if self._session is None:
            raise closed(self.name, "model")
        del batch_size  # ONNX Runtime takes any shape that the graph allows.
        return OnnxSession(self._session, self.name, self._scales, self.device, self._feeders)

    def take_inputs_of(self, other: Model) -> None:
        """Lets its sessions take the arrays that another model takes.

        Args:
            other: The model whose baseline this is.

        Raises:
            GraphError: The two do not take the same inputs.
        """
        self._feeders = make_feeders(self.inputs, other.inputs, graph=self.name, other=other.name)

    def session_on_own_stream(self, batch_size: int) -> OnnxSession:
        """A session as any other: a CPU has no streams."""
        return self.session(batch_size)

    def close(self) -> None:
        """Frees the session."""
        self._session = None


def _size_of(graph: Path | Serialized) -> int:
    if isinstance(graph, Path):
        return graph.stat().st_size
    return len(graph) if isinstance(graph, bytes) else len(graph.content)


class OnnxSession(Held):
    """Runs a graph, one query at a time, and times it by the wall clock."""

    enqueue_times_ms: tuple[float, ...] = ()

    def __init__(
        self,
        session: Any,  # noqa: ANN401
        name: str,
        scales: Mapping[str, float],
        device: Literal["cpu", "cuda"] = "cpu",
        feeders: Mapping[str, Feeder] | None = None,
    ) -> None:
        self._session: Any = session
        self._name = name
        self._scales = scales
        self._feeders = feeders
        self.mode = f"ONNX Runtime, {device.upper()}, wall clock"
        self._loaded: dict[str, Array] = {}

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Runs one batch.

        Args:
            inputs: Arrays of shape ``(N, …)`` by input name.

        Returns:
            Arrays by output name.

        Raises:
            InferenceError: ONNX Runtime failed.
            DataError: A number does not fit an input that is narrower than another model's.
            UsageError: The session is closed.
        """
        session, fed = self._open(), self._fed(inputs)
        results = self._compute(session, fed)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, map(np.asarray, results), strict=True))

    def load(self, inputs: Arrays) -> None:
        """Keeps the inputs that ``compute_times_ms`` runs on."""
        self._open()
        self._loaded = self._fed(inputs)

    def compute_times_ms(self, count: int) -> list[float]:
        """Wall-clock time of each of ``count`` runs on the loaded inputs, in ms.

        Raises:
            InferenceError: ONNX Runtime failed.
            UsageError: The session is closed.
        """
        session, times = self._open(), []
        for _ in range(count):
            start = time.perf_counter()
            self._compute(session, self._loaded)
            times.append((time.perf_counter() - start) * 1e3)
        return times

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """None: inputs and outputs stay in host memory."""
        del count
        self._open()
        return [], []

    def close(self) -> None:
        """Lets go of the graph, which owns the memory."""
        self._session = None
        self._loaded = {}

    def _fed(self, inputs: Arrays) -> dict[str, Array]:
        taken = inputs if self._feeders is None else feed(inputs, self._feeders)
        return quantize_inputs(taken, self._scales)

    def _compute(self, session: Any, fed: Arrays) -> list[Any]:  # noqa: ANN401
        try:
            results: list[Any] = session.run(None, fed)
        except Exception as error:
            raise InferenceError(
                f"ONNX Runtime failed on '{self._name}': {first_line(error)}.",
                "Check the shapes and dtypes of the inputs.",
            ) from error
        return results

    def _open(self) -> Any:  # noqa: ANN401
        if self._session is None:
            raise closed(self._name)
        return self._session


def _spec(argument: Any) -> TensorSpec:  # noqa: ANN401
    shape = tuple(dim if isinstance(dim, int) else DYNAMIC for dim in argument.shape)
    return TensorSpec(argument.name, shape, _DTYPES.get(argument.type, argument.type))
