"""Which layers ``trtqat.quantize`` leaves in floating point, and what it says of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from tests.support.computing import IMAGES, Computing, groups, layers, places, quantized
from trtqat.errors import QuantizerError, UsageError
from trtqat.quant.quantize import keeping, quantize
from trtqat.quant.recipe import recipe_of


@pytest.mark.parametrize("for_", [None, "8.6", "rtx", "10", "11"])
def test_transposed_convolutions_are_quantized_where_tensorrt_runs_them_in_int8(
    for_: Any,
) -> None:
    found = quantized(lambda m, x: m.up(torch.relu(m.first(x))), for_=for_)
    (layer,) = (each for each in found.layers if each.name == "up")
    assert bool(layer.kept) == (for_ not in ("10", "11"))
    if layer.kept:
        assert "transposed convolution" in layer.kept
    else:
        # Axis 1 is that of the output channels where there are no groups.
        assert found.model.get_submodule("up.int8.weight").amax.shape == (1, 8, 1, 1)


@pytest.mark.parametrize("for_", [None, "8.6", "rtx", "10", "11"])
@pytest.mark.parametrize(
    ("channels", "count", "is_refused"),
    [
        *(((8, 16), 8, True), ((8, 24), 8, True), ((8, 16), 4, True)),
        *(((8, 8), 8, False), ((8, 8), 4, False), ((8, 16), 2, False), ((3, 8), 1, False)),
    ],
)
def test_groups_of_few_channels_are_quantized_where_tensorrt_has_kernels(
    for_: Any, channels: tuple[int, int], count: int, is_refused: bool
) -> None:
    first = nn.Conv2d(3, channels[0], 1)
    model = nn.Sequential(first, nn.ReLU(), nn.Conv2d(*channels, 3, groups=count))
    found = quantize(model, [torch.randn(2, 3, 8, 8)], for_=for_)
    layer = found.layers[-1]
    assert bool(layer.kept) == (is_refused and for_ in (None, "8.6"))
    assert not layer.kept or "groups of fewer than four channels" in layer.kept


def test_layers_stay_float_as_asked_with_what_served_them_alone() -> None:
    def residual(m: Computing, x: Tensor) -> Tensor:
        y = torch.relu(m.first(x))
        return m.end(torch.relu(m.second(y) + y))

    found = quantized(residual, keep=["last"])
    assert not {place for place in places(found) if place.startswith(("last", "add"))}
    assert [layer.kept for layer in layers(found)] == ["", "", "as asked"]
    later = keeping(quantized(residual), ["last"])
    assert groups(later) == groups(found)
    assert recipe_of(later.model).keep == ["last"]
    assert torch.equal(later.model(IMAGES), found.model(IMAGES))
    assert 0.6 < later.int8_share < 0.7


def test_a_pattern_is_of_a_layer_or_of_a_module_above_it() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 1))
            self.head = nn.Conv2d(8, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.body(x))
            return logits

    for pattern, kept in (("body", 2), ("body.*", 2), ("body.2", 1), ("h*d", 1)):
        found = quantize(Outer(), [IMAGES], keep=[pattern])
        assert sum(bool(layer.kept) for layer in found.layers) == kept, pattern
    with pytest.raises(QuantizerError, match="'boddy' matches no layer") as raised:
        quantize(Outer(), [IMAGES], keep=["boddy"])
    assert "body.0, body.2, head" in raised.value.remedy


@pytest.mark.parametrize(
    ("compute", "reason"),
    [
        (lambda m, x: functional.conv2d(x, m.first(x).mean(0)[None]), "weight is computed"),
        (lambda m, x: m.first(x) * (m.position.flatten() @ m.position[:, 0]), "weights alone"),
        (lambda m, x: m.first(x).flatten(1) @ m.position.repeat(64, 1, 1).flatten(), "vector"),
    ],
    ids=["dynamic", "constant", "vector"],
)
def test_what_cannot_be_int8_says_why(compute: Any, reason: str) -> None:
    found = quantized(compute)
    (layer,) = (each for each in layers(found) if each.kept)
    assert reason in layer.kept


class Idle(nn.Module):
    """Layers that do not run, and some that only seem so."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.aux = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.spare = nn.MultiheadAttention(8, 2)
        self.words, self.read = nn.Embedding(5, 8), nn.Embedding(8, 8)
        self.tied = nn.Linear(8, 5, bias=False)
        self.tied.weight = self.words.weight
        self.alias = self.first
        self.by_weight = nn.Linear(8, 8)
        self.normed, self.unused = weight_norm(nn.Linear(8, 8)), weight_norm(nn.Linear(8, 8))
        self.forgotten = nn.LSTM(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x) + self.words(torch.zeros(1, dtype=torch.long))
        x = functional.linear(self.attend(x, x, x)[0], self.by_weight.weight.t().contiguous())
        x = functional.linear(self.normed.forward(x), self.read.weight)
        return self.aux(x.mean(1)) if self.training else x


IDLE = ["aux.0", "aux.2", "spare", "tied", "unused", "forgotten"]


