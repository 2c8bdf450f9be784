"""Sees that every weight that is trained is changed, and warns before a long epoch has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from trtqat.errors import TrtqatError

_LOG = logging.getLogger(__name__)

# A layer may be left out of some steps at random; not of as many as these. But one may begin later.
_STEPS = 100
_WAY_OUT = "See that the loss depends on it, or freeze it: requires_grad_(False)."


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
        """Looks at the gradients of a step, and warns of a layer that has had none in many.

        Args:
            step: Of the first epoch, from 1.
        """
        self._unreached = {
            name: each for name, each in self._unreached.items() if each.grad is None
        }
        if step == _STEPS and self._unreached:
            _LOG.warning(
                "The weight of '%s' did not move in the first %d steps, and must in this epoch. %s",
                next(iter(self._unreached)),
                _STEPS,
                _WAY_OUT,
            )

    def check_epoch(self) -> None:
        """Looks at the weights after the first epoch.

        Raises:
            TrtqatError: One is what it was.
        """
        for name, each in self._weights.items():
            if torch.equal(each.detach(), self._start[name]):
                raise TrtqatError(
                    f"The weight of '{name}' did not move in the first epoch.", _WAY_OUT
                )
