"""``trtqat.fine_tune``: trains a quantized model, so that it gets back what INT8 took.

For each batch: the model's outputs are judged (loss.py), an optimizer changes the weights,
another one the ranges (learned_ranges.py), both at a rate that the step alone decides. After each
epoch the state is written (checkpoint.py), so that a run that was killed goes on exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from trtqat.checks import check_kind, check_known
from trtqat.errors import TrtqatError, UsageError
from trtqat.files import check_writable
from trtqat.quant.feeding import arguments_of, device_of
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.placing.placed import copied
from trtqat.quant.recipe import unwrapped
from trtqat.quant.tuning.checkpoint import (
    State,
    identity_of,
    read_state,
    restore_random_states,
    write_state,
)
from trtqat.quant.tuning.inputs import (
    Batches,
    check_model,
    check_repeatable,
    generator_of,
    length_of,
    moved,
    outputs_of,
    pair_of,
)
from trtqat.quant.tuning.learned_ranges import LearnedRanges
from trtqat.quant.tuning.loss import Objective, UserLoss
from trtqat.quant.tuning.optimizer import (
    optimizer_of,
    parameter_groups,
    scheduled_share,
    weights_of,
    without_denormals,
)
from trtqat.quant.tuning.options import FineTuneKeywords, FineTuneOptions
from trtqat.quant.tuning.unmoved import Unmoved

if TYPE_CHECKING:
    from typing_extensions import Unpack

Progress = Callable[[int, int, int, float], object]

_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Epoch:
    """One pass over the data.

    Attributes:
        loss: Mean over its batches.
        lr: Learning rate of the weights in its last step.
        seconds: Wall-clock time.
    """

    loss: float
    lr: float
    seconds: float


@dataclass(frozen=True)
class FineTuned:
    """What a fine-tuning did.

    Attributes:
        epochs: All of them, also those before it was resumed.
        weight_change: By layer, the L2 norm of its weight's change over that of the weight before.
        range_change: By quantizer, the factor by which a range of it changed most, as log2; empty
            where ranges were fixed.
        resumed_at: The epoch, from 0, at which this call went on.
    """

    epochs: tuple[Epoch, ...]
    weight_change: Mapping[str, float]
    range_change: Mapping[str, float]
    resumed_at: int


def fine_tune(
    model: nn.Module,
    batches: Batches,
    *,
    epochs: int,
    teacher: nn.Module | None = None,
    loss: UserLoss | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    **options: Unpack[FineTuneKeywords],
) -> FineTuned:
    """Trains a quantized model in place.

    Example: ``fine_tune(quantized.model, loader, epochs=10, teacher=fp32, checkpoint="qat.ckpt")``

    Args:
        model: From ``trtqat.quantize``, or with the calibrated quantizers of a toolkit, whose
            ranges stay as they are; also in DistributedDataParallel. It is left in eval mode.
        batches: What can be iterated once an epoch, as a DataLoader or a list; or a function that
            gives this for an epoch, counted from 0. A batch is a pair (inputs, labels): inputs as
            ``forward`` takes them, a tensor ``(N, …)``, a tuple of positional or a dict of keyword
            arguments. With a teacher labels may be None, or a batch be a tensor or dict alone.
        epochs: Passes over the data.
        teacher: The float model; the quantized one learns to return what it returns. It is left in
            eval mode.
        loss: A function of the model's outputs and the labels; cross-entropy of one tensor of
            logits ``(N, C, …)`` if None.
        checkpoint: A file that is written after every epoch. Where it is there already, training
            goes on from it, exactly as if it had never ended.
        progress: Called after every step with the epoch and the step in it, both from 1, the
            number of steps in it, and the loss.
        **options: How to train, as ``FineTuneOptions`` describes it.

    Returns:
        What was done.

    Raises:
        UsageError: An argument is wrong, a batch does not fit, or the model has no quantizer.
        SourceError: The checkpoint is damaged, or of another run.
        TrtqatError: The loss is not finite, or a weight did not move.
    """
    check_kind("The model", model, nn.Module, "torch.nn.Module")
    if teacher is not None:
        check_kind("The teacher", teacher, nn.Module, "torch.nn.Module")
    check_known(options, FineTuneKeywords.__annotations__, "a fine-tuning")
    chosen = FineTuneOptions(epochs, **options)
    check_model(model, chosen)
    check_repeatable(batches, epochs)
    objective = Objective(
        loss,
        teacher,
        share=chosen.teacher_share,
        distance=chosen.distance,
        temperature=chosen.temperature,
    )
    path = Path(checkpoint) if checkpoint is not None else None
    if path is not None:
        check_writable(path)
    with (
        # Callers may have switched gradients off, for themselves.
        torch.inference_mode(mode=False),
        torch.enable_grad(),
        _Training(model, objective, chosen) as training,
        without_denormals(training.device),
    ):
        run = identity_of(training.network, chosen, teacher, loss)
        generator = generator_of(batches)
        saved = read_state(path, run) if path is not None else None
        if saved is not None:
            training.restore(saved)
            restore_random_states(saved, generator)
        resumed_at = len(training.epochs)
        for epoch in range(resumed_at, epochs):
            if path is not None and epoch == 0:
                write_state(path, run, training.state(), generator)
            training.run_epoch(batches(epoch) if callable(batches) else batches, progress)
            if path is not None:
                write_state(path, run, training.state(), generator)
        return training.finish(resumed_at)


class _Training:
    """A model, its optimizers, and how far it is; a context in which its ranges are parameters."""

    def __init__(self, model: nn.Module, objective: Objective, options: FineTuneOptions) -> None:
        self.model = model
        # Its own names and keys, which do not depend on who wraps it.
        self.network = unwrapped(model)
        self.options = options
        self.device = device_of(model)
        self.epochs: list[Epoch] = []
        self._objective = objective
        self._weights = weights_of(self.network)
        self._start = {name: each.detach().clone() for name, each in self._weights.items()}
        self._unmoved = Unmoved(self._weights, self._start)
        # Made now: one from before the quantizers were put in could own tensors that the model
        # no longer uses.
        groups = parameter_groups(self.network, options.weight_decay)
        self._parameters = [each for group in groups for each in group["params"]]
        self._optimizers: list[torch.optim.Optimizer] = [optimizer_of(groups, options)]
        self._ranges: LearnedRanges | None = None
        has_ranges = any(isinstance(each, Int8Quantizer) for each in model.modules())
        if options.ranges == "learned" and has_ranges:
            self._ranges = LearnedRanges(self.network)
            self._optimizers.append(
                torch.optim.Adam([self._ranges.logarithms], lr=options.range_lr)
            )
        self._highest = [options.highest_lr, options.range_lr][: len(self._optimizers)]
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=options.amp == "fp16" and self.device.type == "cuda"
        )
        self._average: AveragedModel | None = None
        if options.ema is not None:
            average = get_ema_multi_avg_fn(options.ema)  # type: ignore[no-untyped-call]
            self._average = AveragedModel(copied(self.network), multi_avg_fn=average)

    def __enter__(self) -> _Training:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ranges is not None:
            self._ranges.close()
        self.model.eval()

    def run_epoch(self, batches: Iterable[Any], progress: Progress | None) -> None:
        """Trains on every batch once."""
        epoch, begin = len(self.epochs), time.perf_counter()
        steps = self.options.steps or length_of(batches)
        self._set_mode(epoch)
        total, step, lr = 0.0, 0, 0.0
        for step, batch in enumerate(batches, start=1):
            lr = self._set_lr(epoch + min((step - 1) / steps, 1.0), steps)
            loss = self._step(batch)
            if not math.isfinite(loss):
                raise TrtqatError(
                    f"The loss is {loss} in epoch {epoch + 1}, step {step}.",
                    "Check the batch for numbers that are not finite; else lower the learning rate "
                    "(lr=), or clip the gradients (clip=1.0).",
                )
            if epoch == 0:
                self._unmoved.check_step(step)
            total += loss
            if progress is not None:
                progress(epoch + 1, step, steps, loss)
        if not step:
            raise UsageError(
                f"Epoch {epoch + 1} has no batch.",
                "Give batches that can be iterated in every epoch.",
            )
        if epoch == 0:
            self._unmoved.check_epoch()
        self.epochs.append(Epoch(total / step, lr, time.perf_counter() - begin))

    def _step(self, batch: object) -> float:
        """Changes weights and ranges once; returns the loss before."""
        given, labels = pair_of(batch)
        inputs = arguments_of(given, self.device)
        kind = _AMP.get(self.options.amp or "", torch.bfloat16)
        with torch.autocast(self.device.type, kind, enabled=self.options.amp is not None):
            outputs = outputs_of(self.model, inputs)
            loss = self._objective(outputs, moved(labels, self.device), inputs)
        if not loss.requires_grad:
            raise UsageError(
                "The loss depends on nothing that is trained.",
                "Compute it from the outputs, without detach() or no_grad(), and let some "
                "parameters require gradients.",
            )
        self.model.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._ranges is not None:
            self._ranges.take_gradients()
        if self.options.clip is not None:
            self._scaler.unscale_(self._optimizers[0])
            nn.utils.clip_grad_norm_(self._parameters, self.options.clip)
        for optimizer in self._optimizers:
            self._scaler.step(optimizer)
        self._scaler.update()
        if self._ranges is not None:
            self._ranges.write()
        if self._average is not None:
            self._average.update_parameters(self.network)
        return float(loss.detach())

    def _set_mode(self, epoch: int) -> None:
        self.model.train()
        if epoch >= self.options.frozen_from:
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _set_lr(self, position: float, steps: int) -> float:
        """Sets and returns the rate of a step.

        Args:
            position: Epochs done, with their fraction.
            steps: In an epoch.
        """
        share = scheduled_share(position, self.options.epochs, steps, self.options.warm_up)
        for optimizer, highest in zip(self._optimizers, self._highest, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = share * highest
        return share * self._highest[0]

    def state(self) -> State:
        """How far it is; tensors, numbers, lists and dicts."""
        return {
            "model": self.network.state_dict(),
            "start": self._start,
            "optimizers": [each.state_dict() for each in self._optimizers],
            "ranges": self._ranges.state() if self._ranges is not None else None,
            "scaler": self._scaler.state_dict(),
            "average": self._average.state_dict() if self._average is not None else None,
            "epochs": [asdict(each) for each in self.epochs],
        }

    def restore(self, state: State) -> None:
        """Goes back to where ``state`` was called."""
        self.network.load_state_dict(state["model"])
        for name, each in state["start"].items():
            self._start[name].copy_(each)
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self._ranges is not None:
            self._ranges.restore(state["ranges"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.epochs = [Epoch(**each) for each in state["epochs"]]

    def finish(self, resumed_at: int) -> FineTuned:
        """Takes the averages, if there are any, and sums up."""
        if self._average is not None:
            averaged = self._average.module.parameters()
            for each, value in zip(self.network.parameters(), averaged, strict=True):
                each.detach().copy_(value.detach())
        ranges = self._ranges.changes() if self._ranges is not None else {}
        changes = {
            name: float((each.detach() - self._start[name]).norm())
            / max(float(self._start[name].norm()), 1e-30)
            for name, each in self._weights.items()
        }
        for name, change in changes.items():
            if not math.isfinite(change):
                raise TrtqatError(
                    f"The weight of '{name}' is no longer finite after the last step.",
                    "Lower the learning rate (lr=), or clip the gradients (clip=1.0).",
                )
        return FineTuned(tuple(self.epochs), changes, ranges, resumed_at)
