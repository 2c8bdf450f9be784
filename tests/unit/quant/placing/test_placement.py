"""Where ``trtqat.quantize`` puts quantizers, and where it puts none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from trtqat.errors import QuantizerError, UsageError
from trtqat.quant.placing.placed import placed_quantizers
from trtqat.quant.placing.placement import Layer
from trtqat.quant.quantize import Quantized, keeping, quantize
from trtqat.quant.recipe import recipe_of

IMAGES = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))


class Computing(nn.Module):
    """Three convolutions and a function of the user's."""

    def __init__(self, compute: Callable[[Computing, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.last = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.narrow = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.position = nn.Parameter(torch.randn(8, 1, 1))
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)

    # What a convolution returns, for the type checker.
    def end(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(x)
        return y


def quantized(
    compute: Callable[[Computing, Tensor], Tensor], batch: Tensor = IMAGES, **options: Any
) -> Quantized:
    return quantize(Computing(compute), [batch], **options)


def groups(found: Quantized) -> set[frozenset[str]]:
    """The places of each quantizer of an activation."""
    return {frozenset(each.places) for each in found.ranges if not each.is_weight}


def layers(found: Quantized) -> list[Layer]:
    """Those that ran: a model here has more than each function calls."""
    return [each for each in found.layers if "did not run" not in each.kept]


def places(found: Quantized) -> set[str]:
    return {place for group in groups(found) for place in group}


def test_a_chain_has_a_quantizer_before_each_layer_and_one_for_each_weight() -> None:
    found = quantized(lambda m, x: m.last(torch.relu(m.first(x))))
    assert groups(found) == {frozenset({"first.conv2d.input"}), frozenset({"last.conv2d.input"})}
    weights = [each for each in found.ranges if each.is_weight]
    assert {each.places for each in weights} == {
        ("first.conv2d.weight",),
        ("last.conv2d.weight",),
    }
    assert found.model.get_submodule("first.int8.weight").amax.shape == (8, 1, 1, 1)
    assert [layer.name for layer in layers(found)] == ["first", "last"]
    assert found.layers[0].macs == 8 * 8 * 8 * 8 * 9


def test_the_skip_operand_shares_the_quantizer_of_whoever_reads_it() -> None:
    def residual(m: Computing, x: Tensor) -> Tensor:
        x = torch.relu(m.first(x))
        y = torch.relu(m.bn(m.second(x)) + x)
        return m.end(y)

    found = quantized(residual)
    assert frozenset({"second.conv2d.input", "add.right"}) in groups(found)
    assert "add.left" not in places(found)


def test_of_two_layers_the_last_one_is_fused_with_the_sum() -> None:
    found = quantized(lambda m, x: m.last(torch.relu(m.second(m.first(x)) + m.narrow(x))))
    # narrow runs last, so it is the other operand that is quantized.
    assert "add.left" in places(found)
    assert "add.right" not in places(found)


@pytest.mark.parametrize(
    "compute",
    [
        lambda m, x: functional.layer_norm(m.first(x) + x, (8,)),
        lambda m, x: m.first(x) + x,
        lambda m, x: m.last(functional.gelu(m.first(x) + x)),
    ],
    ids=["norm", "output", "gelu"],
)
def test_a_sum_that_nobody_quantizes_stays_float(compute: Any) -> None:
    assert not {place for place in places(quantized(compute)) if place.startswith("add")}


@pytest.mark.parametrize("factor", [1, 1.0, 2.0])
def test_a_sum_is_seen_through_a_factor_of_one(factor: float) -> None:
    found = quantized(lambda m, x: m.last((x + m.first(x)) / factor))
    skip = {place for place in places(found) if place.startswith("add")}
    assert skip == ({"add.left"} if factor == 1 else set())


def test_a_sum_with_a_parameter_or_a_number_has_no_operand_to_quantize() -> None:
    found = quantized(lambda m, x: m.last(m.first(x) + m.position + 1.0))
    assert not {place for place in places(found) if place.startswith("add")}


def test_both_operands_of_a_sum_behind_activations_are_quantized() -> None:
    found = quantized(lambda m, x: m.last(functional.silu(m.first(x)) + torch.relu(m.second(x))))
    assert {"add.left", "add.right"} <= places(found)


def test_the_parts_of_a_concat_and_its_result_share_one_range() -> None:
    def joined(m: Computing, x: Tensor) -> Tensor:
        inner = torch.cat([torch.relu(m.first(x)), m.second(x)], 1)
        return functional.conv2d(torch.cat([inner, x], 1), torch.ones(2, 24, 1, 1))

    found = quantized(joined)
    (shared,) = (group for group in groups(found) if "cat.inputs" in group)
    # x is a part of the Concat, and so is read with the same range by the convolutions.
    assert shared == {
        "cat.inputs",
        "cat_1.inputs",
        "conv2d.input",
        "first.conv2d.input",
        "second.conv2d.input",
    }


@pytest.mark.parametrize(
    ("stack", "axis"), [(torch.hstack, 1), (torch.vstack, 0), (torch.dstack, 2)]
)
def test_a_stack_is_the_concat_that_it_is(stack: Any, axis: int) -> None:
    def joined(join: Callable[[list[Tensor]], Tensor]) -> Quantized:
        def compute(m: Computing, x: Tensor) -> Tensor:
            y = join([torch.relu(m.first(x)), x])
            return functional.conv2d(y, torch.ones(2, y.shape[1], 1, 1))

        return quantized(compute)

    found, other = joined(stack), joined(lambda parts: torch.cat(parts, axis))
    assert groups(found) == groups(other)
    assert "cat.inputs" in places(found)
    assert torch.equal(found.model(IMAGES), other.model(IMAGES))


@pytest.mark.parametrize("alpha", [1, 0.5])
def test_a_weighted_sum_has_its_skip_quantized(alpha: float) -> None:
    def before(m: Computing, x: Tensor) -> Tensor:
        return m.end(torch.add(m.first(x), torch.relu(x), alpha=alpha))

    def after(m: Computing, x: Tensor) -> Tensor:
        return m.end(x.add(m.first(x), alpha=alpha))

    assert "add.right" in places(quantized(before))
    assert "add.left" in places(quantized(after))
    for compute in (before, after):
        found = quantized(compute)
        for each in placed_quantizers(found.model):
            each.module.observer = lambda _: None
        torch.testing.assert_close(found.model(IMAGES), Computing(compute).eval()(IMAGES))


def test_a_concat_before_a_norm_stays_float() -> None:
    found = quantized(lambda m, x: m.last(m.bn(torch.cat([m.first(x)[:, :4], x[:, 4:]], 1))))
    assert "cat.inputs" not in places(found)


@pytest.mark.parametrize(
    ("pool", "place"),
    [
        (lambda y: functional.adaptive_avg_pool2d(y, 1).flatten(1), "adaptive_avg_pool2d.input"),
        (lambda y: y.mean((2, 3)), "mean.input"),
        (lambda y: functional.avg_pool2d(y, 8).flatten(1), "avg_pool2d.input"),
    ],
)
def test_a_pool_before_a_layer_is_quantized(pool: Callable[[Tensor], Tensor], place: str) -> None:
    assert place in places(quantized(lambda m, x: m.fc(pool(torch.relu(m.first(x))))))
    assert place not in places(quantized(lambda m, x: pool(torch.relu(m.first(x)))))


def test_channels_that_are_scaled_are_quantized_and_a_swish_is_not() -> None:
    def excited(m: Computing, x: Tensor) -> Tensor:
        y = torch.relu(m.first(x))
        return m.end(y * torch.sigmoid(m.narrow(y.mean((2, 3), keepdim=True))))

    found = quantized(excited)
    assert {"mul.left", "mul.right"} <= places(found)
    # The pool and the product read the same tensor.
    assert frozenset({"mean.input", "mul.left"}) in groups(found)
    swish = quantized(lambda m, x: m.last((y := m.first(x)) * torch.sigmoid(y)))
    assert not {place for place in places(swish) if place.startswith("mul")}


@pytest.mark.parametrize(
    "gated",
    [
        lambda a, b: a * torch.sigmoid(b),
        lambda a, b: functional.silu(a) * b,
        lambda a, b: torch.tanh(a).mul_(torch.sigmoid(b)),
        lambda a, b: functional.glu(torch.cat([a, b], 1), 1),
    ],
)
def test_a_gate_of_full_size_stays_float_and_its_product_is_quantized(gated: Any) -> None:
    # The architectures show that all layers around a gate are INT8 in a plan, without more.
    found = quantized(lambda m, x: m.last(gated(m.first(x), m.second(x))))
    assert places(found) == {f"{name}.conv2d.input" for name in ("first", "second", "last")}
    assert found.int8_share == 1


def test_a_max_pool_keeps_the_range_of_what_it_reads() -> None:
    def pooled(m: Computing, x: Tensor) -> Tensor:
        y = torch.relu(m.first(x))
        small = functional.max_pool2d(y, 2)
        made: Tensor = m.end(y).mean() + m.second(small).mean()
        return made

    assert frozenset({"last.conv2d.input", "second.conv2d.input"}) in groups(quantized(pooled))


def test_a_module_that_runs_twice_has_one_quantizer_for_both_runs() -> None:
    found = quantized(lambda m, x: m.last(100 * m.first(torch.relu(m.first(x)))))
    (group,) = (each for each in groups(found) if "first.conv2d.input" in each)
    assert group == {"first.conv2d.input"}
    assert found.layers[0].macs == 2 * 8 * 8 * 8 * 8 * 9


def test_products_of_activations_are_quantized_on_both_sides() -> None:
    def attend(m: Computing, x: Tensor) -> Tensor:
        tokens = x.flatten(2)
        return functional.softmax(tokens @ tokens.transpose(1, 2), -1) @ tokens

    found = quantized(attend)
    # A tensor and its transpose are one.
    assert groups(found) == {
        frozenset({"matmul.left", "matmul.right", "matmul_1.right"}),
        frozenset({"matmul_1.left"}),
    }


def test_sdpa_has_the_probabilities_as_a_fourth_operand() -> None:
    def attend(m: Computing, x: Tensor) -> Tensor:
        q = x.flatten(2)
        return functional.scaled_dot_product_attention(q, q * 2, q + 1)

    assert places(quantized(attend)) == {
        f"attention.{operand}" for operand in ("query", "key", "value", "probabilities")
    }


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
