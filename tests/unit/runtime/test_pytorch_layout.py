"""In which layout a PyTorch model runs: some take one of them alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trtqat.runtime.pytorch_layout import channels_last, layout_that_runs


class Viewed(nn.Module):
    """Flattened by ``view``, as in PyTorch's first tutorial."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.last = nn.Linear(4 * 6 * 6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.first(x).view(x.shape[0], -1))
        return logits


class Flattened(Viewed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.first(x).flatten(1))
        return logits


class Broken(Viewed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"not with {len(x)}")


def chosen(model: Viewed) -> torch.memory_format:
    def run(layout: torch.memory_format) -> None:
        model(torch.zeros(2, 3, 8, 8).contiguous(memory_format=layout))

    return layout_that_runs(channels_last(model), run)


@pytest.mark.parametrize(
    ("model", "layout"),
    [(Viewed, torch.contiguous_format), (Flattened, torch.channels_last)],
)
def test_channels_are_last_where_the_model_runs_so(
    model: type[Viewed], layout: torch.memory_format
) -> None:
    made = model()
    assert chosen(made) == layout
    assert made.first.weight.is_contiguous(memory_format=layout)


def test_what_it_raises_with_either_is_raised() -> None:
    made = Broken()
    with pytest.raises(RuntimeError, match="not with 2"):
        chosen(made)
    assert made.first.weight.is_contiguous(memory_format=torch.channels_last)
