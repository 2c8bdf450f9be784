"""Parameters that are NaN or infinite, found before anything is traced."""

from __future__ import annotations

import torch

from trtqat.errors import SourceError


def check_finite_parameters(model: torch.nn.Module) -> None:
    """Refuses a model that has diverged.

    Args:
        model: Its parameters must be finite. Its buffers must not be NaN; infinite ones may be
            masks, but not the statistics of a BatchNorm.

    Raises:
        SourceError: One is not, which the message names.
    """
    tensors: list[tuple[str, str, torch.Tensor]] = []
    tensors += [("Parameter", *each) for each in model.named_parameters()]
    tensors += [("Buffer", *each) for each in model.named_buffers()]
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
