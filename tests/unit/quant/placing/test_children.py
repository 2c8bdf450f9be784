"""Forwards that go through the children of their module, of which ``int8`` is none to them."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import trtqat
from tests.support.letting_through import WIDTH, letting_through, tokens
from trtqat.exporting.options import Exporter
from trtqat.quant.placing.placed import placed_quantizers, take_quantizers_off
from trtqat.quant.quantize import quantize

pytestmark = pytest.mark.usefixtures("one_thread")


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH)


class Super(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + super().forward(x)  # type: ignore[no-untyped-call]
        return y


class Loop(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        y = x
        for each in self:
            y = each(y)
        assert len(self) == 2
        return y + x


class Named(nn.ModuleDict):
    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for each in self.values():
            parts.append(each(parts[-1]))
        return torch.cat(parts, 1)


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = linear(), linear(), linear()

    def forward(self, x: Tensor) -> Tensor:
        *body, head = self.children()
        y = x
        for each in body:
            y = each(y)
        logits: Tensor = head(torch.relu(x + y))
        return logits


class Inside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.only = linear()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for each in self._modules.values():
            assert each is not None
            y = each(y)
        return torch.relu(x + y)


def walking() -> nn.Sequential:
    """A model with each of them; another layer reads what each returns."""
    torch.manual_seed(0)
    named = Named({"one": linear(), "two": nn.ReLU()})
    walkers = (Super(linear(), nn.ReLU()), Loop(linear(), nn.ReLU()), named, Inside(), Last())
    return nn.Sequential(linear(), *walkers).eval()


def hooked() -> nn.Sequential:
    """A hook adds in the forward of a plain container, and another one where nothing reads it."""
    torch.manual_seed(0)
    inner = nn.Sequential(linear(), nn.ReLU())
    model = nn.Sequential(linear(), nn.ReLU(), linear(), Super(inner), linear())
    model[2].register_forward_hook(lambda _module, given, result: result + given[0])
    inner[1].register_forward_hook(lambda _module, given, result: torch.sin(result + given[0]))
    return model.eval()


@pytest.mark.parametrize(
    ("make", "places"),
    [
        (walking, {"1.add.right", "2.add.left", "3.cat.inputs", "4.add.left", "5.add.left"}),
        (hooked, {"add.right", "3.add.right"}),
    ],
)
def test_it_computes_what_it_did_but_for_rounding(
    make: Callable[[], nn.Module], places: set[str], tmp_path: Path
) -> None:
    model = make()
    found = quantize(model, [tokens(0)])
    assert places <= {place for each in found.ranges for place in each.places}
    with letting_through(found.model):
        assert torch.equal(found.model(tokens(1)), model(tokens(1)))
    expected = found.model(tokens(1))
    assert not torch.equal(expected, model(tokens(1)))
    found.save(tmp_path / "int8.pt")
    loaded = trtqat.load_quantized(model, tmp_path / "int8.pt")
    for other in (loaded, copy.deepcopy(found.model)):
        assert torch.equal(other(tokens(1)), expected)
        assert other.state_dict().keys() == found.model.state_dict().keys()
    take_quantizers_off(loaded)
    assert [type(each) for each in loaded.modules()] == [type(each) for each in model.modules()]
    assert torch.equal(loaded(tokens(1)), model(tokens(1)))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_both_exporters_trace_it(exporter: Exporter, tmp_path: Path) -> None:
    model = quantize(walking(), [tokens(0)]).model
    result = trtqat.export(model, tmp_path / "int8.onnx", inputs=["input:1x5x8"], exporter=exporter)
    assert result.summary.int8_share == 1


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:[\\s]*Dynamo:UserWarning")
def test_it_is_compiled_in_one_graph() -> None:
    model = quantize(walking(), [tokens(0)]).model
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    assert torch.equal(compiled(tokens(1)), model(tokens(1)))
    torch.compiler.reset()


class Telling(Loop):
    """Calls a function amid its forward."""

    told: Callable[[], None] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.told is not None:
            self.told()
        return super().forward(x)


def test_other_threads_see_the_quantizers_meanwhile() -> None:
    made = nn.Sequential(Telling(linear(), nn.ReLU()), linear())
    model = quantize(made, [tokens(0)]).model
    part = model.get_submodule("0")
    assert isinstance(part, Telling)
    expected, keys = model(tokens(1)), list(model.state_dict())
    seen: list[object] = []

    def other() -> None:
        part.told = None
        seen.extend((list(model.state_dict()), model(tokens(1))))

    def told() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    part.told = told
    assert torch.equal(model(tokens(1)), expected)
    assert seen[0] == keys
    assert isinstance(seen[1], Tensor)
    assert torch.equal(seen[1], expected)


def test_a_pickled_model_runs_alike() -> None:
    model = quantize(walking(), [tokens(0)]).model
    other = pickle.loads(pickle.dumps(model))
    assert torch.equal(other(tokens(1)), model(tokens(1)))
    assert len(placed_quantizers(other)) == len(placed_quantizers(model))
