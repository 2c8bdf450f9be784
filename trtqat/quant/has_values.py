"""Whether a model's parameters and buffers hold numbers yet, as PyTorch's own tensors."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trtqat.errors import TrtqatError


def check_has_values(model: nn.Module, kind: type[TrtqatError]) -> None:
    """Refuses parameters and buffers without numbers.

    Args:
        model: Any.
        kind: What to raise.

    Raises:
        TrtqatError: One has none, which the message names.
    """
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise kind(
                f"Parameter '{name}' has no shape yet: its layer is lazy.",
                "Run the model once on a batch where it is made.",
            )
        if tensor.is_meta:
            raise kind(
                f"Parameter '{name}' is on the meta device, without numbers.",
                "Give it memory with model.to_empty(device='cpu'), and load its checkpoint.",
            )


def check_plain_weights(model: nn.Module, kind: type[TrtqatError]) -> None:
    """Refuses weights that a library keeps in codes of its own, as torchao's ``quantize_`` does.

    Such a tensor stands for floats, but has few of PyTorch's operators, and no INT8 of TensorRT.

    Args:
        model: Any.
        kind: What to raise.

    Raises:
        TrtqatError: One is none of PyTorch's own classes, which the message names.
    """
    for name, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        made = f"{type(tensor).__module__}.{type(tensor).__name__}"
        if is_traceable_wrapper_subclass(tensor) and not made.startswith("torch."):
            raise kind(
                f"Parameter '{name}' is a {made}, which its library's own kernels read.",
                "Give the model as it was before, in floating point, to trtqat quantize, or one "
                "with fake quantizers to trtqat export.",
            )
