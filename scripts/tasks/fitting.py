"""Training of the small models of this room, and the command line of each."""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from scripts.fitting import scheduled_lr, without_denormals
from scripts.training_options import positive
from trtqat.errors import TrtqatError
from trtqat.files import write_atomically

Batches = Callable[[int], Iterator[tuple[torch.Tensor, object]]]


@without_denormals()
def fit(
    model: nn.Module,
    batches: Batches,
    loss: Callable[[object, object], torch.Tensor],
    *,
    epochs: int,
    steps: int,
    lr: float,
    title: str,
) -> None:
    """Trains a model in place by AdamW, with a warm-up and a cosine schedule.

    Args:
        model: Left in eval mode.
        batches: Inputs and targets of an epoch, by its number from 0.
        loss: Of what the model returns and the targets.
        epochs: Passes over the data.
        steps: Batches in one.
        lr: Highest learning rate.
        title: Begins each progress line on standard error.

    Raises:
        TrtqatError: The loss is not finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    begin, step = time.perf_counter(), 0
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for inputs, targets in batches(epoch):
            for group in optimizer.param_groups:
                group["lr"] = scheduled_lr(lr, step, epochs * steps)
            found = loss(model(inputs), targets)
            optimizer.zero_grad(set_to_none=True)
            found.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(found.detach())
            step += 1
        if not math.isfinite(total):
            raise TrtqatError(f"{title} diverged: its loss is {total}.", "Lower the learning rate.")
        seconds = time.perf_counter() - begin
        print(
            f"{title}: epoch {epoch + 1} of {epochs}, loss {total / steps:.4f}, {seconds:.1f} s",
            file=sys.stderr,
        )
    model.eval()


def shuffled(count: int, batch_size: int, epoch: int) -> tuple[torch.Tensor, ...]:
    """The samples of each whole batch of an epoch, in an order that the epoch alone decides.

    Args:
        count: Samples.
        batch_size: In each batch; what is left over waits for another epoch.
        epoch: From 0.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch))
    return torch.split(order[: count // batch_size * batch_size], batch_size)


def save(model: nn.Module, path: Path) -> None:
    """Writes a model's state dict, whole or not at all.

    Args:
        model: Trained.
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save(model.state_dict(), content)
    write_atomically(path, content.getvalue())


def train_by_command(
    train: Callable[[Path, int, int], None], words: str, *, scenes: int, epochs: int
) -> None:
    """Trains as the command line says.

    Args:
        train: Gets the file to write, how many scenes, and how many epochs.
        words: What the command does.
        scenes: How many if none are asked for.
        epochs: The same.
    """
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--scenes", type=positive, default=scenes)
    parser.add_argument("--epochs", type=positive, default=epochs)
    given = parser.parse_args()
    train(given.output, given.scenes, given.epochs)
