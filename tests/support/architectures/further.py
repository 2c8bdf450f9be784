"""Further kinds, of other fields: segmentation, super-resolution, language, video."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.support.architectures.sequences import LENGTH, VOCABULARY


class RepVgg(nn.Module):
    """Three branches of one input, two convolutions and a BatchNorm, summed."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.dense = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        )
        self.point = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.identity = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = functional.relu(self.dense(x) + self.point(x) + self.identity(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class DeepLab(nn.Module):
    """Dilated branches and one of the whole image, joined; the map is resized to the input."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.branches = nn.ModuleList(
            [nn.Conv2d(width, 8, 1)]
            + [nn.Conv2d(width, 8, 3, padding=d, dilation=d) for d in (2, 4)]
        )
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 8, 1), nn.ReLU())
        self.project = nn.Conv2d(32, 16, 1)
        self.classify = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        x = self.stem(x)
        found = [functional.relu(branch(x)) for branch in self.branches]
        whole = functional.interpolate(
            self.pooled(x), size=x.shape[-2:], mode="bilinear", align_corners=False
        )
        x = functional.relu(self.project(torch.cat([*found, whole], dim=1)))
        return functional.interpolate(
            self.classify(x), size=size, mode="bilinear", align_corners=False
        )


class Lraspp(nn.Module):
    """Torchvision's small segmentation head: channels are scaled, then enlarged bilinearly."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.high = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))
        self.cbr = nn.Sequential(nn.Conv2d(32, 32, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 32, 1, bias=False), nn.Sigmoid()
        )
        self.low_classifier = nn.Conv2d(16, 4, 1)
        self.high_classifier = nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = functional.relu(self.low(x))
        high = functional.relu(self.high(low))
        high = self.cbr(high) * self.scale(high)
        high = functional.interpolate(
            high, size=low.shape[-2:], mode="bilinear", align_corners=False
        )
        y = self.low_classifier(low) + self.high_classifier(high)
        return functional.interpolate(y, size=x.shape[-2:], mode="bilinear", align_corners=False)


class SuperResolution(nn.Module):
    """A long skip over scaled residual blocks, PReLU, and a pixel shuffle."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1),
                nn.PReLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(2)
        )
        self.tail = nn.Sequential(nn.Conv2d(width, 32, 3, padding=1), nn.PixelShuffle(2))
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = x = self.head(image)
        for block in self.body:
            x = x + 0.3 * block(x)
        large: Tensor = self.last(self.tail(x + first))
        return large + functional.interpolate(image, scale_factor=2.0, mode="nearest")


class Mixer(nn.Module):
    """Linears over tokens, between two transpositions, and linears over channels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, width))
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm2(x))
        logits: Tensor = self.fc(x.mean(1))
        return logits


