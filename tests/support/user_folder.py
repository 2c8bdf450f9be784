"""A user's folder as the documents take it for granted: a model, its weights, data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

MODEL = """
import torch


def fp32():
    torch.manual_seed(0)
    return Small().eval()


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 7, stride=4)
        self.conv = torch.nn.Conv2d(16, 32, 3, stride=2, bias=False)
        self.norm = torch.nn.BatchNorm2d(32)
        self.head = torch.nn.Linear(32, 8)

    def forward(self, images):
        x = torch.relu(self.stem(images))
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(x.mean((2, 3)))
"""


def fill_folder(folder: Path) -> None:
    """Writes ``model.py``, ``fp32.pt``, ``train.npz`` and ``test.npz``."""
    (folder / "model.py").write_text(MODEL)
    scope: dict[str, object] = {}
    exec(MODEL, scope)
    torch.save(scope["fp32"]().state_dict(), folder / "fp32.pt")  # type: ignore[operator]
    random = np.random.default_rng(0)
    for name, count in (("train", 16), ("test", 8)):
        images = random.standard_normal((count, 3, 224, 224), dtype=np.float32)
        labels = random.integers(0, 8, count)
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
