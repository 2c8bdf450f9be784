"""Each call of a toolkit's quantizer is compared with the pair that will stand for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from trtqat.errors import QuantizerError
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


def test_a_class_with_a_call_of_its_own_is_refused() -> None:
    quantizer = toolkit_quantizer(1.5)

    class Shifted(type(quantizer)):  # type: ignore[misc]
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return super().__call__(x) + 0.25  # type: ignore[no-any-return]

    quantizer.__class__ = Shifted
    with pytest.raises(QuantizerError, match="'0' has a class with a __call__ of its own"):
        run_checked(quantizer, X)
