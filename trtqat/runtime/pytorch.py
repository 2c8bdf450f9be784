"""The baseline: the PyTorch model itself, on the CPU or the first GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from trtqat.errors import MissingError, TrtqatError, UsageError, first_line
from trtqat.host.device_memory import needs_device_memory
from trtqat.quant.kept_state import same_numbers
from trtqat.quant.placing.placed import run_without_quantizers
from trtqat.quant.toolkits.quantizers import quantizers_of
from trtqat.runtime.held import Held
from trtqat.runtime.pytorch_arithmetic import Arithmetic
from trtqat.runtime.pytorch_hooks import watched
from trtqat.runtime.pytorch_inputs import converter
from trtqat.runtime.pytorch_layout import channels_last, layout_that_runs
from trtqat.runtime.pytorch_outputs import name_outputs, to_arrays
from trtqat.runtime.pytorch_quantizers import RequiredQuantizers
from trtqat.runtime.pytorch_session import PyTorchSession, told
from trtqat.runtime.pytorch_streams import (
    PyTorchStreams,
    computing_on,
    own_pytorch_streams,
    shared_pytorch_streams,
)
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec
from trtqat.user_code import exits_told

# How a GPU computes; TF32 keeps numbers in FP32, and multiplies them with fewer bits.
PyTorchPrecision = Literal["fp32", "tf32", "fp16"]
_LOG = logging.getLogger(__name__)
# More batch sizes than anybody asks for.
_SHAPES = 1000


class PyTorchModel(Held):
    """A module as a baseline.

    FP32 means IEEE FP32, without TF32; TF32 allows it in matrix products and convolutions. FP16
    means ``.half()`` and channels-last memory, what a user would reach for first; with channels
    first, and a warning, if the model takes nothing else. All let cuDNN time its algorithms
    (``cudnn.benchmark``), as TensorRT does while it builds. On a GPU its kernels run on the stream
    that engines run on.

    Attributes:
        name: For reports.
        device: ``"cpu"`` or ``"cuda"``.
        inputs: Inputs as the compared engine or graph has them.
        outputs: Not known before the model runs: empty.
        io: None: outputs come in the order of the exported model.
        batch_range: Any.
        quantizers: Empty: what its own are called, the graph that was exported from it records.
        engine: None.
        path: None: it is in memory.
        reopen: What loads the same model, in another process, too; None if that is not known.
        size_bytes: Of its parameters and buffers.
    """

    outputs: tuple[TensorSpec, ...] = ()
    io: None = None
    batch_range: tuple[int, int | None] = (1, None)
    quantizers: tuple[str, ...] = ()
    engine: None = None
    path: None = None

    def __init__(
        self,
        model: torch.nn.Module,
        inputs: Sequence[TensorSpec],
        *,
        device: Literal["cpu", "cuda"],
        name: str = "PyTorch",
        precision: PyTorchPrecision = "fp32",
        compiled: bool = False,
        cuda_graph: bool = True,
        required: Collection[str] = (),
        reopen: Callable[[], PyTorchModel] | None = None,
    ) -> None:
        """Moves the model to its device.

        Args:
            model: Put into eval mode; moved, and converted for fp16.
            inputs: Inputs in the order of the model's forward. Of one that takes the bytes of
                images (``PixelSpec``) the model gets the normalised floats.
            device: Where it runs.
            name: For reports.
            precision: Of weights and arithmetic.
            compiled: Whether ``torch.compile`` compiles it, for each batch size anew.
            cuda_graph: Whether to capture a CUDA graph, as for an engine, where that works.
            required: Dotted names of quantizers that the graph has: each that the model has must
                be seen to run in every query that is compared. A compiled model is not looked
                into.
            reopen: What loads the same model in another process; it can be pickled.

        Raises:
            MissingError: fp16 or tf32 was asked for on the CPU.
        """
        if precision != "fp32" and device == "cpu":
            raise MissingError(
                f"The {precision.upper()} baseline needs a GPU.",
                "Use --baseline-precision fp32 on the CPU.",
            )
        self.name = f"{name} {precision.upper()}{', compiled' if compiled else ''}"
        self.device = device
        self.reopen = reopen
        self.inputs = tuple(inputs)
        self._cuda_graph = cuda_graph and device == "cuda"
        self._dtype = torch.float16 if precision == "fp16" else torch.float32
        self._compiled = compiled
        self._streams: PyTorchStreams | None = None
        if device == "cuda":
            # Whatever the caller did with the model was on another stream.
            torch.cuda.synchronize()
            self._streams = shared_pytorch_streams()
        with computing_on(self._streams):
            self._model = model.eval().to(device)
            if precision == "fp16":
                self._model = channels_last(self._model.half())
        self._layout = torch.channels_last  # of images in FP16
        self._layout_is_chosen = precision != "fp16"
        if self._streams is not None:
            # Sessions on other streams read what this one has moved and converted.
            self._streams.settle()
        self._converters = [converter(spec, self._convert, device) for spec in self.inputs]
        self._required = RequiredQuantizers(self._model, self.name, required)
        self._arithmetic = Arithmetic(
            tf32=precision == "tf32", quantized=self._required.any_inside, compiled=compiled
        )
        tensors = [*self._model.parameters(), *self._model.buffers()]
        self.size_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self._forward: Callable[..., Any] = self._model
        if compiled:
            self._forward = torch.compile(self._model, dynamic=False)

    def __repr__(self) -> str:
        return f"PyTorchModel({self.name!r}, {', '.join(map(str, self.inputs))}, {self.device!r})"

    @property
    def session_inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs as the compared engine or graph has them."""
        return self.inputs

    @property
    def runs_concurrently(self) -> bool:
        """Whether several sessions gain by running at once: on a GPU."""
        return self.device == "cuda"

    def source_graph(self, given: Path | None = None) -> Path:
        """A PyTorch model was built from no graph.

        Args:
            given: What the user says that it is, which does not help.

        Raises:
            UsageError: Always.
        """
        del given
        raise UsageError(
            f"'{self.name}' was built from no graph.", "Give an engine, or the graph itself."
        )

    def session(self, batch_size: int) -> PyTorchSession:
        """Binds the model to one batch size: input tensors of its own and, if it captures, a graph.

        Raises:
            MissingError: ``torch.compile`` does not work here.
            InferenceError: Device memory is short.
        """
        return self._session(batch_size, self._streams)

    def session_on_own_stream(self, batch_size: int) -> PyTorchSession:
        """A session whose kernels run beside those of other sessions, instead of behind them.

        Raises:
            MissingError: ``torch.compile`` does not work here.
            InferenceError: Device memory is short.
        """
        own = None if self.device == "cpu" else own_pytorch_streams()
        return self._session(batch_size, own)

    def observe(
        self, inputs: Arrays, quantizers: Iterable[str]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Runs one batch, and keeps what some of the model's quantizers return.

        Args:
            inputs: Arrays ``(N, …)`` by input name.
            quantizers: Dotted module names; what is no quantizer is passed over.

        Returns:
            The model's outputs by name, as a session's, and by theirs the quantizers'. A quantizer
            that returns different tensors in several calls, or does not run, is left out, and so
            are all of a TorchScript file or a program.

        Raises:
            ForwardError: The model raised.
            InferenceError: A quantizer that is required did not run, or device memory is short.
        """
        wanted = set(quantizers)
        inside = quantizers_of(self._model)
        watch = {name: module for name, module, _ in inside if name in wanted}
        calls: dict[str, list[torch.Tensor]] = {}

        def seen(name: str, output: torch.Tensor) -> None:
            # A copy, because what stands behind may work in place.
            kept = output.detach().to("cpu", torch.float32, copy=True)
            calls.setdefault(name, []).append(kept)

        with told(self.name), computing_on(self._streams):
            samples = [
                torch.from_numpy(np.array(inputs[spec.name], order="C")).to(self.device)
                for spec in self.inputs
            ]
            self._prepare(samples)
        with (
            told(self.name),
            computing_on(self._streams),
            self._arithmetic,
            torch.no_grad(),
            self._required.seen(),
            watched(watch, seen),
        ):
            outputs = to_arrays(
                name_outputs(
                    self._model(*(f(x) for f, x in zip(self._converters, samples, strict=True))),
                    [spec.name for spec in self.inputs],
                )
            )
        observed = {
            name: tensors[0].numpy()
            for name, tensors in calls.items()
            if all(same_numbers(tensors[0], other) for other in tensors[1:])
        }
        return outputs, observed

    def close(self) -> None:
        """Frees the GPU memory that PyTorch caches."""
        if self.device == "cuda":
            with computing_on(self._streams):
                self._model.cpu()
            torch.cuda.empty_cache()

    def _session(self, batch_size: int, streams: PyTorchStreams | None) -> PyTorchSession:
        with needs_device_memory(f"A session of {self.name} at batch {batch_size}"):
            with computing_on(streams):
                samples = [self._zeros(batch_size, spec) for spec in self.inputs]
                self._prepare(samples)
                inputs = [f(x) for f, x in zip(self._converters, samples, strict=True)]
                if self._compiled:
                    self._compile(inputs)
            return PyTorchSession(
                self.name,
                self._forward,
                self.inputs,
                samples,
                inputs,
                self._converters,
                streams=streams,
                arithmetic=self._arithmetic,
                quantizers=None if self._compiled else self._required,
                way="torch.compile" if self._compiled else "PyTorch eager",
                cuda_graph=self._cuda_graph,
            )

    def _zeros(self, batch_size: int, spec: TensorSpec) -> torch.Tensor:
        return torch.zeros(
            (batch_size, *(1 if dim == DYNAMIC else dim for dim in spec.shape[1:])),
            dtype=torch.from_numpy(np.zeros((), spec.dtype)).dtype,
            device=self.device,
        )

    def _convert(self, sample: torch.Tensor) -> torch.Tensor:
        """Floats in the type that the model reads; the sample itself where nothing changes."""
        if sample.dtype == self._dtype or not sample.is_floating_point():
            return sample
        is_image = self._dtype == torch.float16 and sample.dim() == 4
        layout = self._layout if is_image else torch.contiguous_format
        return sample.to(self._dtype, memory_format=layout)

    def _prepare(self, samples: list[torch.Tensor]) -> None:
        """What comes before anything of a size is measured or captured."""

        def run() -> None:
            # Copies, as a model may write into what it is given.
            given = [each.clone() for each in samples]
            self._model(*(f(x) for f, x in zip(self._converters, given, strict=True)))

        def fill() -> None:
            # Where sizes are open, nobody knows yet what it will be given.
            if all(DYNAMIC not in spec.shape[1:] for spec in self.inputs):
                run_without_quantizers(self._model, run)

        def run_laid(layout: torch.memory_format) -> None:
            self._layout = layout
            fill()
            run()

        with told(self.name), self._arithmetic, torch.no_grad():
            if self._layout_is_chosen:
                fill()
                return
            self._layout = layout_that_runs(self._model, run_laid)
        self._layout_is_chosen = True
        if self._layout != torch.channels_last:
            _LOG.warning("'%s' runs with channels first alone, which can be slower.", self.name)

    def _compile(self, inputs: list[torch.Tensor]) -> None:
        # PyTorch compiles eight shapes, and then runs further ones as they are without a word.
        limits = {
            name: _SHAPES
            for name in ("recompile_limit", "cache_size_limit")
            if hasattr(torch._dynamo.config, name)
        }
        try:
            compiling = exits_told(f"'{self.name}'")
            with self._arithmetic, torch.no_grad(), torch._dynamo.config.patch(limits), compiling:
                self._forward(*inputs)
        except (TrtqatError, torch.OutOfMemoryError):
            raise
        # The compiler has exceptions of its own, and passes on those of its back ends.
        except Exception as error:
            raise MissingError(
                f"torch.compile does not compile the model here ({type(error).__name__}: "
                f"{first_line(error)}).",
                "It needs Triton on a GPU and a C++ compiler on a CPU; leave it out of --compare.",
            ) from error
