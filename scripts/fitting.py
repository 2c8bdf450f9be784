"""Training and counting, for every script that trains: no figure differs by who counted it."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from trtqat.errors import TrtqatError
from trtqat.quant.tuning.fine_tune import fine_tune

MOMENTUM = 0.9
# Share of the steps in which the learning rate rises.
WARM_UP = 0.1


def to_unit(pixels: torch.Tensor) -> torch.Tensor:
    """The same as ``trtqat.data.idx.scale``, on the device."""
    return pixels.float() / 255.0


@dataclass(frozen=True)
class Images:
    """A split on the device.

    Attributes:
        pixels: Uint8, shape ``(N, C, H, W)``.
        labels: Int64, shape ``(N,)``.
        as_input: Makes of uint8 pixels what the model takes, a batch at a time.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    as_input: Callable[[torch.Tensor], torch.Tensor] = to_unit

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
        crop_padding: Black pixels on each side before an image is cropped to its size.
        optimizer: SGD with momentum, or AdamW.
        weight_decay: Of all parameters.
        label_smoothing: Share of a label that goes to all classes evenly.
        bfloat16: Whether to compute in it where PyTorch holds it safe; weights stay in float32.
    """

    epochs: int
    lr: float
    batch_size: int
    flip: bool
    seed: int
    crop_padding: int = 4
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    bfloat16: bool = False


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


@contextlib.contextmanager
def without_denormals() -> Iterator[None]:
    """Has the CPU take denormal numbers for 0, also where training ends in an error.

    Once a model has learned, many gradients are such numbers, which are computed some twenty times
    slower.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@without_denormals()
def fit(model: nn.Module, images: Images, recipe: Recipe, *, title: str) -> Fit:
    """Trains a model in place with random crops, a warm-up and a cosine schedule.

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
    optimizer = _optimizer(model, recipe)
    before = {name: value.detach().clone() for name, value in _weights(model).items()}
    # Near-equal batches: a last batch of one image would have no variance for BatchNorm.
    batches = math.ceil(len(images) / recipe.batch_size)
    steps = recipe.epochs * batches
    begin = time.perf_counter()
    loss = math.nan
    for epoch in range(recipe.epochs):
        model.train()
        total = torch.zeros((), device=images.labels.device)
        order = torch.randperm(len(images), generator=generator)
        for index, chosen in enumerate(torch.tensor_split(order, batches)):
            lr = scheduled_lr(recipe.lr, epoch * batches + index, steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            chosen = chosen.to(images.labels.device)
            pixels = augment(
                images.pixels[chosen], generator, flip=recipe.flip, padding=recipe.crop_padding
            )
            step_loss = _loss(model, images.as_input(pixels), images.labels[chosen], recipe)
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
    model.eval()
    return Fit(time.perf_counter() - begin, loss, _weight_change(model, before, title))


def tune(
    model: nn.Module,
    images: Images,
    recipe: Recipe,
    *,
    title: str,
    ranges: Literal["learned", "fixed"] | None,
    teacher: nn.Module | None = None,
) -> Fit:
    """Trains a model on by ``trtqat.fine_tune``: a quantized one, or its float control.

    Args:
        model: On the device of the images; left in eval mode.
        images: Training images.
        recipe: How to train; with the same one, both see the same batches at the same rates.
        title: Begins each progress line on standard error.
        ranges: "learned" or "fixed"; None for a float model.
        teacher: The float model that a quantized one learns from, besides the labels.

    Raises:
        TrtqatError: The loss is not finite, or a weight did not move.
    """
    steps = math.ceil(len(images) / recipe.batch_size)
    device = images.labels.device

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        generator = torch.Generator().manual_seed(recipe.seed * 10_000 + epoch)
        order = torch.randperm(len(images), generator=generator)
        for chosen in torch.tensor_split(order, steps):
            chosen = chosen.to(device)
            pixels = augment(
                images.pixels[chosen], generator, flip=recipe.flip, padding=recipe.crop_padding
            )
            yield images.as_input(pixels), images.labels[chosen]

    def report(epoch: int, step: int, _: int, loss: float) -> None:
        if step == steps:
            seconds = time.perf_counter() - begin
            print(
                f"{title}: epoch {epoch} of {recipe.epochs}, loss {loss:.4f}, {seconds:.1f} s",
                file=sys.stderr,
            )

    torch.manual_seed(recipe.seed)
    before = {name: value.detach().clone() for name, value in _weights(model).items()}
    begin = time.perf_counter()
    done = fine_tune(
        *(model, batches),
        epochs=recipe.epochs,
        teacher=teacher,
        loss=partial(nn.functional.cross_entropy, label_smoothing=recipe.label_smoothing),
        progress=report,
        steps=steps,
        lr=recipe.lr,
        optimizer=recipe.optimizer,
        weight_decay=recipe.weight_decay,
        amp="bf16" if recipe.bfloat16 else None,
        ranges=ranges,
    )
    seconds = time.perf_counter() - begin
    return Fit(seconds, done.epochs[-1].loss, _weight_change(model, before, title))


def count_correct(model: nn.Module, images: Images, batch_size: int) -> Accuracy:
    """Counts right answers over every image once.

    Args:
        model: On the device of the images; left in eval mode.
        images: Test images.
        batch_size: Largest number of images at once.
    """
    answers = predict(model, images, batch_size)
    return Accuracy(int((answers == images.labels).sum()), len(images))


def predict(model: nn.Module, images: Images, batch_size: int) -> torch.Tensor:
    """The class that a model gives each image; the last batch is as small as it is.

    Args:
        model: On the device of the images; left in eval mode.
        images: Test images.
        batch_size: Largest number of images at once.

    Returns:
        Int64, shape ``(N,)``, on the device.
    """
    model.eval()
    with torch.inference_mode():
        return torch.cat(
            [
                model(images.as_input(pixels)).argmax(dim=1)
                for pixels in torch.split(images.pixels, batch_size)
            ]
        )


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


def augment(
    pixels: torch.Tensor, generator: torch.Generator, *, flip: bool, padding: int = 4
) -> torch.Tensor:
    """Random crops of the images with black pixels around them, each of its image's size.

    Args:
        pixels: Uint8, shape ``(N, C, H, W)``.
        generator: On the CPU.
        flip: Whether to mirror half of the images. Right for CIFAR-10, wrong for digits.
        padding: Black pixels on each side.

    Returns:
        Uint8 of the same shape.
    """
    count, channels, height, width = pixels.shape
    padded = nn.functional.pad(pixels, (padding,) * 4)
    top = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    left = torch.randint(0, 2 * padding + 1, (count, 1), generator=generator)
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    rows, columns = rows.to(pixels.device), columns.to(pixels.device)
    each = torch.arange(count, device=pixels.device).reshape(-1, 1, 1, 1)
    channel = torch.arange(channels, device=pixels.device).reshape(1, -1, 1, 1)
    return padded[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=MOMENTUM, weight_decay=recipe.weight_decay
    )


def _loss(
    model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=recipe.bfloat16):
        logits = model(inputs)
    return nn.functional.cross_entropy(
        logits.float(), labels, label_smoothing=recipe.label_smoothing
    )


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
