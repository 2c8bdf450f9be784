"""A model with quantizers is still the user's model, and computes what it did but for rounding."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.letting_through import BATCH, WIDTH, letting_through, tokens
from trtqat import fine_tune, load_quantized
from trtqat.errors import QuantizerError
from trtqat.quant.placing.placed import placed_quantizers, take_quantizers_off
from trtqat.quant.quantize import keeping, quantize


class Residual(nn.Module):
    """Sums in place, of which one drops what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        y += x
        z = torch.relu(self.second(y)).clone()
        z *= 2
        z.add_(torch.relu(y))
        logits: Tensor = self.last(z)
        return logits


def test_what_is_computed_in_place_is_computed_in_place() -> None:
    model = Residual().eval()
    found = quantize(model, [tokens(0)])
    names = {place for each in found.ranges for place in each.places}
    assert {"add.right", "add_1.left", "add_1.right"} <= names
    with letting_through(found.model):
        assert torch.equal(found.model(tokens(1)), model(tokens(1)))
    assert not torch.equal(found.model(tokens(1)), model(tokens(1)))
    # A gradient arrives although what the quantizers read was changed afterwards.
    found.model(tokens(1)).sum().backward()
    assert all(each.grad is not None for each in found.model.parameters())


@pytest.mark.parametrize("as_copy", ["deepcopy", "pickle", "submodule"])
def test_copies_are_quantized_by_themselves(as_copy: str) -> None:
    model = nn.Sequential(Residual(), nn.ReLU())
    found: Any = quantize(model, [tokens(0)]).model
    expected = found(tokens(1))
    other: Any
    if as_copy == "deepcopy":
        other = copy.deepcopy(found)
    elif as_copy == "pickle":
        other = pickle.loads(pickle.dumps(found))
    else:
        other = nn.Sequential(copy.deepcopy(found[0]), nn.ReLU())
    assert torch.equal(other(tokens(1)), expected)
    assert isinstance(other[0], Residual)
    assert type(other[0]).__name__ == "Residual"
    with torch.no_grad():
        for each in placed_quantizers(other):
            each.module.amax.mul_(0.5)
    assert torch.equal(found(tokens(1)), expected)
    assert not torch.equal(other(tokens(1)), expected)


def test_quantizers_can_be_taken_off() -> None:
    model = Residual().eval()
    found = quantize(model, [tokens(0)]).model
    take_quantizers_off(found)
    assert type(found) is Residual
    assert found.state_dict().keys() == model.state_dict().keys()
    assert torch.equal(found(tokens(1)), model(tokens(1)))


def test_the_model_that_was_given_is_as_it_was() -> None:
    model = Residual().train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    quantize(model, [tokens(0)])
    assert type(model) is Residual
    assert model.training
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert state.keys() == model.state_dict().keys()


class Sometimes(nn.Module):
    """Calls a function in training that shifts the places of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x @ torch.eye(WIDTH)
        y: Tensor = torch.softmax(x @ x.transpose(1, 2), -1) @ self.fc(x)
        return y


def test_a_forward_that_takes_another_way_is_refused_not_misread() -> None:
    found = quantize(Sometimes(), [tokens(0)]).model
    found(tokens(1))
    found.train()
    with pytest.raises(QuantizerError, match="called 'matmul' 3 times, but 2 times when") as raised:
        found(tokens(1))
    assert "module of its own" in raised.value.remedy


class Pooling(nn.Module):
    """Its own pool is quantized; that of a module of PyTorch's is not, or runs in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.pool, self.norm = nn.AvgPool1d(1), nn.LayerNorm(WIDTH)
        self.aux = nn.Sequential(nn.AvgPool1d(2), nn.Flatten(), nn.Linear(10, 3))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = torch.relu(self.norm(self.pool(self.first(x))))
        aux = self.aux(x[:, :, :4]) if self.training else None
        y: Tensor = self.second(functional.avg_pool1d(x, 1))
        return y if aux is None else (y, aux)


def test_pools_of_modules_are_not_counted_as_those_of_the_forward(tmp_path: Path) -> None:
    model = Pooling()
    found = quantize(model, [tokens(0)])
    assert {place for each in found.ranges for place in each.places} >= {"avg_pool1d.input"}
    found.save(tmp_path / "int8.pt")
    loaded = load_quantized(model, tmp_path / "int8.pt")
    assert torch.equal(loaded(tokens(1)), found.model(tokens(1)))
    for each in (found.model, loaded):
        y, aux = each.train()(tokens(1))
        assert torch.equal(y, each.eval()(tokens(1)))
        assert aux.shape == (BATCH, 3)


class Hooked(nn.Module):
    """Weights that hooks compute before each run, as code from before parametrizations has them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.utils.weight_norm(nn.Linear(WIDTH, WIDTH))
        self.second = nn.utils.spectral_norm(nn.Linear(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(torch.relu(self.first(x)))
        return y


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weights_that_hooks_compute_are_quantized(tmp_path: Path) -> None:
    model = Hooked()
    found = quantize(model, [tokens(0)])
    assert {place for each in found.ranges if each.is_weight for place in each.places} == {
        "first.linear.weight",
        "second.linear.weight",
    }
    found.save(tmp_path / "int8.pt")
    # A run with gradients leaves weights that copy.deepcopy refuses, in both models.
    for each in (model, found.model):
        each.train()(tokens(2)).sum().backward()
        each.eval()
    loaded = load_quantized(model, tmp_path / "int8.pt")
    kept = keeping(found, ["second"])
    assert [layer.kept for layer in kept.layers] == ["", "as asked"]
    fine_tune(found.model, [tokens(0)], epochs=1, teacher=model, ema=0.9)
    assert not torch.equal(loaded(tokens(1)), model(tokens(1)))


def test_threads_have_places_of_their_own() -> None:
    found = quantize(Residual(), [tokens(0)]).model
    expected = [found(tokens(seed)) for seed in range(8)]
    results: dict[int, Tensor] = {}

    def run(seed: int) -> None:
        for _ in range(20):
            results[seed] = found(tokens(seed))

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[seed], expected[seed]) for seed in range(8))


def test_an_error_of_the_model_leaves_nothing_behind() -> None:
    found = quantize(Residual(), [tokens(0)]).model
    expected = found(tokens(1))
    with pytest.raises(RuntimeError):
        found(torch.ones(2, 3))
    assert torch.equal(found(tokens(1)), expected)


def test_the_state_dict_is_that_of_the_float_model_and_the_ranges() -> None:
    found = quantize(Residual(), [tokens(0)]).model
    added = found.state_dict().keys() - Residual().state_dict().keys()
    assert added == {
        f"{place}.amax"
        for place in (
            *("first.int8.input", "first.int8.weight", "second.int8.input", "second.int8.weight"),
            *("last.int8.input", "last.int8.weight", "int8.right", "int8.add_1_left"),
            "int8.add_1_right",
        )
    }
    buffer = io.BytesIO()
    torch.save(found.state_dict(), buffer)
    buffer.seek(0)
    other = copy.deepcopy(found)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(tokens(1)), found(tokens(1)))
