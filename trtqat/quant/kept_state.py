"""What a run in eval mode may change of a model, put back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[list[str]]:
    """Puts the buffers that are there back, whatever forward writes into them.

    A counter of calls or a running mean of one's own changes in eval mode, too. Runs that only
    look at a model must leave no trace of how often they ran. Buffers that are added stay as they
    are, as do those of quantizers that are put into the model meanwhile.

    Args:
        model: Any; of a TorchScript module nothing but the values is put back.

    Yields:
        Names of the buffers that were written, once this is over.
    """
    before = [
        (path, module, name, buffer, buffer.detach().clone())
        for path, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.layout is torch.strided and not buffer.is_meta and not buffer.is_quantized
    ]
    written: list[str] = []
    try:
        yield written
    finally:
        with torch.no_grad():
            for path, module, name, buffer, value in before:
                if isinstance(module, torch.jit.ScriptModule):
                    buffer = getattr(module, name)
                    is_other = False
                else:
                    is_other = module._buffers.get(name, buffer) is not buffer
                    if name in module._buffers:
                        module._buffers[name] = buffer
                if buffer.grad_fn is not None:
                    # Written while gradients were on, as PyTorch's TorchScript exporter traces.
                    buffer.detach_()
                if is_other or not same_numbers(buffer, value):
                    written.append(f"{path}.{name}" if path else name)
                    buffer.copy_(value)


def same_numbers(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same; a NaN is like another, as of a range not yet there."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    # The first alone nearly always, and it makes no tensor.
    return torch.equal(one, other) or bool(
        ((one == other) | ((one != one) & (other != other))).all()
    )


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Puts a model into eval mode, and each of its modules back into the mode that it was in.

    Args:
        model: Any; a TorchScript module stays in eval mode.
    """
    is_script = isinstance(model, torch.jit.ScriptModule)
    modes = [] if is_script else [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            # Not train(), which would set the mode of all below, too.
            module.training = training
