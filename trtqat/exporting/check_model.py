"""What a model must be to be exported: in float32, of layers that ONNX has, not diverged."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from trtqat.errors import SourceError


def check_float32(model: torch.nn.Module) -> None:
    """Refuses parameters in another float type.

    Raises:
        SourceError: One has it, which the message names.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise SourceError(
                f"Parameter '{name}' is {str(parameter.dtype).removeprefix('torch.')}; the graph "
                "is written in float32.",
                "Convert the model with .float() in its factory.",
            )


def check_layers(model: torch.nn.Module) -> None:
    """Refuses what both exporters refuse, or translate into a graph that no runtime accepts.

    Raises:
        SourceError: There is such a layer, which the message names.
    """
    is_script = isinstance(model, torch.jit.ScriptModule)
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and not is_script:
            raise SourceError(
                f"The submodule '{name}' is TorchScript, which neither exporter of PyTorch takes "
                "inside of a model.",
                "Put the PyTorch module that it was made of in its place.",
            )
        if type(module) is torch.nn.LSTM and module.proj_size:
            raise SourceError(
                f"Layer '{name}' is an LSTM with projections (proj_size={module.proj_size}), which "
                "ONNX's LSTM has not.",
                "Train it with proj_size=0, or write the recurrence with torch.nn.LSTMCell and a "
                "Linear layer.",
            )


@torch.no_grad()
def check_finite_parameters(model: torch.nn.Module, unused: Iterable[str] = ()) -> None:
    """Refuses a model that has diverged.

    Args:
        model: Its parameters must be finite. Its buffers must not be NaN; infinite ones may be
            masks, but not the statistics of a BatchNorm.
        unused: Names of quantizers that are disabled or never run, whose ranges may be NaN.

    Raises:
        SourceError: One is not, which the message names.
    """
    tensors: list[tuple[str, str, torch.Tensor]] = []
    tensors += [("Parameter", *each) for each in model.named_parameters()]
    ranges = tuple(f"{name}." for name in unused)
    tensors += [
        ("Buffer", *each) for each in model.named_buffers() if not each[0].startswith(ranges)
    ]
    for kind, name, tensor in tensors:
        if not tensor.is_floating_point() or tensor.is_meta or bool(tensor.isfinite().all()):
            continue
        nans = int(tensor.isnan().sum())
        if not nans and kind == "Buffer" and "running_" not in name:
            continue
        count = nans or int(tensor.isinf().sum())
        raise SourceError(
            f"{kind} '{name}' is {'NaN' if nans else 'infinite'} in {count} of {tensor.numel()} "
            "numbers.",
            "Training has diverged: take a checkpoint from before, and a lower learning rate.",
        )
