"""Training of the small models of this room."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

from scripts.fitting import scheduled_lr, without_denormals
from trtqat.errors import TrtqatError

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
