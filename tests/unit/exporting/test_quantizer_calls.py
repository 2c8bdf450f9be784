"""Each call of a toolkit's quantizer is compared with the pair that will stand for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import trtqat
from trtqat.errors import ExportError, QuantizerError
from trtqat.exporting.options import Exporter
from trtqat.exporting.quantizer_calls import checked_quantizers
from trtqat.quant.toolkits.quantizers import read_quantizers
from trtqat.quant.toolkits.silence import load_toolkit, quiet_toolkit


def toolkit_quantizer(amax: object, **descriptor: Any) -> Any:
    toolkit = load_toolkit()
    with quiet_toolkit():
        made = toolkit.nn.TensorQuantizer(toolkit.tensor_quant.QuantDescriptor(**descriptor))
    made.register_buffer("_amax", torch.as_tensor(amax))
    return made.eval()


def run_checked(quantizer: nn.Module, x: torch.Tensor) -> None:
    model = nn.Sequential(quantizer)
    with checked_quantizers(model, read_quantizers(model)), torch.no_grad():
        model(x)


X = torch.linspace(-2, 2, 101)


def doubled_before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return args[0] * 2


def doubled_after(module: nn.Module, args: object, output: torch.Tensor) -> torch.Tensor:
    return output * 2


def doubled_in_place(module: nn.Module, args: object, output: torch.Tensor) -> None:
    output.mul_(2)


@pytest.mark.parametrize(
    "add",
    [
        lambda quantizer: quantizer.register_forward_pre_hook(doubled_before),
        lambda quantizer: quantizer.register_forward_hook(doubled_after),
        lambda quantizer: quantizer.register_forward_hook(doubled_in_place),
    ],
)
@pytest.mark.parametrize("enabled", [True, False])
def test_a_hook_that_changes_numbers_is_refused(
    add: Callable[[nn.Module], object], enabled: bool
) -> None:
    quantizer = toolkit_quantizer(1.5)
    if not enabled:
        quantizer.disable()
    add(quantizer)
    with pytest.raises(QuantizerError, match="'0' has a hook that changes what it reads"):
        run_checked(quantizer, X.clone())


def test_a_hook_that_looks_on_is_let_through_and_stays() -> None:
    quantizer, seen = toolkit_quantizer(1.5), []
    quantizer.register_forward_hook(lambda _, args, output: seen.append(output.amax()))
    run_checked(quantizer, X)
    assert len(seen) == 1
    assert len(quantizer._forward_hooks) == 1
    assert not quantizer._forward_pre_hooks


class Named(nn.Module):
    """Gives its quantizers what they read by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.input, self.weight = toolkit_quantizer(3.0), toolkit_quantizer(0.5)
        self.off = toolkit_quantizer(1.0)
        self.off.disable()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, weight = self.input(inputs=self.off(inputs=x)), self.weight(inputs=self.layer.weight)
        return nn.functional.linear(x, weight, self.layer.bias)


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_quantizers_that_are_called_by_name(exporter: Exporter, tmp_path: Path) -> None:
    done = trtqat.export(
        Named().eval(), tmp_path / "model.onnx", inputs=["x:1x4"], exporter=exporter
    )
    assert (done.pairs, done.disabled) == (2, 1)
    assert done.verification.sqnr_db > 100


def test_a_class_with_a_call_of_its_own_is_refused() -> None:
    quantizer = toolkit_quantizer(1.5)

    class Shifted(type(quantizer)):  # type: ignore[misc]
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return super().__call__(x) + 0.25  # type: ignore[no-any-return]

    quantizer.__class__ = Shifted
    with pytest.raises(QuantizerError, match="'0' has a class with a __call__ of its own"):
        run_checked(quantizer, X)


def test_any_number_of_values_may_lie_on_ties() -> None:
    """Bytes of images over 255, with the range of the brightest pixel but white."""
    run_checked(toolkit_quantizer(254 / 255), torch.arange(255) / 255)


def test_a_wrong_scale_is_no_tie() -> None:
    quantizer = toolkit_quantizer(254 / 255)
    model = nn.Sequential(quantizer)
    found = read_quantizers(model)
    quantizer._amax.mul_(1.002)
    with (
        pytest.raises(ExportError, match="makes other codes than its scale says"),
        checked_quantizers(model, found),
    ):
        model(torch.rand(200, generator=torch.Generator().manual_seed(0)))


def test_zeros_of_a_range_of_zero_are_named() -> None:
    """A channel that was zero at calibration and has been trained since."""
    quantizer = toolkit_quantizer(torch.tensor([1.0, 0.0, 1.0]).reshape(3, 1))
    with pytest.raises(ExportError, match="an amax of 0 in 1 of 3 channels, but reads other"):
        run_checked(quantizer, torch.full((3, 2), 0.5))
    run_checked(quantizer, torch.tensor([[0.5], [0.0], [0.5]]))
