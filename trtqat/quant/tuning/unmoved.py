"""Sees that every weight that is trained is changed, before a training that is long has ended."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trtqat.errors import TrtqatError

# A layer may be left out of some steps at random; not of as many as these.
_STEPS = 100


class Unmoved:
    """The weights that no step of the first epoch has changed."""

    def __init__(
        self, weights: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor]
    ) -> None:
        """Nothing has moved yet.

        Args:
            weights: What is trained, by the layer's name.
            start: The same before the first step.
        """
        self._weights = weights
        self._start = start
        self._unreached = dict(weights)

    def check_step(self, step: int) -> None:
        """Looks at the gradients of a step.

        Args:
            step: Of the first epoch, from 1.

        Raises:
            TrtqatError: A weight had none in many steps, as one of a layer that does not run.
        """
        self._unreached = {
            name: each for name, each in self._unreached.items() if each.grad is None
        }
        if step == _STEPS and self._unreached:
            raise _unmoved(next(iter(self._unreached)), f"first {_STEPS} steps")

    def check_epoch(self) -> None:
        """Looks at the weights after the first epoch.

        Raises:
            TrtqatError: One is what it was.
        """
        for name, each in self._weights.items():
            if torch.equal(each.detach(), self._start[name]):
                raise _unmoved(name, "first epoch")


def _unmoved(name: str, when: str) -> TrtqatError:
    return TrtqatError(
        f"The weight of '{name}' did not move in the {when}.",
        "See that the loss depends on it, or freeze it: requires_grad_(False).",
    )
