"""A model with quantizers is still the user's model, and computes what it did but for rounding."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn
from torch.nn import functional

from trtqat import fine_tune, load_quantized
from trtqat.errors import QuantizerError
from trtqat.quant.placing.einsum import axes_of, einsum, spelled_out
from trtqat.quant.placing.placed import placed_quantizers, take_quantizers_off
from trtqat.quant.quantize import keeping, quantize

BATCH, TOKENS, WIDTH = 3, 5, 8


def tokens(seed: int, length: int = TOKENS) -> Tensor:
    return torch.randn(BATCH, length, WIDTH, generator=torch.Generator().manual_seed(seed))


@contextmanager
def letting_through(model: nn.Module) -> Iterator[None]:
    """Quantizers that only look, so that what is around them can be compared exactly."""
    for each in placed_quantizers(model):
        each.module.observer = lambda _: None
    try:
        yield
    finally:
        for each in placed_quantizers(model):
            each.module.observer = None


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


ATTENTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "other_sizes": {"kdim": 6, "vdim": 4},
    "bias_of_keys": {"add_bias_kv": True},
    "zeros": {"add_zero_attn": True},
    "without_bias": {"bias": False},
}


class Attending(nn.Module):
    def __init__(self, *, weights: bool, kind: str, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True, **options)
        self.weights, self.kind, self.options = weights, kind, options

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        key = value = memory if self.kind == "cross" else x
        if "kdim" in self.options:
            key, value = memory[..., :6], memory[..., :4]
        masks: dict[str, Any] = {}
        if self.kind == "masked":
            masks["attn_mask"] = torch.ones(TOKENS, key.shape[1], dtype=torch.bool).triu(1)
        if self.kind == "padded":
            masks["key_padding_mask"] = torch.arange(key.shape[1])[None].expand(BATCH, -1) > 3
        made = self.attention(x, key, value, need_weights=self.weights, **masks)
        return tuple(each for each in made if each is not None)


@pytest.mark.parametrize("options", ATTENTIONS.values(), ids=ATTENTIONS)
@pytest.mark.parametrize("kind", ["self", "cross", "masked", "padded"])
@pytest.mark.parametrize("weights", [False, True])
def test_multihead_attention_is_that_of_pytorch(
    options: dict[str, Any], kind: str, weights: bool
) -> None:
    model = Attending(weights=weights, kind=kind, **options).eval()
    batch = tokens(0), tokens(1)
    found = quantize(model, [batch]).model
    expected = model(*batch)
    with letting_through(found):
        for one, other in zip(found(*batch), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    # Three or more projections or one that is packed, and two products.
    names = {each.name.rpartition(".")[2] for each in placed_quantizers(found)}
    assert len(names) >= 7
    assert not torch.equal(found(*batch)[0], expected[0])


def test_transformer_layers_are_not_fused_past_their_quantizers() -> None:
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    found = quantize(model, [tokens(0)]).model
    # In eval mode without gradients PyTorch would call one fused operator.
    with torch.no_grad():
        assert not torch.equal(found(tokens(1)), model(tokens(1)))
    with letting_through(found), torch.no_grad():
        torch.testing.assert_close(found(tokens(1)), model(tokens(1)), rtol=1e-5, atol=1e-6)


class Scaled(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, **self.options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.randn(TOKENS, TOKENS)},
        {"attn_mask": torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()},
        {"enable_gqa": True},
    ],
    ids=["plain", "causal", "scale", "added", "masked", "gqa"],
)
def test_sdpa_is_that_of_pytorch(options: dict[str, Any]) -> None:
    heads = [4, 2 if "enable_gqa" in options else 4]
    generator = torch.Generator().manual_seed(0)
    shapes = [(BATCH, heads[0], TOKENS, WIDTH), *[(BATCH, heads[1], TOKENS, WIDTH)] * 2]
    batch = tuple(torch.randn(shape, generator=generator) for shape in shapes)
    model = Scaled(**options).eval()
    found = quantize(model, [batch]).model
    assert len(placed_quantizers(found)) == 4
    with letting_through(found):
        torch.testing.assert_close(found(*batch), model(*batch), rtol=1e-5, atol=1e-6)


class Summed(nn.Module):
    def __init__(self, equation: str) -> None:
        super().__init__()
        self.equation = equation

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return torch.einsum(self.equation, left, right)


@st.composite
def equations(draw: st.DrawFn) -> str:
    """Products of stacks: each group of letters may be empty but those that are summed."""
    letters = iter("abcdefgh")
    both, rows, columns = (
        [next(letters) for _ in range(draw(st.integers(0, 2)))] for _ in range(3)
    )
    summed = [next(letters) for _ in range(draw(st.integers(1, 2)))]
    left = draw(st.permutations(both + rows + summed))
    right = draw(st.permutations(both + columns + summed))
    out = draw(st.permutations(both + rows + columns))
    return f"{''.join(left)},{''.join(right)}->{''.join(out)}"


@given(equations())
@settings(max_examples=60, deadline=None)
def test_an_einsum_is_one_product(equation: str) -> None:
    axes = axes_of(equation)
    if not axes or not axes.out:
        return
    sizes = {letter: 2 + index for index, letter in enumerate("abcdefgh")}
    generator = torch.Generator().manual_seed(0)
    left, right = (
        torch.randn([sizes[each] for each in side], generator=generator)
        for side in (axes.left, axes.right)
    )
    if min(left.dim(), right.dim()) < 2:
        return
    model = Summed(equation)
    # Two samples alone are recorded, of whatever the first letters are.
    whole = {axes.left[0], axes.right[0]}
    if any(each in axes.left[1:] + axes.right[1:] for each in whole):
        return
    found = quantize(model, [(left, right)]).model
    assert len(placed_quantizers(found)) == 2
    with letting_through(found):
        torch.testing.assert_close(found(left, right), model(left, right), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("equation", ["ii,ij->j", "ij,jk", "...i,ij->j", "ij,kl->", "ij,k->ij"])
def test_other_einsums_are_left_to_pytorch(equation: str) -> None:
    assert axes_of(spelled_out(equation, 3, 2)) is None


@pytest.mark.parametrize(
    ("equation", "left", "right"),
    [
        ("...nd,...md->...nm", (2, 3, 5, 4), (2, 3, 6, 4)),
        ("...nm,...md->n...d", (2, 3, 5, 6), (1, 3, 6, 4)),
        ("...nm,md->...nd", (2, 3, 5, 6), (6, 4)),
        ("... d, d k -> ... k", (2, 7, 3, 4), (4, 5)),
        ("h...nd,...md->h...nm", (2, 3, 5, 4), (3, 6, 4)),
        ("...nd,...md->...nm", (2, 3, 5, 4), (3, 6, 4)),
    ],
)
def test_an_ellipsis_is_one_product(
    equation: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(left, generator=generator), torch.randn(right, generator=generator)
    model = Summed(equation)
    expected = model(*batch)
    # Calls of a forward alone are seen: nothing is cut to two samples here.
    quantizers = {name: nn.Identity() for name in ("left", "right")}
    torch.testing.assert_close(einsum(quantizers, equation, *batch), expected)  # type: ignore[arg-type]


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
