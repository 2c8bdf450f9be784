"""Networks over sequences: transformers of words, convolutions over time, an LSTM."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

VOCABULARY = 50
LENGTH = 12


class Encoder(nn.Module):
    """``nn.TransformerEncoder`` as it comes, or with its norms first; the mean is classified."""

    def __init__(self, depth: int, width: int = 32, norm_first: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(16, width)
        self.position = nn.Parameter(0.3 * torch.randn(LENGTH, width))
        layer = nn.TransformerEncoderLayer(
            width, 2, 64, activation="gelu", batch_first=True, norm_first=norm_first
        )
        # Layers with norms first can have no nested tensors.
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=not norm_first)
        self.fc = nn.Linear(width, 8)

    def forward(self, steps: Tensor) -> Tensor:
        x = self.encoder(self.embed(steps) + self.position)
        logits: Tensor = self.fc(x.mean(dim=1))
        return logits


class Decoder(nn.Module):
    """``nn.TransformerDecoder``: words look at each other and, across, at a memory."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        layer = nn.TransformerDecoderLayer(width, 2, 64, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 1, norm=nn.LayerNorm(width))
        self.generator = nn.Linear(width, VOCABULARY)

    def forward(self, words: Tensor, memory: Tensor) -> Tensor:
        target = self.embedding(words) * math.sqrt(self.embedding.embedding_dim)
        length = words.shape[1]
        mask = torch.triu(torch.full((length, length), float("-inf")), diagonal=1)
        x = self.decoder(target, memory, tgt_mask=mask)
        logits: Tensor = self.generator(x)
        return logits


class CausalSelfAttention(nn.Module):
    """One linear, split in three; a triangle that is filled with minus infinity."""

    triangle: Tensor

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.n_head = heads
        self.c_attn = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)
        triangle = torch.tril(torch.ones(LENGTH, LENGTH)).view(1, 1, LENGTH, LENGTH)
        self.register_buffer("triangle", triangle)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.size()
        q, k, v = self.c_attn(x).split(width, dim=2)
        size = width // self.n_head
        k = k.view(batch, length, self.n_head, size).transpose(1, 2)
        q = q.view(batch, length, self.n_head, size).transpose(1, 2)
        v = v.view(batch, length, self.n_head, size).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.triangle[:, :, :length, :length] == 0, float("-inf"))
        y = functional.softmax(att, dim=-1) @ v
        out: Tensor = self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width))
        return out


class GptBlock(nn.Module):
    """Causal attention and an MLP that is a ModuleDict."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = CausalSelfAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(width, 4 * width),
                "act": nn.GELU(approximate="tanh"),
                "c_proj": nn.Linear(4 * width, width),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        hidden = self.mlp["act"](self.mlp["c_fc"](self.ln_2(x)))
        y: Tensor = x + self.mlp["c_proj"](hidden)
        return y


class Gpt(nn.Module):
    """Words and positions in; the last linear shares its weight with the embedding."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, width)
        self.wpe = nn.Embedding(LENGTH, width)
        self.h = nn.ModuleList([GptBlock(width, 2)])
        self.ln_f = nn.LayerNorm(width)
        self.lm_head = nn.Linear(width, VOCABULARY, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, words: Tensor) -> Tensor:
        positions = torch.arange(words.size(1), device=words.device)
        x = self.wte(words) + self.wpe(positions)
        for block in self.h:
            x = block(x)
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits


class TemporalBlock(nn.Module):
    """Two dilated causal convolutions whose weights are normalised."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.padding = (kernel - 1) * dilation
        self.conv1 = weight_norm(nn.Conv1d(inputs, outputs, kernel, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(outputs, outputs, kernel, dilation=dilation))
        self.downsample = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else None
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(functional.pad(x, (self.padding, 0)))
        out = self.dropout(functional.relu(out))
        out = self.conv2(functional.pad(out, (self.padding, 0)))
        out = self.dropout(functional.relu(out))
        res = x if self.downsample is None else self.downsample(x)
        return functional.relu(out + res)


class TemporalConvolution(nn.Module):
    """Three blocks whose dilation doubles; the last step is classified."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 16, 16)
        self.network = nn.Sequential(
            *(
                TemporalBlock(inputs, outputs, 3, 2**number)
                for number, (inputs, outputs) in enumerate(pairwise(widths))
            )
        )
        self.linear = nn.Linear(16, 4)

    def forward(self, signal: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.network(signal)[:, :, -1])
        return logits


class Lstm(nn.Module):
    """An LSTM of two layers between a linear and a head of two."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 24)
        self.lstm = nn.LSTM(24, 32, num_layers=2, batch_first=True)
        self.head = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, steps: Tensor) -> Tensor:
        states, (_, _) = self.lstm(torch.relu(self.embed(steps)))
        logits: Tensor = self.head(states[:, -1, :])
        return logits


class GatedConvolution(nn.Module):
    """``a * sigmoid(b)`` of one convolution's halves, as WaveNet and PixelCNN have it."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.start = nn.Conv1d(8, width, 1)
        self.dilated = nn.ModuleList(
            [nn.Conv1d(width, 2 * width, 3, padding=d, dilation=d) for d in (1, 2)]
        )
        self.skips = nn.ModuleList([nn.Conv1d(width, width, 1) for _ in range(2)])
        self.end = nn.Conv1d(width, 8, 1)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.start(signal)
        total: Tensor | float = 0.0
        for dilated, skip in zip(self.dilated, self.skips, strict=True):
            value, gate = dilated(x).chunk(2, dim=1)
            gated = torch.tanh(value) * torch.sigmoid(gate)
            total = total + skip(gated)
            x = x + gated
        assert isinstance(total, Tensor)
        y: Tensor = self.end(functional.relu(total))
        return y


class GatedLinear(nn.Module):
    """``functional.glu`` of convolutions, and a SwiGLU: both operands of a product are large."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.start = nn.Conv1d(8, 2 * width, 1)
        self.conv = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.gate, self.up = nn.Linear(width, 32, bias=False), nn.Linear(width, 32, bias=False)
        self.down = nn.Linear(32, width, bias=False)
        self.head = nn.Linear(width, 4)

    def forward(self, signal: Tensor) -> Tensor:
        x = functional.glu(self.start(signal), dim=1)
        x = (functional.glu(self.conv(x), dim=1) + x).transpose(1, 2)
        x = x + self.down(functional.silu(self.gate(x)) * self.up(x))
        logits: Tensor = self.head(x)
        return logits
