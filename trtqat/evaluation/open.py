"""Opens what ``trtqat eval`` names: the model by its file, a PyTorch model by its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.errors import MissingError, SourceError, UsageError
from trtqat.extras import require
from trtqat.runtime.opening import open as open_model
from trtqat.runtime.protocol import Model
from trtqat.tensors import DYNAMIC, TensorSpec

__all__ = ["PyTorchSource", "open_model", "open_pytorch"]

if TYPE_CHECKING:
    from trtqat.quant.quantizers import Quantizer
    from trtqat.runtime.pytorch import PyTorchModel, PyTorchPrecision


@dataclass(frozen=True)
class PyTorchSource:
    """Where a PyTorch model comes from, as for ``trtqat export``.

    Attributes:
        source: Factory, TorchScript file or program (``.pt2``).
        checkpoint: State dict for the factory's model.
        factory_args: ``NAME=VALUE`` pairs.
        ema: Whether to take averaged or raw weights of a checkpoint that has both.
    """

    source: str | Path
    checkpoint: str | Path | None = None
    factory_args: Sequence[str] = ()
    ema: bool | None = None

    @classmethod
    def parse(
        cls,
        source: str | None,
        checkpoint: Path | None,
        factory_args: Sequence[str] | None,
        ema: bool | None = None,
    ) -> PyTorchSource | None:
        """Options of a command, if they name a model."""
        return None if source is None else cls(source, checkpoint, tuple(factory_args or ()), ema)


def open_pytorch(
    source: PyTorchSource,
    model: Model,
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
        model: The engine or graph; its inputs are the PyTorch model's.
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
    torch = require("torch", extra="export", purpose="The PyTorch baseline")
    if model.device == "cuda" and not torch.cuda.is_available():
        raise MissingError(
            "The PyTorch baseline needs a GPU, and this PyTorch sees none.",
            "Install a CUDA build of PyTorch, or leave out --baseline.",
        )
    from trtqat.exporting.loading import ModelSource, load_model
    from trtqat.exporting.samples import order_inputs
    from trtqat.quant.absence import check_not_converted
    from trtqat.quant.quantizers import read_quantizers
    from trtqat.runtime.pytorch import PyTorchModel

    if not source.source:
        raise UsageError(
            f"The source of the model '{name}' is empty.",
            "Give file.py:factory, a TorchScript file or a .pt2.",
        )
    pointer = ModelSource(source.source, source.checkpoint, source.factory_args, source.ema)
    required: tuple[str, ...] = getattr(model, "quantizers", ())
    if has_quantizers and not Path(source.source).exists():
        # A factory's: read on the CPU, as for an export; PyTorchModel moves it.
        module = load_model(pointer)
        check_not_converted(module)
        # What has no pair in the graph may be as it likes, where it is known what has.
        found = read_quantizers(module, lambda each: bool(required) and each not in required)
        _check_has(str(source.source), found, required)
    else:
        # A TorchScript file or a program has operators instead, which have their scales, and
        # constants that only loading moves.
        module = load_model(pointer, device=model.device)
    # The names must be those of forward; a TorchScript file may have lost them.
    inputs = _as_the_engine_runs(model)
    if len(inputs) > 1:
        try:
            inputs = order_inputs(module, inputs)
        except SourceError as error:
            raise SourceError(
                f"'{name}' does not take the inputs of '{model.name}': {error.problem}",
                "Give the PyTorch model that was exported, or one with the same inputs.",
            ) from error
    return PyTorchModel(
        module,
        inputs,
        device=model.device,
        name=name,
        precision=precision,
        compiled=compiled,
        cuda_graph=cuda_graph,
        required=required,
    )


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


def _as_the_engine_runs(model: Model) -> list[TensorSpec]:
    """Inputs whose open dimensions, but the first, are those that an engine's sessions take."""
    profiles = getattr(model, "profiles", {})
    inputs = []
    for spec in model.inputs:
        optimum = profiles[spec.name].opt if spec.name in profiles else ()
        dims = [
            optimum[axis] if axis and dim == DYNAMIC and optimum else dim
            for axis, dim in enumerate(spec.shape)
        ]
        inputs.append(replace(spec, shape=tuple(dims)))
    return inputs
