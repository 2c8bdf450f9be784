"""``scaled_dot_product_attention`` with quantizers on the operands of its two products."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from trtqat.quant.int8_quantizer import Int8Quantizer

# The fourth operand exists only inside: what softmax makes.
PROBABILITIES = "probabilities"


def attention(
    quantizers: Mapping[str, Int8Quantizer],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """What PyTorch's function of this name computes, written out, with quantized operands.

    PyTorch documents it so: softmax(query · keyᵀ · scale + mask) · value, the scale 1 / √E unless
    given (https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html).

    Args:
        quantizers: By operand: ``query``, ``key``, ``value``, ``probabilities``.
        query: ``(N, …, L, E)``.
        key: ``(N, …, S, E)``.
        value: ``(N, …, S, Ev)``.
        attn_mask: Added to the scores, or False where a score is left out; broadcastable to
            ``(N, …, L, S)``.
        dropout_p: Share of the probabilities that are dropped.
        is_causal: Whether each position attends to those before it alone.
        scale: Of the scores.
        enable_gqa: Whether several heads of the query share one of key and value.

    Returns:
        ``(N, …, L, Ev)``.
    """
    if enable_gqa:
        heads = query.size(-3) // key.size(-3)
        key, value = (each.repeat_interleave(heads, -3) for each in (key, value))
    factor = 1 / math.sqrt(query.size(-1)) if scale is None else scale
    scores = quantizers["query"](query) @ quantizers["key"](key).transpose(-2, -1) * factor
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(attn_mask.logical_not(), float("-inf"))
    elif attn_mask is not None:
        scores = scores + attn_mask
    probabilities = functional.dropout(scores.softmax(-1), dropout_p, training=dropout_p > 0)
    made: torch.Tensor = quantizers[PROBABILITIES](probabilities) @ quantizers["value"](value)
    return made


def packed_projection(projection: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's projection of query, key and value, with the packed weight cut by its own size.

    PyTorch cuts it by the size of the query where key and value are another tensor, and a traced
    graph then has weights that depend on an input.
    """

    def projected(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> Any:  # noqa: ANN401
        if query is key is value:
            return projection(query, key, value, weight, bias)
        if key is not value:
            biases = (None, None, None) if bias is None else bias.chunk(3)
            parts = zip((query, key, value), weight.chunk(3), biases, strict=True)
            return [functional.linear(*part) for part in parts]
        # Unlike its shape, the length of a tensor is a number also while it is traced.
        sizes = [len(weight) // 3, len(weight) // 3 * 2]
        of_query, of_both = torch.split(weight, sizes)
        added, added_to_both = (None, None) if bias is None else torch.split(bias, sizes)
        both = functional.linear(key, of_both, added_to_both)
        first = functional.linear(query, of_query, added)
        return [first, *(each.contiguous() for each in both.chunk(2, -1))]

    return projected
