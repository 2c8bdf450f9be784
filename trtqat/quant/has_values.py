"""Whether a model's parameters and buffers hold numbers yet."""

from __future__ import annotations

import itertools

from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

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
