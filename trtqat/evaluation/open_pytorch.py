"""Opens a PyTorch model by its source, and says how all that is evaluated is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trtqat.errors import SourceError, UsageError
from trtqat.host.flavours import Flavour
from trtqat.runtime.protocol import Model
from trtqat.runtime.pytorch_devices import require_cuda, require_pytorch
from trtqat.tensors import TensorSpec

if TYPE_CHECKING:
    from trtqat.exporting.source import ModelSource
    from trtqat.quant.toolkits.quantizers import Quantizer
    from trtqat.runtime.pytorch import PyTorchModel, PyTorchPrecision

_PURPOSE = "The PyTorch baseline"


@dataclass(frozen=True)
class OpenOptions:
    """How what is given by name is opened.

    Attributes:
        cuda_graph: Whether engines and PyTorch models capture CUDA graphs where that works.
        allow_engine_code: Whether a version-compatible plan may bring a library of its own.
        trust: File of the public key that an engine's manifest must be signed with.
        flavour: Which TensorRT runs an engine; None takes the first installed that may.
        weights: The graph of an engine that was built without its weights.
        graph: What an engine was built from; None takes the file beside it.
        runtime_cache: The file that keeps the kernels that TensorRT for RTX compiles for the engine
            that is judged, or ``"none"``; None takes the one beside it.
        timing_cache: File that reads and keeps the kernel timings of what is built to compare.
        plugins: Libraries of the plugins that the engine needs.
    """

    cuda_graph: bool = True
    allow_engine_code: bool = False
    trust: Path | str | None = None
    flavour: Flavour | None = None
    weights: Path | str | None = None
    graph: Path | str | None = None
    runtime_cache: Path | str | None = None
    timing_cache: Path | str | None = None
    plugins: Sequence[Path | str] = ()


@dataclass(frozen=True)
class Counterpart:
    """What a PyTorch model is to know of the engine or graph that it is compared with.

    Attributes:
        name: Of that one.
        device: Where it runs.
        session_inputs: What its sessions take.
        quantizers: Dotted names of those that its Q/DQ pairs were made of.
    """

    name: str
    device: Literal["cpu", "cuda"]
    session_inputs: tuple[TensorSpec, ...]
    quantizers: tuple[str, ...]


def open_pytorch(
    source: ModelSource,
    model: Model | Counterpart,
    *,
    name: str = "PyTorch",
    precision: PyTorchPrecision = "fp32",
    compiled: bool = False,
    cuda_graph: bool = True,
    has_quantizers: bool = False,
) -> PyTorchModel:
    """Loads a PyTorch model to compare ``model`` with, onto the same kind of device.

    Args:
        source: Where it comes from.
        model: The engine or graph, or what is to be known of it; its inputs are the PyTorch
            model's.
        name: For reports.
        precision: Arithmetic.
        compiled: Whether ``torch.compile`` compiles it.
        cuda_graph: Whether to capture a CUDA graph where that works.
        has_quantizers: Whether it must have quantizers, calibrated ones.

    Raises:
        SourceError: The source cannot be loaded, takes other inputs than the model, or lacks its
            quantizers.
        QuantizerError: One of them is not calibrated, or cannot be exported otherwise.
        MissingError: PyTorch is not installed, or sees no GPU.
    """
    require_pytorch(_PURPOSE)
    if model.device == "cuda":
        require_cuda(
            _PURPOSE,
            f"{_PURPOSE} needs a GPU, and this PyTorch sees none.",
            "Install a CUDA build of PyTorch, or leave out --baseline.",
        )
    from trtqat.runtime.pytorch import PyTorchModel

    if not source.pointer:
        raise UsageError(
            f"The source of the model '{name}' is empty.",
            "Give file.py:factory, a TorchScript file or a .pt2.",
        )
    module = _loaded(source, model, has_quantizers=has_quantizers)
    return PyTorchModel(
        module,
        _in_order_of_forward(module, name, model),
        device=model.device,
        name=name,
        precision=precision,
        compiled=compiled,
        cuda_graph=cuda_graph,
        required=model.quantizers,
        reopen=partial(
            open_pytorch,
            source,
            Counterpart(model.name, model.device, model.session_inputs, model.quantizers),
            name=name,
            precision=precision,
            compiled=compiled,
            cuda_graph=cuda_graph,
            has_quantizers=has_quantizers,
        ),
    )


def _loaded(source: ModelSource, model: Model | Counterpart, *, has_quantizers: bool) -> Any:  # noqa: ANN401 - a torch.nn.Module, which this room does not import
    from trtqat.exporting.loading import load_model
    from trtqat.quant.recipe import unwrapped
    from trtqat.quant.toolkits.absence import check_not_converted
    from trtqat.quant.toolkits.quantizers import read_quantizers

    if not has_quantizers or Path(source.pointer).exists():
        # A TorchScript file or a program has operators instead of quantizers, which have their
        # scales, and constants that only loading moves.
        return load_model(source, device=model.device)
    # A factory's: read on the CPU, as for an export, without what wraps it; PyTorchModel moves it.
    module = unwrapped(load_model(source))
    check_not_converted(module)
    # What has no pair in the graph may be as it likes, where it is known what has.
    required = model.quantizers
    found = read_quantizers(module, lambda each: bool(required) and each not in required)
    _check_has(str(source.pointer), found, required)
    return module


def _in_order_of_forward(
    module: Any,  # noqa: ANN401
    name: str,
    model: Model | Counterpart,
) -> tuple[TensorSpec, ...]:
    """The inputs by the names of forward; a TorchScript file may have lost those, if it has one."""
    from trtqat.exporting.given_inputs import take_given
    from trtqat.exporting.samples import forward_parameters, order_inputs

    inputs = model.session_inputs
    if len(inputs) < 2 and not forward_parameters(module).keys() >= {each.name for each in inputs}:
        return inputs
    try:
        ordered = order_inputs(module, list(inputs))
    except SourceError as error:
        raise SourceError(
            f"'{name}' does not take the inputs of '{model.name}': {error.problem}",
            "Give the PyTorch model that was exported, or one with the same inputs.",
        ) from error
    take_given(module, [each.name for each in ordered])
    return tuple(ordered)


def _check_has(source: str, found: Mapping[str, Quantizer | None], required: Sequence[str]) -> None:
    """A fake-quantized model has quantizers, and those that the graph was made of."""
    active = {name for name, each in found.items() if each is not None}
    lacking = [name for name in required if name not in active]
    if active and not lacking:
        return
    what = "no active quantizer"
    if active:
        state = "a disabled" if lacking[0] in found else "no"
        what = f"{state} quantizer '{lacking[0]}', which has a Q/DQ pair in the graph"
    raise SourceError(
        f"'{source}' has {what}, so it is not the model that was exported.",
        "Give the factory of the quantization-aware model, as for trtqat export.",
    )
