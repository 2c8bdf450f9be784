"""A small FP32 model that INT8 harms, in a file of a user's, with its checkpoint and data.

Some channels of its layers are much larger than others, and the weights behind them as much
smaller: the function is what a model has whose channels are even, and one range cannot hold them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

CODE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.even = nn.Conv2d(8, 8, 3, padding=1)
        self.hard = nn.Conv2d(8, 12, 3, padding=1)
        self.harder = nn.Conv2d(12, 16, 1)
        self.fc = nn.Linear(16, classes)

    def forward(self, images):
        x = torch.relu(self.even(torch.relu(self.stem(images))))
        x = torch.relu(self.harder(torch.relu(self.hard(x))))
        return self.fc(x.mean((2, 3)))


def fp32(classes=5):
    torch.manual_seed(0)
    net = Net(classes)
    with torch.no_grad():
        for layer, after, factor in ((net.even, net.hard, 60.0), (net.hard, net.harder, 4000.0)):
            layer.weight[0] *= factor
            layer.bias[0] *= factor
            after.weight[:, 0] /= factor
        # Not one class alone: the logits of the data are centred.
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(64, 3, 6, 6, generator=generator)
        logits = net(images)
        net.fc.weight /= logits.std(0)[:, None]
        net.fc.bias.copy_((net.fc.bias - logits.mean(0)) / logits.std(0))
    return net


def scripted():
    return torch.jit.script(fp32())


def broken():
    net = fp32()
    net.forward = lambda images: (_ for _ in ()).throw(RuntimeError("too small"))
    return net
"""


@dataclass(frozen=True)
class Files:
    """Where they are.

    Attributes:
        folder: Of all of them.
        source: ``model.py:fp32``.
        checkpoint: Its state dict.
        data: ``npz:train.npz``, 96 samples with labels.
        eval_data: ``npz:val.npz``, 200 samples, whose labels are what the model says of them.
    """

    folder: Path
    source: str
    checkpoint: str
    data: str
    eval_data: str


def write_files(folder: Path) -> Files:
    """Writes model, checkpoint and data."""
    (folder / "model.py").write_text(CODE)
    names: dict[str, object] = {}
    exec(compile(CODE, "model.py", "exec"), names)
    net = names["fp32"]()  # type: ignore[operator]
    torch.save(net.state_dict(), folder / "fp32.pt")
    for seed, (name, count) in enumerate((("train", 96), ("val", 200))):
        images = np.random.default_rng(seed).standard_normal((count, 3, 6, 6)).astype(np.float32)
        with torch.no_grad():
            labels = net(torch.from_numpy(images)).argmax(1).numpy()
        np.savez(folder / f"{name}.npz", images=images, labels=labels)
    return Files(
        folder,
        f"{folder / 'model.py'}:fp32",
        str(folder / "fp32.pt"),
        f"npz:{folder / 'train.npz'}",
        f"npz:{folder / 'val.npz'}",
    )
