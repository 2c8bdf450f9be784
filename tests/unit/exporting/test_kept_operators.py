"""Every operator that is decomposed node by node, beside what PyTorch makes of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional as F  # noqa: N812

from tests.support.graphs import nodes_of
from trtqat.exporting import decomposing
from trtqat.exporting.decomposing import decompose
from trtqat.exporting.kept_operators import BY_ITSELF, IN_PLACE
from trtqat.exporting.tracing import trace
from trtqat.quant.fake_quantize import PER_TENSOR, fake_quantize


class _Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv1d(3, 4, 3), nn.Conv3d(1, 2, 2)
        self.groups, self.layer = nn.GroupNorm(2, 4), nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        line = self.groups(self.one(x.select(3, 0)))
        volume = self.three(self.layer(x).unsqueeze(1)).squeeze(4)
        mean: Tensor = line.mean([1, 2]) + volume.mean([1, 2, 3, 4])
        return mean


class _Numbers(nn.Module):
    """What norms and gates are written with."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.PReLU(3)

    def forward(self, x: Tensor) -> Tensor:
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 0.1)
        y = y + torch.exp(-torch.abs(x)) + torch.sqrt(x * x + 1.0)
        largest: Tensor = self.slope(y).amax([2, 3])
        return largest


class _Activations(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(x) + F.hardsigmoid(x) - F.hardswish(x) * F.hardtanh(x)
        y = y + F.leaky_relu(x, 0.2) + F.silu(x) + torch.tanh(x) + torch.sigmoid(x)
        return F.softmax(F.relu(y) / 2.0, -1)


class _InPlace(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        y.add_(1.0).sub_(0.5).mul_(x)
        y.copy_(y + x)
        F.hardsigmoid(y, inplace=True)
        F.hardswish(y, inplace=True)
        F.hardtanh(y, inplace=True)
        F.leaky_relu(y, 0.2, inplace=True)
        F.silu(y, inplace=True)
        return torch.relu_(torch.tanh_(torch.sigmoid_(y)))


class _Maps(nn.Module):
    """What a detector does to its maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 4, 1)
        self.scale: Tensor
        self.register_buffer("scale", torch.tensor(0.03))

    def forward(self, x: Tensor) -> Tensor:
        up = F.interpolate(F.max_pool2d(x, 2), scale_factor=2.0)
        maps = fake_quantize(torch.cat([up, x], 1), self.scale, PER_TENSOR, -127, 127, "q")
        maps = F.interpolate(self.conv(maps), scale_factor=2.0, mode="bilinear")
        return F.avg_pool2d(maps[:, 1:], 2)


class _Words(nn.Module):
    """What attention does to its tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix = nn.Embedding(7, 6), nn.Linear(6, 6)
        self.index: Tensor
        self.register_buffer("index", torch.tensor([1, 3]))

    def forward(self, x: Tensor) -> Tensor:
        words = self.mix(self.words(self.index)).unsqueeze(0).expand(x.shape[0], -1, -1)
        first, _ = words.transpose(1, 2).unbind(2)
        keys = first.view(x.shape[0], 1, 6, 1)
        return torch.matmul(x.permute(0, 1, 3, 2), keys)


MODELS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (_Convolutions, _Numbers, _Activations, _InPlace, _Maps, _Words)
}


def exported(model: nn.Module) -> ir.Model:
    samples = {"x": torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))}
    graph, _ = trace(
        model.eval(), samples, {"y": True}, opset=18, dynamic_batch=True, exporter="dynamo"
    )
    return graph


@cache
def by_node(name: str) -> tuple[Any, frozenset[Any]]:
    """The graph of a model, and the operators of its program, which was decomposed node by node."""
    found: set[Any] = set()

    def noting(program: ExportedProgram, *arguments: Any) -> bool:
        targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
        if not decompose(program, *arguments):
            return False
        found.update(targets)
        return True

    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decomposing, "decompose", noting)
        return nodes_of(exported(MODELS[name]())), frozenset(found)


@pytest.mark.parametrize("name", MODELS)
def test_they_stay_as_pytorch_leaves_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, met = by_node(name)
    assert met
    monkeypatch.setattr(decomposing, "decompose", lambda *_: False)
    torch.manual_seed(0)
    assert nodes_of(exported(MODELS[name]())) == ours


def test_none_of_them_is_without_a_comparison() -> None:
    met = frozenset().union(*(by_node(name)[1] for name in MODELS))
    assert (BY_ITSELF | set(IN_PLACE)) - met == set()
