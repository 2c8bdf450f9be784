"""Training and counting: what the float model, its control and the QAT model share."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn

from trtqat.data.cifar10 import MEAN, STD
from trtqat.errors import TrtqatError

CROP_PADDING = 4
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
# Share of the steps in which the learning rate rises.
WARM_UP = 0.1


@dataclass(frozen=True)
class Images:
    """A split on the device.

    Attributes:
        pixels: Uint8, shape ``(N, 3, 32, 32)``; normalized per batch.
        labels: Int64, shape ``(N,)``.
    """

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Passes over all images.
        lr: Highest learning rate.
        batch_size: Largest number of images per step.
        flip: Whether images are mirrored at random.
        seed: Decides the order, the augmentation and the dropout.
    """

    epochs: int
    lr: float
    batch_size: int
    flip: bool
    seed: int


@dataclass(frozen=True)
class Fit:
    """What a training did.

    Attributes:
        seconds: Wall-clock time.
        loss: Mean cross-entropy over the last epoch.
        weight_change: L2 norm of the change of all weights, over the norm that they had.
    """

    seconds: float
    loss: float
    weight_change: float


@dataclass(frozen=True)
class Accuracy:
    """Exact counts; a rate without them cannot be checked."""

    correct: int
    count: int

    @property
    def percent(self) -> float:
        """Top-1 accuracy."""
        return 100.0 * self.correct / self.count


def fit(model: nn.Module, images: Images, recipe: Recipe, *, title: str) -> Fit:
    """Trains a model in place with SGD, random crops, a warm-up and a cosine schedule.

    The optimizer is made here, from the parameters that the model has now: one made before the
    quantizers were inserted could own tensors that the model no longer uses.

    Args:
        model: On the device of the images; left in eval mode.
        images: Training images.
        recipe: How to train.
        title: Begins each progress line on standard error.

    Raises:
        TrtqatError: The loss is not finite.
        RuntimeError: A weight did not move.
    """
    # Dropout draws from the global generator; the rest from one on the CPU, so that
    # the order and the crops do not depend on the device.
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
    )
    before = {name: value.detach().clone() for name, value in _weights(model).items()}
    # Near-equal batches: a last batch of one image would have no variance for BatchNorm.
    batches = math.ceil(len(images) / recipe.batch_size)
    steps = recipe.epochs * batches
    begin = time.perf_counter()
    loss = math.nan
    # Once the model has learned, many gradients are denormal numbers, which a CPU computes
    # some twenty times slower.
    torch.set_flush_denormal(True)
    for epoch in range(recipe.epochs):
        model.train()
        total = torch.zeros((), device=images.labels.device)
        order = torch.randperm(len(images), generator=generator)
        for index, chosen in enumerate(torch.tensor_split(order, batches)):
            lr = scheduled_lr(recipe.lr, epoch * batches + index, steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            chosen = chosen.to(images.labels.device)
            pixels = augment(images.pixels[chosen], generator, flip=recipe.flip)
            step_loss = nn.functional.cross_entropy(model(normalize(pixels)), images.labels[chosen])
            optimizer.zero_grad(set_to_none=True)
            step_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += step_loss.detach() * len(chosen)
        loss = float(total) / len(images)
        seconds = time.perf_counter() - begin
        print(
            f"{title}: epoch {epoch + 1} of {recipe.epochs}, loss {loss:.4f}, {seconds:.1f} s",
            file=sys.stderr,
        )
        if not math.isfinite(loss):
            raise TrtqatError(f"{title} diverged: its loss is {loss}.", "Lower the learning rate.")
    torch.set_flush_denormal(False)
    model.eval()
    return Fit(time.perf_counter() - begin, loss, _weight_change(model, before, title))


def count_correct(model: nn.Module, images: Images, batch_size: int) -> Accuracy:
    """Counts right answers over every image once; the last batch is as small as it is.

    Args:
        model: On the device of the images; left in eval mode.
        images: Test images.
        batch_size: Largest number of images at once.
    """
    model.eval()
    correct = 0
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            logits = model(normalize(images.pixels[start : start + batch_size]))
            answers = logits.argmax(dim=1)
            correct += int((answers == images.labels[start : start + batch_size]).sum())
    return Accuracy(correct, len(images))


def scheduled_lr(lr: float, step: int, steps: int) -> float:
    """The learning rate of a step, computed from the step alone, so that nothing compounds.

    Args:
        lr: The highest.
        step: From 0.
        steps: Of the whole training; the rate has fallen to zero after the last one.
    """
    # Without the rise, sixteen layers often stay at chance for the first epochs.
    rise = min(1.0, (step + 1) / (WARM_UP * steps))
    return lr * rise * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """The same as ``trtqat.data.cifar10.normalize``, on the device."""
    mean = torch.tensor(MEAN, device=pixels.device).reshape(3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).reshape(3, 1, 1)
    return (pixels.float() / 255.0 - mean) / std


def augment(pixels: torch.Tensor, generator: torch.Generator, *, flip: bool) -> torch.Tensor:
    """Random 32x32 crops of the images with four black pixels around them.

    Args:
        pixels: Uint8, shape ``(N, 3, 32, 32)``.
        generator: On the CPU.
        flip: Whether to mirror half of the images. Right for CIFAR-10, wrong for digits.

    Returns:
        Uint8 of the same shape.
    """
    count, channels, height, width = pixels.shape
    padded = nn.functional.pad(pixels, (CROP_PADDING,) * 4)
    top = torch.randint(0, 2 * CROP_PADDING + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * CROP_PADDING + 1, (count, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(pixels.device), columns.to(pixels.device)
    each = torch.arange(count, device=pixels.device).reshape(-1, 1, 1, 1)
    channel = torch.arange(channels, device=pixels.device).reshape(1, -1, 1, 1)
    return padded[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Convolution and linear weights: what a quantizer quantizes."""
    return {name: value for name, value in model.named_parameters() if value.dim() > 1}


def _weight_change(model: nn.Module, before: dict[str, torch.Tensor], title: str) -> float:
    changed = norm = 0.0
    for name, value in _weights(model).items():
        difference = float((value.detach() - before[name]).square().sum())
        if difference == 0.0:
            raise RuntimeError(f"{title}: the weight '{name}' did not move; nothing was trained")
        changed += difference
        norm += float(before[name].square().sum())
    return math.sqrt(changed / norm)