class RmsNorm(nn.Module):
    """Divides by the root of the mean square."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 + torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Llama(nn.Module):
    """Rotary positions, fewer heads for keys than for queries, a gated MLP, no biases."""

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int = 32, heads: int = 4, shared: int = 2) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.embed = nn.Embedding(VOCABULARY, width)
        self.norm1, self.norm2, self.norm3 = (RmsNorm(width) for _ in range(3))
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, shared * self.size, bias=False)
        self.wv = nn.Linear(width, shared * self.size, bias=False)
        self.wo = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 64, bias=False)
        self.up = nn.Linear(width, 64, bias=False)
        self.down = nn.Linear(64, width, bias=False)
        self.head = nn.Linear(width, VOCABULARY, bias=False)
        turns = torch.outer(
            torch.arange(LENGTH).float(), 0.5 ** torch.arange(self.size // 2).float()
        )
        self.register_buffer("cos", torch.cat([turns, turns], -1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([turns, turns], -1).sin(), persistent=False)

    def rotate(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        length = x.shape[-2]
        return x * self.cos[:length] + torch.cat((-second, first), -1) * self.sin[:length]

    def attend(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q = self.wq(x).view(batch, length, self.heads, self.size).transpose(1, 2)
        k = self.wk(x).view(batch, length, self.shared, self.size).transpose(1, 2)
        v = self.wv(x).view(batch, length, self.shared, self.size).transpose(1, 2)
        k = self.rotate(k).repeat_interleave(self.heads // self.shared, dim=1)
        v = v.repeat_interleave(self.heads // self.shared, dim=1)
        out = functional.scaled_dot_product_attention(self.rotate(q), k, v, is_causal=True)
        y: Tensor = self.wo(out.transpose(1, 2).reshape(batch, length, -1))
        return y

    def forward(self, words: Tensor) -> Tensor:
        x = self.embed(words)
        x = x + self.attend(self.norm1(x))
        hidden = self.norm2(x)
        x = x + self.down(functional.silu(self.gate(hidden)) * self.up(hidden))
        logits: Tensor = self.head(self.norm3(x))
        return logits


class Bert(nn.Module):
    """Words and a mask of which of them count; scores get a bias where they do not."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.words = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(LENGTH, width)
        self.norm0, self.norm1, self.norm2 = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.dense = nn.Linear(width, width)
        self.intermediate = nn.Linear(width, 64)
        self.output = nn.Linear(64, width)
        self.pooler = nn.Linear(width, width)
        self.classifier = nn.Linear(width, 8)

    def split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).permute(0, 2, 1, 3)

    def forward(self, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.words(words) + self.positions.weight[: words.shape[1]]
        x = self.norm0(x)
        bias = (1.0 - (mask > 0)[:, None, None, :].to(x.dtype)) * -30.0
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = torch.matmul(q, k.transpose(-1, -2)) / q.shape[-1] ** 0.5 + bias
        context = torch.matmul(scores.softmax(-1), v).permute(0, 2, 1, 3).flatten(2)
        x = self.norm1(self.dense(context) + x)
        x = self.norm2(self.output(functional.gelu(self.intermediate(x))) + x)
        return self.classifier(torch.tanh(self.pooler(x[:, 0]))), x


class Detr(nn.Module):
    """A convolutional backbone, ``nn.Transformer``, learned queries, two heads."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, width, 4, 4),
        )
        self.transformer = nn.Transformer(width, 2, 1, 1, 64, batch_first=True)
        self.queries = nn.Parameter(torch.rand(5, width))
        self.positions = nn.Parameter(torch.rand(16, width))
        self.classes = nn.Linear(width, 8)
        self.boxes = nn.Linear(width, 4)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.backbone(image).flatten(2).permute(0, 2, 1)
        queries = self.queries.unsqueeze(0).repeat(x.shape[0], 1, 1)
        x = self.transformer(self.positions + 0.5 * x, queries)
        return {"logits": self.classes(x), "boxes": self.boxes(x).sigmoid()}


class HighResolution(nn.Module):
    """Two sizes side by side, each added to the other, as in HRNet; then weighted, as in BiFPN."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 1, 1)
        self.high = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU())
        self.low = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU())
        self.lift = nn.Conv2d(32, 16, 1)
        self.sink = nn.Conv2d(16, 32, 3, 2, 1)
        self.weights = nn.Parameter(torch.tensor([0.7, 0.4]))
        self.last = nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu(self.stem(x))
        high, low = self.high(x), self.low(x)
        lifted = functional.interpolate(self.lift(low), scale_factor=2.0, mode="nearest")
        low = functional.relu(low + self.sink(high))
        weights = functional.relu(self.weights)
        weights = weights / (weights.sum() + 1e-4)
        high = functional.relu(weights[0] * high + weights[1] * lifted)
        return self.last(high), low.mean((2, 3))


class Video(nn.Module):
    """Convolutions over time and space, and a pool over both."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 16, 3, (1, 2, 2), 1, bias=False)
        self.bn1 = nn.BatchNorm3d(16)
        self.conv2 = nn.Conv3d(16, 16, 3, 1, 1)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(16, 8)

    def forward(self, clip: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(clip)))
        x = functional.relu(self.conv2(x) + x)
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits
