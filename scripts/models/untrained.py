"""What a model without training needs to be quantized: images, statistics, ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

from trtqat.quant.training import calibrate, insert_quantizers

Model = TypeVar("Model", bound=nn.Module)


def images(batches: int = 2) -> list[torch.Tensor]:
    """Random images ``(4, 3, 224, 224)``, the same every time."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 224, 224, generator=generator) for _ in range(batches)]


def with_statistics(
    model: Model, batches: Sequence[torch.Tensor | tuple[torch.Tensor, ...]]
) -> Model:
    """Runs the model in training mode so that its BatchNorms know their inputs; to eval mode.

    Args:
        model: In any mode.
        batches: Of its one input, or tuples of its inputs in the order of its ``forward``.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        # None averages over all batches: two are enough for sound statistics.
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for batch in batches:
            model(*(batch if isinstance(batch, tuple) else (batch,)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


def quantized(model: nn.Module, batches: Sequence[torch.Tensor]) -> nn.Module:
    """Puts quantizers into a model and calibrates them, in place.

    Args:
        model: In eval mode. Layers get theirs; an ``nn.Identity`` whose name begins with
            ``on_`` is the place of one on an activation.
        batches: To calibrate on.
    """
    insert_quantizers(model)
    # It was imported without a sound by then.
    from pytorch_quantization import nn as quant_nn

    for name, module in list(model.named_modules()):
        parent, _, child = name.rpartition(".")
        if child.startswith("on_") and isinstance(module, nn.Identity):
            setattr(model.get_submodule(parent), child, quant_nn.TensorQuantizer().eval())
    calibrate(model, batches)
    return model
