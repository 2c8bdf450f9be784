"""Attention and einsum with quantizers inside are those of PyTorch."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn import functional

from tests.support.letting_through import BATCH, TOKENS, WIDTH, letting_through, tokens
from trtqat.quant.placing.einsum import axes_of, einsum, spelled_out
from trtqat.quant.placing.placed import placed_quantizers
from trtqat.quant.quantize import quantize

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
