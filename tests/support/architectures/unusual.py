"""What models of people have besides plain layers: functions, conditions, own weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


class TwoInputs(nn.Module):
    """An image and a vector in; a tuple of logits and of an embedding out."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.vector = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
        self.fuse = nn.Linear(32, 32)
        self.logits = nn.Linear(32, 8)

    def forward(self, image: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        features = self.image(image).mean(dim=(2, 3))
        embedding = torch.tanh(self.fuse(torch.cat([features, self.vector(vector)], dim=1)))
        return self.logits(embedding), embedding


class Shared(nn.Module):
    """Siamese: the same layers, and one block twice in a row, on inputs of other ranges."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 2, 1)
        self.block = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.project = nn.Linear(16, 16)
        self.compare = nn.Linear(16, 1)

    def embed(self, image: Tensor) -> Tensor:
        x = functional.relu(self.conv(image))
        x = self.block(self.block(x))
        y: Tensor = self.project(x.mean((2, 3)))
        return y

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        apart = torch.abs(self.embed(left) - self.embed(3.0 * right))
        score: Tensor = self.compare(apart)
        return score


class Functional(nn.Module):
    """No layer at all: parameters, and functions that read them."""

    def __init__(self) -> None:
        super().__init__()
        self.w1 = nn.Parameter(0.3 * torch.randn(16, 3, 3, 3))
        self.b1 = nn.Parameter(0.1 * torch.randn(16))
        self.w2 = nn.Parameter(0.1 * torch.randn(32, 16, 3, 3))
        self.w3 = nn.Parameter(0.2 * torch.randn(24, 32))
        self.b3 = nn.Parameter(torch.zeros(24))
        self.w4 = nn.Parameter(0.2 * torch.randn(24, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(functional.conv2d(x, self.w1, self.b1, stride=2, padding=1))
        x = torch.relu(functional.conv2d(x, self.w2, padding="same"))
        x = functional.max_pool2d(x, 2)
        x = functional.avg_pool2d(x, x.shape[-1]).flatten(1)
        x = functional.gelu(functional.linear(x, self.w3, self.b3))
        return torch.matmul(x, self.w4)


class ControlFlow(nn.Module):
    """Asserts, conditions on shapes, a loop to a limit, unpacking: no symbols pass through it."""

    def __init__(self, steps: int = 2) -> None:
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(3, 16, 3, 1, 1)
        self.mixers = nn.ModuleDict({"even": nn.Conv2d(16, 16, 1), "odd": nn.Conv2d(16, 16, 3)})
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 4, f"an image (N, 3, H, W), not {tuple(x.shape)}"
        channels, height, width = map(int, x.shape[1:])
        if channels != 3 or height != width:
            raise ValueError(f"{channels} channels of {height} x {width}")
        x = functional.relu(self.conv(x))
        step = 0
        while step < self.steps and min(x.shape[2:]) > 4:
            key = "even" if step % 2 == 0 else "odd"
            x = functional.relu(self.mixers[key](x)) if x.shape[2] % 2 == 0 else x
            if max(x.shape[-2:]) > 8:
                x = functional.max_pool2d(x, 2)
            step += 1
        pooled = [x.mean((2, 3)), x.amax((2, 3))]
        x = sum(pooled[1:], pooled[0])
        logits: Tensor = self.fc(x)
        return logits


class InPlace(nn.Module):
    """Additions in every way: ``+=``, ``add_``, ``torch.add(alpha=1)``, ``x.add``."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.convs = nn.ModuleList([nn.Conv2d(16, 16, 3, 1, 1) for _ in range(4)])
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.stem(x))
        y = self.convs[0](x)
        y += x
        z = self.convs[1](functional.relu(y))
        z.add_(y)
        u = torch.add(self.convs[2](functional.relu(z)), z, alpha=1)
        v = self.convs[3](functional.relu(u)).add(u)
        logits: Tensor = self.fc(functional.relu(v).mean((2, 3)))
        return logits


class Padded(nn.Module):
    """Convolutions that pad by themselves with what they reflect or wrap around."""

    def __init__(self) -> None:
        super().__init__()
        self.reflect = nn.Conv2d(3, 16, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(16, 16, 3, padding="same", dilation=2)
        self.replicate = nn.Conv2d(16, 16, 3, 2, 1, padding_mode="replicate", bias=False)
        self.explicit = nn.ReflectionPad2d(1)
        self.last = nn.Conv2d(16, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.same(functional.relu(self.reflect(x))))
        x = self.explicit(functional.relu(self.replicate(x)))
        y: Tensor = self.last(x)
        return y


class StandardisedConv2d(nn.Conv2d):
    """Computes the weight that it uses: mean 0 and deviation 1 in each output channel."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        mean = weight.mean(dim=(1, 2, 3), keepdim=True)
        deviation = weight.std(dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (weight - mean) / (deviation + 1e-5) / weight[0].numel() ** 0.5
        return functional.conv2d(
            x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class WeightStandardised(nn.Module):
    """Standardised convolutions with GroupNorm, as in BiT."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = StandardisedConv2d(3, 16, 3, 2, 1, bias=False)
        self.norm1 = nn.GroupNorm(4, 16)
        self.conv2 = StandardisedConv2d(16, 16, 3, 1, 1)
        self.norm2 = nn.GroupNorm(4, 16)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.conv1(x)))
        x = functional.relu(self.norm2(self.conv2(x)) + x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class Parametrized(nn.Module):
    """Weights that ``torch.nn.utils.parametrizations`` computes at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = spectral_norm(nn.Conv2d(3, 16, 3, 2, 1))
        self.conv2 = spectral_norm(nn.Conv2d(16, 16, 3, 1, 1))
        self.fc1 = weight_norm(nn.Linear(16, 32))
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.conv1(x), 0.1)
        x = functional.leaky_relu(self.conv2(x), 0.1)
        x = functional.relu(self.fc1(x.mean((2, 3))))
        logits: Tensor = self.fc2(x)
        return logits


class Autoencoder(nn.Module):
    """Down by strides to a code, up again by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 16),
        )
        self.decoder = nn.Sequential(
            nn.Linear(16, 32 * 4 * 4),
            nn.Unflatten(1, (32, 4, 4)),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 8, 3, 2, 1, output_padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 3, 3, 1, 1),
            nn.Sigmoid(),
        )

    def forward(self, image: Tensor) -> Tensor:
        restored: Tensor = self.decoder(self.encoder(image))
        return restored


class Defaults(nn.Module):
    """Its forward takes more than its input, all with defaults, some by name only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, 2, 1)
        self.fc = nn.Linear(16, 10)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        gain: float = 1.0,
        return_features: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        x = functional.relu(self.conv(x * gain))
        if mask is not None:
            x = x * mask
        features = x.mean((2, 3))
        logits: Tensor = self.fc(features)
        return (logits, features) if return_features else logits