def test_layers_that_did_not_run_are_named() -> None:
    tokens = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    found = quantize(Idle(), [tokens])
    idle = [each for each in found.layers if each.kept]
    assert [each.name for each in idle] == IDLE
    for layer in idle:
        assert layer.kept == "it did not run on the first samples"
        assert layer.macs == 0
    assert found.int8_share == 1
    for pattern in ("aux", "aux.*", "tied", "f*n"):
        kept = quantize(Idle(), [tokens], keep=[pattern])
        assert [each.kept for each in kept.layers] == [each.kept for each in found.layers]
    assert found.model.train()(tokens).shape == (3, 2)


class Others(nn.Module):
    """Multiplies in ways that take no quantizer."""

    def __init__(self) -> None:
        super().__init__()
        self.recurs = nn.LSTM(8, 6, num_layers=2, bidirectional=True, proj_size=5)
        self.cell = nn.GRUCell(10, 7)
        self.both = nn.Bilinear(7, 7, 3)
        self.last = nn.Linear(3, 4)
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.cell(self.recurs(x)[0].flatten(0, 1))
        x = self.last(self.both(x, x))
        x = torch.tensordot(x, self.weight, 1) + torch.tensordot(x, self.weight @ self.weight, 1)
        return torch.einsum("ij,jk,kl->il", x, self.weight, self.weight)


def test_what_multiplies_and_takes_no_quantizer_is_named_and_counted() -> None:
    found = quantize(Others(), [torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0))])
    sizes = {each.name: each.macs for each in found.layers if each.kept}
    # Eight tokens a sample; four gates of each direction, and what projects; three gates.
    first = 2 * (24 * 8 + 24 * 5 + 5 * 6)
    second = 2 * (24 * 10 + 24 * 5 + 5 * 6)
    assert sizes["recurs"] == 8 * (first + second)
    assert sizes["cell"] == 8 * (21 * 10 + 21 * 7)
    assert sizes["both"] == 8 * 3 * 7 * 7
    assert sizes["tensordot"] == sizes["tensordot_1"] == 8 * 4 * 4
    assert sizes["einsum"] == 8 * 2 * 4 * 4
    reasons = {each.name: each.kept for each in found.layers}
    assert reasons["recurs"] == reasons["cell"] == "TensorRT has no INT8 for what recurs"
    assert reasons["both"] == "it multiplies in a way that takes no quantizer"
    assert reasons["matmul"] == "it computes on weights alone"
    assert found.int8_share == pytest.approx(8 * 3 * 4 / sum(each.macs for each in found.layers))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_inside_is_named_and_hides_nothing_behind_it() -> None:
    script: Any = torch.jit.script

    def gated(x: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(x) * torch.sigmoid(y).matmul(y)

    hidden = script(gated)
    inside = script(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 1)))
    model = Computing(
        lambda m, x: m.last(hidden(m.get_submodule("inside")(m.first(x)), m.narrow(x)))
    )
    model.inside = inside
    found = quantize(model, [IMAGES])
    kept = {each.name: each.kept for each in layers(found) if each.kept}
    assert kept == {
        "inside": "it is TorchScript, into which nothing can be put",
        "bmm": "it multiplies in a way that takes no quantizer",
    }
    assert [each.name for each in layers(found) if not each.kept] == ["first", "narrow", "last"]
    macs = {each.name: each.macs for each in found.layers}
    assert macs["inside"] == macs["narrow"]
    assert macs["bmm"] == 8 * 8 * 8 * 8
    assert not torch.equal(found.model(IMAGES), model.eval()(IMAGES))


def test_a_branch_that_pytorch_hides_is_named() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(8, 8, 1)

        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            return torch.cond(y.mean() > 0, torch.relu, torch.abs, (y,))

    with pytest.raises(QuantizerError, match="calls torch's 'cond'") as caught:
        quantize(Branching().eval(), [IMAGES])
    assert "torch.where" in caught.value.remedy


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_cannot_be_quantized_is_refused_with_a_sentence() -> None:
    class Scripted(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1

    with pytest.raises(QuantizerError, match="Scripted has no layer that would be quantized"):
        quantize(Scripted(), [IMAGES])
    trace: Any = torch.jit.trace
    script = trace(nn.Conv2d(8, 8, 1), IMAGES)
    with pytest.raises(QuantizerError, match="TorchScript"):
        quantize(nn.Sequential(script), [IMAGES])
    with pytest.raises(QuantizerError, match="no batch to calibrate"):
        quantize(nn.Conv2d(8, 8, 1), [])
    with pytest.raises(QuantizerError, match="does not take a batch"):
        quantize(nn.Conv2d(8, 8, 1), [(IMAGES, IMAGES)])
    with pytest.raises(QuantizerError, match="not finite"):
        quantize(nn.Conv2d(8, 8, 1), [IMAGES * float("nan")])
    with pytest.raises(UsageError, match="method is 'median'"):
        quantize(nn.Conv2d(8, 8, 1), [IMAGES], method="median")  # type: ignore[arg-type]
    with pytest.raises(QuantizerError, match="has quantizers of trtqat already"):
        quantize(quantize(nn.Conv2d(8, 8, 1), [IMAGES]).model, [IMAGES])
