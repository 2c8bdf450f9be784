"""How ``trtqat.fine_tune`` trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

from trtqat.checks import check_choice, check_kind, check_least
from trtqat.errors import UsageError

_LEARNING_RATES = {"sgd": 0.002, "adamw": 1e-4}


class FineTuneKeywords(TypedDict, total=False):
    """The options of ``trtqat.fine_tune``, as ``FineTuneOptions`` describes them."""

    lr: float | None
    optimizer: Literal["sgd", "adamw"]
    momentum: float
    weight_decay: float
    warm_up: float
    ranges: Literal["learned", "fixed"] | None
    range_lr: float
    freeze_batch_norm: int | None
    teacher_share: float
    distance: Literal["auto", "kl", "mse"]
    temperature: float
    amp: Literal["bf16", "fp16"] | None
    clip: float | None
    ema: float | None
    steps: int | None


@dataclass(frozen=True)
class FineTuneOptions:
    """How to train.

    Attributes:
        epochs: Passes over the data.
        lr: The highest learning rate; None for 0.002 with SGD, 0.0001 with AdamW.
        optimizer: "sgd" has momentum; "adamw" is for what was trained with it, as transformers.
        momentum: Of SGD.
        weight_decay: Of weights alone: not of ranges, norms and biases.
        warm_up: Share of the steps in which the learning rate rises, 0 to 1. It falls to zero as a
            half cosine.
        ranges: "learned" or "fixed". None trains a model without quantizers: a float control that
            sees the same batches at the same rates.
        range_lr: Share by which a step changes a learned range, at the highest.
        freeze_batch_norm: Epoch, from 0, from which BatchNorms keep their statistics; None for
            the second half of the epochs.
        teacher_share: Share of the teacher in the loss where there are labels as well, 0 to 1.
        distance: To the teacher's outputs: "kl", the Kullback-Leibler divergence of softened
            logits, "mse", their squared error over the mean square of the teacher's, or "auto",
            which takes "kl" for outputs ``(N, C)``.
        temperature: Softens logits for "kl".
        amp: Autocast type of what is not quantized, which computes in float32; "fp16" scales the
            loss on a GPU.
        clip: Largest L2 norm of the gradient of all weights.
        ema: Decay of the exponential moving average of weights and ranges, as 0.999; the model has
            the averages at the end.
        steps: Batches in an epoch; needed where ``len`` cannot tell.
    """

    epochs: int
    lr: float | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: float = 0.1
    ranges: Literal["learned", "fixed"] | None = "learned"
    range_lr: float = 1e-2
    freeze_batch_norm: int | None = None
    teacher_share: float = 0.5
    distance: Literal["auto", "kl", "mse"] = "auto"
    temperature: float = 4.0
    amp: Literal["bf16", "fp16"] | None = None
    clip: float | None = None
    ema: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "freeze_batch_norm", "steps"):
            value = getattr(self, name)
            if value is not None or name == "epochs":
                check_kind(name, value, int, "10")
                check_least(name, value, 0 if name == "freeze_batch_norm" else 1)
        for name in ("lr", "range_lr", "clip", "temperature"):
            value = getattr(self, name)
            if value is not None:
                check_kind(name, value, (int, float), "0.01")
                if not 0 < value < float("inf"):
                    raise UsageError(f"{name} is {value!r}.", "Give a number above 0.")
        for name in ("momentum", "weight_decay", "warm_up", "teacher_share", "ema"):
            value = getattr(self, name)
            if value is not None:
                check_kind(name, value, (int, float), "0.1")
                if not 0 <= value <= 1:
                    raise UsageError(f"{name} is {value!r}.", "Give a number from 0 to 1.")
        check_choice("optimizer", self.optimizer, ("sgd", "adamw"))
        check_choice("ranges", self.ranges, ("learned", "fixed", None))
        check_choice("distance", self.distance, ("auto", "kl", "mse"))
        check_choice("amp", self.amp, ("bf16", "fp16", None))

    @property
    def highest_lr(self) -> float:
        """The highest learning rate of the weights."""
        return self.lr if self.lr is not None else _LEARNING_RATES[self.optimizer]

    @property
    def frozen_from(self) -> int:
        """The epoch from which BatchNorms keep their statistics."""
        if self.freeze_batch_norm is not None:
            return self.freeze_batch_norm
        return (self.epochs + 1) // 2
