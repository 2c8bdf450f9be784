"""Attention over images, in the ways in which people write it; and ConvNeXt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.architectures.mobile import StochasticDepth


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of ``(N, C, H, W)``."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7, then two linears on channels that are last; scaled, dropped, added."""

    def __init__(self, width: int, drop: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(0.5 + torch.rand(width))
        self.drop_path = StochasticDepth(drop) if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.dwconv(x).permute(0, 2, 3, 1)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        x = (self.gamma * x).permute(0, 3, 1, 2)
        y: Tensor = shortcut + self.drop_path(x)
        return y


class ConvNeXt(nn.Module):
    """A stem of patches, two stages of one block, a norm after the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, 4), LayerNorm2d(16, eps=1e-6))
        self.stage1 = ConvNeXtBlock(16, 0.0)
        self.down = nn.Sequential(LayerNorm2d(16, eps=1e-6), nn.Conv2d(16, 32, 2, 2))
        self.stage2 = ConvNeXtBlock(32, 0.1)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        logits: Tensor = self.head(self.norm(x.mean([-2, -1])))
        return logits


class Attention(nn.Module):
    """One linear for query, key and value; the products are written with ``@``."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.num_heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nn.Linear(width, width * 3)
        self.attn_drop = nn.Dropout(0.1)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attn = (q * self.scale) @ k.transpose(-2, -1)
        attn = self.attn_drop(attn.softmax(dim=-1))
        x = (attn @ v).transpose(1, 2).reshape(batch, tokens, width)
        y: Tensor = self.proj(x)
        return y


class FusedAttention(nn.Module):
    """``functional.scaled_dot_product_attention`` on three linears."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        shape = (x.shape[0], -1, self.heads, self.size)
        q, k, v = (to(x).view(shape).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        x = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=0.1 if self.training else 0.0
        )
        y: Tensor = self.to_out(x.transpose(1, 2).flatten(2))
        return y


class EinsumAttention(nn.Module):
    """Heads and products by ``torch.einsum``."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).movedim(2, 1)
            for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        dots = torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5
        out = torch.einsum("bhij,bhjd->bhid", functional.softmax(dots, dim=-1), v)
        y: Tensor = self.to_out(out.movedim(1, 2).flatten(-2))
        return y


class MultiheadAttention(nn.Module):
    """``nn.MultiheadAttention`` on itself."""

    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.self_attention = nn.MultiheadAttention(width, heads, dropout=0.1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        y, _ = self.self_attention(x, x, x, need_weights=False)
        return y


class Mlp(nn.Module):
    """Two linears with a GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)
        self.drop = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.drop(self.fc2(self.act(self.fc1(x))))
        return y


class Block(nn.Module):
    """Attention and MLP, each after a norm and added to what came in."""

    def __init__(self, width: int, attention: type[nn.Module]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 2 * width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, blocks, a head on the class token."""

    def __init__(self, attention: type[nn.Module], width: int = 32, depth: int = 1) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, kernel_size=8, stride=8)
        self.cls_token = nn.Parameter(0.5 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.5 * torch.randn(1, 17, width))
        self.blocks = nn.Sequential(*(Block(width, attention) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.blocks(x + self.pos_embed)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits


class WindowAttention(nn.Module):
    """Attention inside windows, with a bias that is looked up by relative position."""

    relative_position_index: Tensor

    def __init__(self, width: int, window: int, heads: int = 2) -> None:
        super().__init__()
        self.window, self.heads = window, heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.table = nn.Parameter(0.2 * torch.randn((2 * window - 1) ** 2, heads))
        grid = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        )
        places = grid.flatten(1)
        relative = (places[:, :, None] - places[:, None, :]) + window - 1
        index = relative[0] * (2 * window - 1) + relative[1]
        self.register_buffer("relative_position_index", index.flatten())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        windows, tokens, width = x.shape
        qkv = self.qkv(x).view(windows, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q = q * (width // self.heads) ** -0.5
        attn = torch.matmul(q, k.transpose(-2, -1))
        bias = self.table[self.relative_position_index].view(tokens, tokens, self.heads)
        attn = attn + bias.permute(2, 0, 1).unsqueeze(0)
        if mask is not None:
            attn = attn.view(-1, mask.size(0), self.heads, tokens, tokens)
            attn = (attn + mask.unsqueeze(1).unsqueeze(0)).view(-1, self.heads, tokens, tokens)
        attn = functional.softmax(attn, dim=-1)
        x = torch.matmul(attn, v).transpose(1, 2).reshape(windows, tokens, width)
        y: Tensor = self.proj(x)
        return y


class SwinBlock(nn.Module):
    """Windows of ``(N, H, W, C)``, rolled by half of one in every second block."""

    mask: Tensor | None

    def __init__(self, width: int, size: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, window)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 2 * width)
        self.register_buffer("mask", self._mask(size) if shift else None)

    def _mask(self, size: int) -> Tensor:
        """Which tokens of a rolled window were no neighbours before."""
        band = torch.zeros(size)
        band[-self.window : -self.shift] = 1
        band[-self.shift :] = 2
        regions = 3 * band[:, None] + band[None, :]
        count = size // self.window
        parts = regions.view(count, self.window, count, self.window).transpose(1, 2)
        tokens = parts.reshape(count * count, self.window**2)
        return (tokens[:, None, :] != tokens[:, :, None]).float() * -100.0

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        w = self.window
        y = self.norm1(x)
        if self.shift > 0:
            y = torch.roll(y, shifts=(-self.shift, -self.shift), dims=(1, 2))
        y = y.view(batch, height // w, w, width // w, w, channels).permute(0, 1, 3, 2, 4, 5)
        y = self.attn(y.reshape(-1, w * w, channels), self.mask)
        y = y.view(batch, height // w, width // w, w, w, channels).permute(0, 1, 3, 2, 4, 5)
        y = y.reshape(batch, height, width, channels)
        if self.shift > 0:
            y = torch.roll(y, shifts=(self.shift, self.shift), dims=(1, 2))
        x = x + y
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Swin(nn.Module):
    """A block, a block with rolled windows, and a merging of patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.block = SwinBlock(16, 8, 4, 0)
        self.rolled = SwinBlock(16, 8, 4, 2)
        self.reduction = nn.Linear(64, 32, bias=False)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        x = self.rolled(self.block(x))
        corners = [x[:, row::2, column::2, :] for column in (0, 1) for row in (0, 1)]
        x = self.reduction(torch.cat(corners, -1))
        logits: Tensor = self.head(self.norm(x).mean((1, 2)))
        return logits
