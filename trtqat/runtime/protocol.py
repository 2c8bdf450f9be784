"""What the evaluation asks of a runtime.

``runtime.engine.Engine``, ``runtime.onnx_model.OnnxModel`` and
``runtime.pytorch.PyTorchModel`` fit; so does any class with these members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from trtqat.io_names import IoNames
from trtqat.tensors import Array, Arrays, TensorSpec

if TYPE_CHECKING:
    from trtqat.runtime.engine import Engine


class Session(Protocol):
    """A model bound to one batch size: one query at a time, from one thread at a time.

    Several sessions of a model may run at once where its device is a GPU: while the kernels of one
    query run, the inputs of others are copied. Each has buffers of its own, so several sessions are
    what several buffers would be: the next query is prepared in one that no copy reads.

    A session of an engine hands its buffers out, too: ``EngineSession.inputs`` is pinned memory
    that a caller fills, and waits until nothing reads it. ONNX Runtime reads a caller's arrays
    where they are, and PyTorch is measured with the copy that its users make.

    Attributes:
        mode: How a query runs and is timed, in words.
        enqueue_times_ms: Host time of each launch of the last ``compute_times_ms``; empty where
            nothing is launched ahead of its result.
    """

    mode: str

    @property
    def enqueue_times_ms(self) -> Sequence[float]: ...  # noqa: D102

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """One query from host memory to host memory, synchronised; inputs ``(N, …)`` by name.

        Returns:
            Outputs by name, in any order; ``ByPosition`` where the model names none.
        """

    def load(self, inputs: Arrays) -> None:
        """Puts inputs where ``compute_times_ms`` finds them."""

    def compute_times_ms(self, count: int) -> list[float]:
        """Compute time of each of ``count`` queries on the loaded inputs, in ms.

        On a GPU by CUDA events, without transfers; on a CPU by the wall clock.
        """

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies of all inputs to the device, and of all outputs back, in ms.

        By CUDA events; two empty lists where nothing is copied.
        """

    def close(self) -> None:
        """Frees what the session holds."""


class Model(Protocol):
    """An engine, a graph or a PyTorch model.

    Attributes:
        name: For reports.
        path: The file that it was opened from; None if there is none.
        device: Where it runs.
        size_bytes: What holds its weights: plan, file, or parameters in memory.
        inputs: Inputs; the first dimension of each is the batch.
        session_inputs: The same as its sessions take them: open dimensions but the first are those
            that an engine was tuned for.
        outputs: Outputs in the order of the exported model, the first of which holds the logits of
            a classifier; empty if they are not known before it runs.
        io: The names of both, and whether their order is known; None for what declares its outputs
            in the order of the exported model.
        batch_range: Smallest and largest batch size; no upper limit if that is None.
        runs_concurrently: Whether several sessions gain by running at once; one query keeps a CPU
            busy.
        quantizers: Dotted names of the PyTorch quantizers that its Q/DQ pairs were made of, as far
            as the export recorded them: those that the model it was exported from has.
        engine: The engine, for what knows engines alone: inspection, building, trtexec's loop.
            None for anything else.
        reopen: What opens the same model once more, in another process, too: it can be pickled.
            None for what is in memory alone.
    """

    name: str
    device: Literal["cpu", "cuda"]
    size_bytes: int

    @property
    def path(self) -> Path | None: ...  # noqa: D102

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    @property
    def session_inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    @property
    def io(self) -> IoNames | None: ...  # noqa: D102

    @property
    def batch_range(self) -> tuple[int, int | None]: ...  # noqa: D102

    @property
    def runs_concurrently(self) -> bool: ...  # noqa: D102

    @property
    def quantizers(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def engine(self) -> Engine | None: ...  # noqa: D102

    @property
    def reopen(self) -> Callable[[], Model] | None: ...  # noqa: D102

    def source_graph(self, given: Path | None = None) -> Path:
        """The ONNX file that it was built from, or is.

        Args:
            given: What the user says that it is; else it must lie beside the model.

        Raises:
            UsageError: It is not there, or what was given is another one.
        """

    def session(self, batch_size: int) -> Session:
        """Binds the model to a batch size within its range.

        On a GPU the kernels of all sessions of the process run on one stream.
        """

    def session_on_own_stream(self, batch_size: int) -> Session:
        """The same, but its kernels run beside those of other sessions, instead of behind them.

        That gains where kernels do not fill the GPU. On a CPU it is a session as any other.
        """

    def close(self) -> None:
        """Frees the model."""


class ObservableModel(Model, Protocol):
    """A model whose quantizers can be looked at, as those of a PyTorch model."""

    def observe(
        self, inputs: Arrays, quantizers: Iterable[str]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Runs one batch, and keeps what some of the model's quantizers return.

        Args:
            inputs: Arrays ``(N, …)`` by input name.
            quantizers: Their dotted names; what is no quantizer is passed over.

        Returns:
            The outputs by name, as a session's, and by theirs the quantizers'.
        """
