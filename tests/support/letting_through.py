"""Quantizers that change nothing, and small batches of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from trtqat.quant.placing.placed import placed_quantizers

BATCH, TOKENS, WIDTH = 3, 5, 8


def tokens(seed: int, length: int = TOKENS) -> Tensor:
    """Random tokens (BATCH, length, WIDTH)."""
    return torch.randn(BATCH, length, WIDTH, generator=torch.Generator().manual_seed(seed))


@contextmanager
def letting_through(model: nn.Module) -> Iterator[None]:
    """Quantizers that only look, so that what is around them can be compared exactly."""
    for each in placed_quantizers(model):
        each.module.observer = lambda _: None
    try:
        yield
    finally:
        for each in placed_quantizers(model):
            each.module.observer = None
