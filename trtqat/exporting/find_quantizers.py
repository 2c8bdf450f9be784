"""Which quantizers a model has, and which of them its forward calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from trtqat.errors import TrtqatError
from trtqat.exporting.samples import Samples, observe, random_samples
from trtqat.quant.toolkits.quantizers import Quantizer, quantizers_of, read_quantizers
from trtqat.tensors import TensorSpec

_BATCH = 2


@dataclass(frozen=True)
class FoundQuantizers:
    """The quantizers of a model.

    Attributes:
        all: By name; None for one that is disabled or idle.
        idle: Names of those that cannot be exported and need not be, because the model never runs
            them.
    """

    all: Mapping[str, Quantizer | None]
    idle: tuple[str, ...]

    @property
    def active(self) -> list[str]:
        """Names of those that get pairs."""
        return [name for name, each in self.all.items() if each is not None]

    @property
    def disabled(self) -> int:
        """How many were disabled by whoever trained the model."""
        return len(self.all) - len(self.active) - len(self.idle)

    @property
    def notes(self) -> list[str]:
        """What the user should know of them, one sentence each."""
        return [note for each in self.all.values() if each is not None for note in each.notes]


def find_quantizers(
    model: torch.nn.Module, inputs: Sequence[TensorSpec], *, static_batch: bool, seed: int
) -> FoundQuantizers:
    """Reads the quantizers of a model.

    Args:
        model: In eval mode.
        inputs: In the order of forward.
        static_batch: Whether the model runs at the batch of ``inputs`` alone.
        seed: For the random samples that show which of them run.

    Raises:
        QuantizerError: One that the model runs has no exact Q/DQ equivalent.
    """
    size = None if static_batch else _BATCH
    idle = _Idle(model, random_samples(inputs, size, seed))
    return FoundQuantizers(read_quantizers(model, idle.found), tuple(idle.names))


class _Idle:
    """Finds the quantizers that a model never runs.

    Attributes:
        names: Those that were found.
    """

    def __init__(self, model: torch.nn.Module, batch: Samples) -> None:
        self.names: list[str] = []
        self._model = model
        self._runs: set[str] | None = None
        self._batch = batch

    def found(self, name: str) -> bool:
        """Whether the model runs without it, by running the model at the first such question."""
        if self._runs is None:
            self._runs = runs = set[str]()
            modules = {each: module for each, module, _ in quantizers_of(self._model)}
            try:
                observe(self._model, modules, self._batch, lambda each, _: runs.add(each))
            except TrtqatError:
                self._runs.update(modules)  # what is wrong with a quantizer may be why
        if name not in self._runs:
            self.names.append(name)
        return name not in self._runs
