"""Models that other toolkits than pytorch-quantization quantized."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.ao import quantization
from torch.ao.nn.quantized import FloatFunctional

from trtqat.quant.toolkits.silence import quiet_toolkit

# Half of it has no annotations.
ao: Any = quantization


def modelopt() -> ModuleType:
    """ModelOpt's ``modelopt.torch.quantization``; skips the test where it is not installed."""
    pytest.importorskip("modelopt", reason="nvidia-modelopt is in the extra dev")
    with quiet_toolkit():
        import modelopt.torch.quantization as toolkit

    return toolkit  # type: ignore[no-any-return]


@contextlib.contextmanager
def ao_deprecated() -> Iterator[None]:
    """Around what of torch.ao.quantization is deprecated, in favour of torchao."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "Please use quant_min and quant_max", UserWarning)
        yield


def ao_activation(kind: Any = ao.FakeQuantize, **changes: Any) -> Any:
    """A constructor of symmetric INT8 fake quantizers for activations."""
    options = {
        "observer": ao.MovingAverageMinMaxObserver,
        "quant_min": -128,
        "quant_max": 127,
        "dtype": torch.qint8,
        "qscheme": torch.per_tensor_symmetric,
    }
    return kind.with_args(**{**options, **changes})


def ao_weight(kind: Any = ao.FakeQuantize, **changes: Any) -> Any:
    """The same for weights, per output channel."""
    options = {
        "observer": ao.MovingAveragePerChannelMinMaxObserver,
        "qscheme": torch.per_channel_symmetric,
    }
    return ao_activation(kind, **{**options, **changes})


class Small(nn.Module):
    """What prepare_qat knows: stubs, a convolution with BatchNorm, an addition, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.add = FloatFunctional()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu1(self.bn1(self.conv1(self.quant(x))))
        x = self.add.add(x, self.conv2(x))
        y: torch.Tensor = self.dequant(self.fc(x.mean((2, 3))))
        return y


def ao_model(
    activation: Any = None, weight: Any = None, *, fused: bool = True, observing: bool = False
) -> nn.Module:
    """A small model after prepare_qat and three batches, in eval mode.

    Args:
        activation: Constructor of its activations' fake quantizers.
        weight: Constructor of its weights' fake quantizers.
        fused: Whether convolution, BatchNorm and ReLU are one layer, whose weight is scaled by
            the BatchNorm before it is quantized.
        observing: Whether the observers stay on.
    """
    torch.manual_seed(0)
    model: Any = Small()
    # Of both signs, so that the scaled weight is another one.
    nn.init.normal_(model.bn1.weight, std=0.5)
    with ao_deprecated():
        model.qconfig = ao.QConfig(activation or ao_activation(), weight or ao_weight())
        model.train()
        if fused:
            model = ao.fuse_modules_qat(model, [["conv1", "bn1", "relu1"]])
        model = ao.prepare_qat(model)
    for _ in range(3):
        model(torch.randn(8, 3, 8, 8))
    if not observing:
        model.apply(ao.disable_observer)
    prepared: nn.Module = model.eval()
    return prepared


def modelopt_model(configuration: Any = None, *, calibrated: bool = True) -> nn.Module:
    """Convolution, BatchNorm and linear layers as mtq.quantize leaves them, in eval mode."""
    toolkit = modelopt()
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.ReLU(),
        nn.Linear(16, 4),
    ).eval()

    def calibrate(each: nn.Module) -> None:
        each(torch.randn(8, 3, 8, 8))

    with quiet_toolkit(), contextlib.redirect_stdout(None):
        quantized: nn.Module = toolkit.quantize(
            model, configuration or toolkit.INT8_DEFAULT_CFG, calibrate if calibrated else None
        )
    return quantized.eval()
