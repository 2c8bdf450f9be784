"""What fine-tuning minimizes: the loss on labels, the distance to a teacher, or both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from trtqat.errors import UsageError, first_line
from trtqat.quant.feeding import Arguments

UserLoss = Callable[[Any, Any], torch.Tensor]


class Objective:
    """The loss of a batch.

    With a teacher and labels it is ``(1 - share) · loss + share · distance``.
    """

    def __init__(
        self,
        loss: UserLoss | None,
        teacher: nn.Module | None,
        *,
        share: float,
        distance: str,
        temperature: float,
    ) -> None:
        """Takes what a batch is judged by.

        Args:
            loss: Of outputs and labels; None for cross-entropy.
            teacher: The float model; it is called in eval mode.
            share: Of the teacher in the loss, 0 to 1; all of it where there are no labels.
            distance: "kl", "mse", or "auto", which takes "kl" for outputs ``(N, C)``.
            temperature: Softens the logits of both for "kl".
        """
        self._loss = loss
        self._teacher = teacher.eval() if teacher is not None else None
        self._share = share
        self._distance = distance
        self._temperature = temperature

    def __call__(self, outputs: object, labels: object, inputs: Arguments) -> torch.Tensor:
        """The loss, a float32 scalar.

        Args:
            outputs: What the model returned.
            labels: Of the batch; None if it has none.
            inputs: What the model was given.

        Raises:
            UsageError: There is neither a label nor a teacher, or nothing that cross-entropy can
                judge.
        """
        on_labels = self._on_labels(outputs, labels)
        if self._teacher is None:
            if on_labels is None:
                raise UsageError(
                    "A batch has no labels, and there is no teacher to learn from.",
                    "Give pairs (inputs, labels), or teacher= the float model.",
                )
            return on_labels
        args, kwargs = inputs
        with torch.no_grad():
            expected = self._teacher(*args, **kwargs)
        distance = self._to_teacher(outputs, expected)
        if on_labels is None:
            return distance
        return (1.0 - self._share) * on_labels + self._share * distance

    def _on_labels(self, outputs: object, labels: object) -> torch.Tensor | None:
        if self._loss is not None:
            return self._loss(outputs, labels)
        if labels is None:
            return None
        if not isinstance(outputs, torch.Tensor) or not isinstance(labels, torch.Tensor):
            raise UsageError(
                f"The model returns a {type(outputs).__name__} and the labels are a "
                f"{type(labels).__name__}, of which cross-entropy can be no judge.",
                "Give loss= a function of outputs and labels.",
            )
        try:
            return functional.cross_entropy(outputs.float(), labels)
        except (IndexError, ValueError) as error:
            raise UsageError(
                f"Cross-entropy of outputs {tuple(outputs.shape)} does not take the labels "
                f"{tuple(labels.shape)}: {first_line(error)}.",
                "Give class indices from 0, one for each sample, or loss= a function of your own.",
            ) from error

    def _to_teacher(self, outputs: object, expected: object) -> torch.Tensor:
        pairs = list(zip(_floats(outputs), _floats(expected), strict=False))
        if not pairs or any(ours.shape != theirs.shape for ours, theirs in pairs):
            raise UsageError(
                "The teacher, in evaluation, returns other tensors than the model in training: "
                f"{_shapes(expected)}, not {_shapes(outputs)}.",
                "Give as teacher= the float model that was quantized; where forward returns "
                "something else in training, as a detector's, one that returns that in evaluation.",
            )
        return torch.stack([self._distance_of(ours, theirs) for ours, theirs in pairs]).mean()

    def _distance_of(self, ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
        ours, theirs = ours.float(), theirs.float()
        has_classes = ours.dim() == 2 and ours.shape[1] > 1
        if self._distance == "kl" or (self._distance == "auto" and has_classes):
            return _softened_divergence(ours, theirs, self._temperature)
        # Over the size of what is to be met: several outputs then weigh the same.
        size = theirs.square().mean().clamp(min=torch.finfo(torch.float32).tiny)
        return (ours - theirs).square().mean() / size


def _softened_divergence(
    logits: torch.Tensor, expected: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Kullback-Leibler divergence of softened classes, at axis 1, times the temperature squared.

    Hinton et al., "Distilling the Knowledge in a Neural Network", https://arxiv.org/abs/1503.02531,
    section 2: the square keeps the gradients at the size of those on labels.

    Args:
        logits: ``(N, C, …)``.
        expected: The teacher's, of the same shape.
        temperature: What both are divided by.
    """
    ours = functional.log_softmax(logits / temperature, dim=1)
    theirs = functional.log_softmax(expected / temperature, dim=1)
    each = functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(dim=1)
    return each.mean() * temperature**2


def _shapes(tree: object) -> str:
    shapes = [str(tuple(each.shape)) for each in _floats(tree)]
    return ", ".join(shapes[:4]) + (", …" if shapes[4:] else "") if shapes else "none"


def _floats(tree: object) -> Iterator[torch.Tensor]:
    """Every float tensor of what a model returns, in order."""
    if isinstance(tree, torch.Tensor):
        if tree.is_floating_point():
            yield tree
    elif isinstance(tree, Mapping):
        for each in tree.values():
            yield from _floats(each)
    elif isinstance(tree, (list, tuple)):
        for each in tree:
            yield from _floats(each)
    elif is_dataclass(tree):
        for field in fields(tree):
            yield from _floats(getattr(tree, field.name))
