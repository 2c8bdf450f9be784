"""Sees that a model runs the quantizers that the graph has, in the very run that is compared."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator

import torch

from trtqat.errors import InferenceError
from trtqat.quant.toolkits.quantizers import quantizers_of
from trtqat.runtime.pytorch_hooks import watched


class RequiredQuantizers:
    """Quantizers of a model that must run in every query.

    Attributes:
        any_inside: Whether the model has quantizers at all, required or not.
    """

    def __init__(self, model: torch.nn.Module, name: str, required: Collection[str]) -> None:
        """Finds them.

        Args:
            model: On its device.
            name: Of the model, for messages.
            required: Dotted names; what the model does not have is passed over.
        """
        inside = {each: module for each, module, _ in quantizers_of(model)}
        self.any_inside = bool(inside)
        self._name = name
        self._modules = {each: inside[each] for each in required if each in inside}

    @contextlib.contextmanager
    def seen(self) -> Iterator[None]:
        """Around one query.

        Raises:
            InferenceError: One of them did not run.
        """
        ran: set[str] = set()
        with watched(self._modules, lambda name, _: ran.add(name)):
            yield
        for name in self._modules:
            if name not in ran:
                raise InferenceError(
                    f"Quantizer '{name}' of '{self._name}' did not run, but the graph that it is "
                    "compared with has its Q/DQ pair.",
                    "Something computes its layer without calling it: a fused or compiled form, or "
                    "a branch that depends on the input; call the layer itself, or export again "
                    "with the quantizer disabled.",
                )
