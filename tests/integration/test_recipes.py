"""The commands of the recipes that need no GPU, typed one behind the other as a recipe has them."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.commands import in_process
from trtqat.host.recipes.book import recipe_for
from trtqat.host.recipes.recipe import BY_TEST
from trtqat.host.surroundings import HostKind

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


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A user's folder, as the page of recipes takes it for granted."""
    (tmp_path / "model.py").write_text(MODEL)
    scope: dict[str, object] = {}
    exec(MODEL, scope)
    torch.save(scope["fp32"]().state_dict(), tmp_path / "fp32.pt")  # type: ignore[operator]
    random = np.random.default_rng(0)
    for name, count in (("train", 16), ("test", 8)):
        images = random.standard_normal((count, 3, 224, 224), dtype=np.float32)
        labels = random.integers(0, 8, count)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=labels)
    return tmp_path


@pytest.mark.parametrize("kind", ["no-gpu", "rtx-card"])
def test_what_is_marked_as_run_here_runs(kind: HostKind, checkout: Path) -> None:
    lines = [
        step.command
        for step in recipe_for(kind).steps
        if step.mark == "run" and step.how == BY_TEST
    ]
    assert len(lines) >= 5
    for line in lines:
        program, *words = shlex.split(line)
        assert program == "trtqat"
        done = in_process(checkout, *words)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
