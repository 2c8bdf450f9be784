"""The baseline: the PyTorch model itself, on the CPU or the first GPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from trtqat.errors import InferenceError, MissingError, SourceError, TrtqatError, first_line
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec

_LOG = logging.getLogger(__name__)

Precision = Literal["fp32", "fp16"]

# As in runtime/session.py: queries between two synchronisations.
_WINDOW = 32


class PyTorchModel:
    """A module as a baseline.

    FP32 means IEEE FP32: TF32 is switched off for matrix products and convolutions. FP16
    means ``.half()`` and channels-last memory, what a user would reach for first. Both let
    cuDNN time its algorithms (``cudnn.benchmark``), as TensorRT does while it builds.

    Attributes:
        name: For reports.
        device: ``"cpu"`` or ``"cuda"``.
        inputs: Inputs as the compared engine or graph has them.
        outputs: Not known before the model runs: empty.
        batch_range: Any.
    """

    outputs: tuple[TensorSpec, ...] = ()
    batch_range: tuple[int, int | None] = (1, None)

    def __init__(
        self,
        model: torch.nn.Module,
        inputs: Sequence[TensorSpec],
        *,
        device: Literal["cpu", "cuda"],
        name: str = "PyTorch",
        precision: Precision = "fp32",
        cuda_graph: bool = True,
    ) -> None:
        """Moves the model to its device.

        Args:
            model: Put into eval mode; moved, and converted for fp16.
            inputs: Inputs in the order of the model's forward.
            device: Where it runs.
            name: For reports.
            precision: Of weights and arithmetic.
            cuda_graph: Whether to capture a CUDA graph, as for an engine, where that works.

        Raises:
            MissingError: fp16 was asked for on the CPU.
        """
        if precision == "fp16" and device == "cpu":
            raise MissingError(
                "An FP16 baseline needs a GPU.", "Use --baseline-precision fp32 on the CPU."
            )
        self.name = f"{name} {precision.upper()}"
        self.device = device
        self.inputs = tuple(inputs)
        self._cuda_graph = cuda_graph and device == "cuda"
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._model = model.eval().to(device)
        if precision == "fp16":
            # Module.to takes it, the type stubs do not know.
            self._model = self._model.half().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if device == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = False
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cudnn.benchmark = True

    def session(self, batch_size: int) -> PyTorchSession:
        """A session for one batch size; see ``evaluation.protocol.Session``."""
        samples = [
            torch.zeros(
                (batch_size, *(1 if dim == DYNAMIC else dim for dim in spec.shape[1:])),
                dtype=self._convert(spec),
                device=self.device,
            )
            for spec in self.inputs
        ]
        return PyTorchSession(self._model, self.inputs, samples, cuda_graph=self._cuda_graph)

    def close(self) -> None:
        """Frees the GPU memory that PyTorch caches."""
        if self.device == "cuda":
            self._model.cpu()
            torch.cuda.empty_cache()

    def _convert(self, spec: TensorSpec) -> torch.dtype:
        dtype = torch.from_numpy(np.zeros((), spec.dtype)).dtype
        return self._dtype if dtype.is_floating_point else dtype


class PyTorchSession:
    """Runs the model on fixed input tensors; see ``evaluation.protocol.Session``."""

    def __init__(
        self,
        model: torch.nn.Module,
        specs: Sequence[TensorSpec],
        inputs: list[torch.Tensor],
        *,
        cuda_graph: bool,
    ) -> None:
        self._model = model
        self._names = [spec.name for spec in specs]
        self._inputs = inputs
        self._on_gpu = inputs[0].is_cuda
        self._result: Any = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self.enqueue_times_ms: list[float] = []
        self.mode = "PyTorch eager, CPU, wall clock"
        if self._on_gpu:
            self._graph = self._capture() if cuda_graph else None
            self.mode = "CUDA graph" if self._graph else "PyTorch eager"

    def run(self, inputs: Arrays) -> dict[str, Array]:
        """Runs one batch from host memory to host memory; outputs are float32.

        Raises:
            InferenceError: The model raised.
        """
        self._copy_in(inputs)
        try:
            self._launch()
        except TrtqatError:
            raise
        except Exception as error:
            raise InferenceError(
                f"The baseline raised {type(error).__name__}: {first_line(error)}.",
                "Check that it takes the same inputs as the graph, in the same order.",
            ) from error
        return {
            name: (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
            for name, tensor in name_outputs(self._result).items()
        }

    def load(self, inputs: Arrays) -> None:
        """Puts inputs on the device, for ``compute_times_ms``."""
        self._copy_in(inputs)
        if self._on_gpu:
            torch.cuda.synchronize()

    def compute_times_ms(self, count: int) -> list[float]:
        """Time of each of ``count`` runs: CUDA events on a GPU, wall clock on the CPU, in ms."""
        times: list[float] = []
        if not self._on_gpu:
            for _ in range(count):
                start = time.perf_counter()
                self._launch()
                times.append((time.perf_counter() - start) * 1e3)
            return times
        events = [
            tuple(torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            for _ in range(min(count, _WINDOW))
        ]
        self.enqueue_times_ms = []
        while len(times) < count:
            window = events[: count - len(times)]
            for begin, end in window:
                begin.record()
                before = time.perf_counter()
                self._launch()
                self.enqueue_times_ms.append((time.perf_counter() - before) * 1e3)
                end.record()
            torch.cuda.synchronize()
            times.extend(begin.elapsed_time(end) for begin, end in window)
        return times

    def close(self) -> None:
        """Frees graph and tensors."""
        self._graph = None
        self._result = None
        self._inputs = []

    def _copy_in(self, inputs: Arrays) -> None:
        for name, tensor in zip(self._names, self._inputs, strict=True):
            source = torch.from_numpy(np.ascontiguousarray(inputs[name]))
            tensor.copy_(source.pin_memory() if self._on_gpu else source, non_blocking=True)

    def _launch(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        with torch.no_grad():
            self._result = self._model(*self._inputs)

    def _capture(self) -> torch.cuda.CUDAGraph | None:
        """Captures the forward, warmed up on a side stream as PyTorch's documentation asks."""
        try:
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side), torch.no_grad():
                for _ in range(3):
                    self._model(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph), torch.no_grad():
                self._result = self._model(*self._inputs)
        # A model that synchronises or branches on data cannot be captured: it runs eagerly.
        except Exception as error:
            torch.cuda.synchronize()
            _LOG.warning("No CUDA graph for the baseline (%s): eager.", first_line(error))
            return None
        return graph


def name_outputs(result: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
    """Names what a model returns, as the exported graph does.

    A single tensor is ``output``, members of a sequence ``output_0``…, of a mapping its keys.

    Raises:
        SourceError: It is something else than tensors.
    """
    if isinstance(result, torch.Tensor):
        named = {"output": result}
    elif isinstance(result, Mapping):
        named = {str(key): value for key, value in result.items()}
    elif isinstance(result, (tuple, list)):
        named = {f"output_{index}": value for index, value in enumerate(result)}
    else:
        named = {}
    if not named or not all(isinstance(value, torch.Tensor) for value in named.values()):
        raise SourceError(
            f"The model returns a {type(result).__name__}; an engine has tensors as outputs.",
            "Wrap the model so that forward returns a tensor, or a flat tuple or dict of tensors.",
        )
    return named
