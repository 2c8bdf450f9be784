"""The models that quantization is tested on are models that people could train."""

from __future__ import annotations

import copy
import inspect
from functools import cache
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.architectures import ARCHITECTURES, batches, by_name, trained_like

NAMES = list(ARCHITECTURES)


pytestmark = pytest.mark.usefixtures("one_thread")


@cache
def model_of(name: str) -> nn.Module:
    return trained_like(name)


def outputs_of(model: nn.Module, batch: tuple[Tensor, ...]) -> list[Tensor]:
    outputs = model(*batch)
    if isinstance(outputs, Tensor):
        return [outputs]
    return list(outputs.values() if isinstance(outputs, dict) else outputs)


@pytest.mark.parametrize("name", NAMES)
def test_runs_the_same_every_time_in_eval_mode(name: str) -> None:
    architecture = ARCHITECTURES[name]
    (batch,) = batches(architecture, 1, 4)
    model = model_of(name)
    assert not model.training
    with torch.no_grad():
        first = outputs_of(model, batch)
        assert all(torch.equal(*pair) for pair in zip(first, outputs_of(model, batch), strict=True))
        again = outputs_of(trained_like(name), batch)
        named = outputs_of(_Named(model, architecture.inputs[0].name), batch)
    for output, same in zip(first, again, strict=True):
        assert torch.equal(output, same)
        assert output.shape[0] == 4
        assert torch.isfinite(output).all()
        # Samples differ, and the values are of a size that a loss can be made of.
        assert 0.02 < output.std(0).mean() < 20
    assert all(torch.equal(*pair) for pair in zip(first, named, strict=True))


class _Named(nn.Module):
    """Calls a model by the names of its inputs."""

    def __init__(self, model: nn.Module, first: str) -> None:
        super().__init__()
        self.model, self.first = model, first

    def forward(self, *batch: Tensor) -> object:
        names = list(inspect.signature(self.model.forward).parameters)
        assert names[0] == self.first
        return self.model(**dict(zip(names, batch, strict=False)))


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_a_loss_reaches_every_parameter(name: str) -> None:
    model = copy.deepcopy(model_of(name)).train()
    torch.manual_seed(3)
    (batch,) = batches(ARCHITECTURES[name], 1, 16, seed=5)
    losses = [(torch.randn_like(output) * output).mean() for output in outputs_of(model, batch)]
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        # A norm behind a layer, or a difference, takes its bias away again.
        assert parameter.grad.abs().max() > 1e-6 or key.endswith("bias"), key


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what multiplies, below all the functions that PyTorch has for it."""

    KINDS: ClassVar = {
        "convolution": 1,
        "addmm": 1,
        "mm": 1,
        "bmm": 1,
        "_scaled_dot_product_flash_attention_for_cpu": 2,
    }

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += self.KINDS.get(func.overloadpacket.__name__, 0)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_counted(name: str) -> None:
    (batch,) = batches(ARCHITECTURES[name], 1, 2)
    with _Counting() as counting:
        model_of(name)(*batch)
    assert counting.count == ARCHITECTURES[name].layers


@pytest.mark.parametrize("name", NAMES)
def test_batches_fit_the_inputs(name: str) -> None:
    architecture = ARCHITECTURES[name]
    made = batches(architecture, 2, 3)
    assert [len(batch) for batch in made] == [len(architecture.inputs)] * 2
    for batch in made:
        for spec, tensor in zip(architecture.inputs, batch, strict=True):
            assert tensor.shape == (3, *spec.shape[1:])
            assert str(tensor.dtype) == f"torch.{spec.dtype}"
    assert not torch.equal(made[0][0], made[1][0])
    for batch, same in zip(made, batches(architecture, 2, 3), strict=True):
        assert all(torch.equal(*pair) for pair in zip(batch, same, strict=True))
    assert not torch.equal(made[0][0], batches(architecture, 2, 3, seed=8)[0][0])
    for batch, named in zip(made, by_name(architecture, made), strict=True):
        assert list(named) == [spec.name for spec in architecture.inputs]
        assert all(map(torch.equal, named.values(), batch))


def test_channels_are_multiples_of_eight() -> None:
    # As TensorRT likes them: what stays float then does so for another reason.
    for name in NAMES:
        for module in model_of(name).modules():
            if isinstance(module, nn.modules.conv._ConvNd) and module.in_channels != 3:
                assert module.in_channels % 8 == 0, name
