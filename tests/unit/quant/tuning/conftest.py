"""The classifier of bars, trained and calibrated once for all files here; no test changes those."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.support.bars import Net, plain, trained
from trtqat.quant.quantize import quantize


@pytest.fixture(scope="session")
def float_model() -> Net:
    return trained()


@pytest.fixture(scope="session")
def calibrated(float_model: Net) -> nn.Module:
    return quantize(float_model, [images for images, _ in plain()]).model


@pytest.fixture
def quantized(calibrated: nn.Module) -> nn.Module:
    """A copy that a test may change."""
    return copy.deepcopy(calibrated)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What is random in a test is the same, whichever tests were run before it."""
    torch.manual_seed(0)
