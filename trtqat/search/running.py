"""One batch through a model, and what is said of the cost beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

from trtqat.quant.feeding import device_of, run_batch
from trtqat.quant.module_by_module import module_by_module
from trtqat.runtime.pytorch_outputs import name_outputs, to_arrays
from trtqat.tensors import Array

# Positional arguments of forward, each ``(N, …)``.
Batch: TypeAlias = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class Cost:
    """What a part of a search takes, said before it begins in earnest.

    Attributes:
        task: "sensitivity" or "accuracy".
        runs: Models that see the images, at most.
        images: That each of them sees.
        seconds: About how long, by the time of the first batch.
    """

    task: str
    runs: int
    images: int
    seconds: float

    @property
    def forwards(self) -> int:
        """Images times runs: what is left to compute, at most."""
        return self.runs * self.images


Announce: TypeAlias = Callable[[Cost], object]
# Called with what is computed, with how much of it is done, and with how much there is.
Progress: TypeAlias = Callable[[str, int, int], object]


def outputs_of(model: torch.nn.Module, batch: Batch) -> dict[str, Array]:
    """Every output of a model by name, in host memory.

    Args:
        model: In eval mode, on any device.
        batch: Positional arguments of forward, ``(N, …)`` each.

    Raises:
        QuantizerError: The model does not take the batch.
        SourceError: It returns something else than tensors.
    """
    with torch.no_grad(), module_by_module():
        result = run_batch(model, batch, device_of(model))
    return dict(to_arrays(name_outputs(result)))
