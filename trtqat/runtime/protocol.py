"""What the evaluation asks of a runtime.

``runtime.engine.Engine``, ``runtime.onnx_model.OnnxModel`` and
``runtime.pytorch.PyTorchModel`` fit; so does any class with these members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from trtqat.tensors import Array, Arrays, TensorSpec


class Session(Protocol):
    """A model bound to one batch size: one query at a time, from one thread at a time.

    Several sessions of a model may run at once where its device is a GPU.

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

    An engine or a graph also has ``io``, the ``IoNames`` of its inputs and outputs. What has none
    is taken to declare its outputs in the order of the exported model.

    Attributes:
        name: For reports.
        device: Where it runs.
        inputs: Inputs; the first dimension of each is the batch.
        outputs: Outputs in the order of the exported model, the first of which holds the logits of
            a classifier; empty if they are not known before it runs.
        batch_range: Smallest and largest batch size; no upper limit if that is None.
        size_bytes: What holds its weights: plan, file, or parameters in memory.
    """

    name: str
    device: Literal["cpu", "cuda"]
    size_bytes: int

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...  # noqa: D102

    @property
    def batch_range(self) -> tuple[int, int | None]: ...  # noqa: D102

    def session(self, batch_size: int) -> Session:
        """Binds the model to a batch size within its range."""

    def close(self) -> None:
        """Frees the model."""
