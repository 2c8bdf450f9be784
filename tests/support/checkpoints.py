"""A small network whose states are saved and loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trtqat.quant.training import calibrate, insert_quantizers


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc(self.norm(self.conv(x)).mean((2, 3)))
        return y


def qat(seed: int = 0, *, calibrated: bool = True) -> Net:
    torch.manual_seed(seed)
    model = Net()
    insert_quantizers(model)
    if calibrated:
        calibrate(model, [torch.randn(2, 3, 8, 8)])
    return model.eval()


class Versioned(nn.Linear):
    """Refuses what its first version saved."""

    _version = 2

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *others: Any
    ) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError("version 1 has another form")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)
