"""A small vision transformer (ViT-S/16) for 224x224 images; random weights from a fixed seed.

Here for what a transformer adds: linears on sequences, products of two activations, LayerNorm,
softmax, GELU. Patches are averaged at the end, so there is no class token.

    trtqat export scripts/models/vit.py:qat --input images:1x3x224x224 -o vit.onnx
"""

from __future__ import annotations

import torch
from torch import nn

# trtqat export knows this file by its path, and so its neighbours alone.
from .untrained import images, quantized  # noqa: TID252

# ViT-S/16: https://arxiv.org/abs/2012.12877, table 1.
PATCH, WIDTH, DEPTH, HEADS = 16, 384, 12, 6
PATCHES = (224 // PATCH) ** 2


class Attention(nn.Module):
    """Self-attention written out, so that the operands of its products can be quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        # Quantizers take these places in the QAT model.
        self.on_query: nn.Module = nn.Identity()
        self.on_key: nn.Module = nn.Identity()
        self.on_weights: nn.Module = nn.Identity()
        self.on_value: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, PATCHES, WIDTH)`` → the same."""
        query, key, value = (
            layer(x).unflatten(2, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = self.on_query(query) @ self.on_key(key).transpose(2, 3)
        weights = torch.softmax(scores * (WIDTH // HEADS) ** -0.5, dim=-1)
        mixed = self.on_weights(weights) @ self.on_value(value)
        y: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return y


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a LayerNorm and around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = Attention()
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, PATCHES, WIDTH)`` → the same."""
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """About 22 million parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.positions = nn.Parameter(torch.randn(1, PATCHES, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 3, 224, 224)`` → logits ``(N, classes)``."""
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        logits: torch.Tensor = self.head(self.norm(self.blocks(x)).mean(1))
        return logits


def fp32(seed: int = 0) -> VisionTransformer:
    """The float model."""
    torch.manual_seed(seed)
    return VisionTransformer().eval()


def qat(seed: int = 0) -> nn.Module:
    """The same model with quantizers on every linear, product and convolution, calibrated."""
    return quantized(fp32(seed), images())
