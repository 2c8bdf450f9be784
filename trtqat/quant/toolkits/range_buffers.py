"""The buffers that hold quantizers' ranges: which a model may lack, and room for a checkpoint's."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trtqat.quant.toolkits.quantizers import READERS, quantizers_of


def optional_buffers(model: torch.nn.Module) -> set[str]:
    """Keys of a state dict that quantizers have only once they have a range, or in its shape."""
    # Under every name: a state dict has a shared quantizer's buffers as often as it has names.
    return {
        f"{name}.{buffer}"
        for name, module in model.named_modules(remove_duplicate=False)
        for reader in READERS
        if reader.is_quantizer(module)
        for buffer in reader.BUFFERS
        if _owner(module, buffer) is not None
    }


def fit_to_checkpoint(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], prefix: str = ""
) -> None:
    """Gives quantizers the buffers that a checkpoint is about to fill, in its shapes.

    Ranges appear with calibration, so a factory's model may lack them, or have them per tensor
    where the checkpoint has channels. The toolkits' own loading refuses that, or creates what is
    missing with ``.cuda()`` and so fails on a host without a GPU.

    Args:
        model: The model that ``load_state_dict`` will be called on; the buffers go to the device
            of its parameters.
        state: The checkpoint's state dict.
        prefix: What stands before the model's keys in it.
    """
    device = next((tensor.device for tensor in model.parameters()), None)
    for name, module, reader in quantizers_of(model):
        for buffer in reader.BUFFERS:
            saved = state.get(f"{prefix}{name}.{buffer}")
            if saved is not None:
                _fit_buffer(module, buffer, saved, device)


def _fit_buffer(
    module: torch.nn.Module, name: str, saved: torch.Tensor, device: torch.device | None
) -> None:
    owner, key = _owner(module, name), name.rpartition(".")[2]
    if owner is None:
        return  # loading says so
    current = getattr(owner, key, None)
    if current is None or current.shape != saved.shape:
        # Loading makes float32 of the weights beside it, too.
        dtype = torch.float32 if saved.is_floating_point() else saved.dtype
        owner.register_buffer(key, torch.zeros_like(saved, dtype=dtype, device=device))


def _owner(module: torch.nn.Module, buffer: str) -> torch.nn.Module | None:
    """Which module below a quantizer has a buffer; None for an observer that it does not have."""
    try:
        return module.get_submodule(buffer.rpartition(".")[0])
    except AttributeError:
        return None
