"""Networks for phones: depthwise convolutions, squeeze and excitation, channel shuffles."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvNormActivation(nn.Sequential):
    """Convolution, BatchNorm, and an activation if one is given."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU6,
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if activation is not None:
            layers.append(activation())
        super().__init__(*layers)


class InvertedResidual(nn.Module):
    """MobileNetV2's block: wide inside, linear at its end."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        hidden = inputs * expand_ratio
        self.use_res_connect = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            ConvNormActivation(inputs, hidden),
            ConvNormActivation(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.use_res_connect else y


class MobileNetV2(nn.Module):
    """Two blocks added to their input, one with a stride; dropout before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormActivation(3, 16, 3, 2),
            InvertedResidual(16, 16, 1, 2),
            InvertedResidual(16, 24, 2, 4),
            InvertedResidual(24, 24, 1, 4),
            ConvNormActivation(24, 64),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = functional.adaptive_avg_pool2d(x, (1, 1)).reshape(x.shape[0], -1)
        logits: Tensor = self.classifier(x)
        return logits


class SqueezeExcitation(nn.Module):
    """Scales channels by what their means say."""

    def __init__(
        self, channels: int, squeezed: int, activation: nn.Module, gate: nn.Module
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation
        self.scale_activation = gate

    def forward(self, x: Tensor) -> Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))
        scale = self.scale_activation(self.fc2(scale))
        y: Tensor = scale * x
        return y


class MobileNetV3Block(nn.Module):
    """Expand, depthwise, squeeze and excitation with a hard sigmoid, project."""

    def __init__(self, channels: int, expanded: int, hard_swish: bool) -> None:
        super().__init__()
        activation = nn.Hardswish if hard_swish else nn.ReLU
        self.block = nn.Sequential(
            ConvNormActivation(channels, expanded, activation=activation),
            ConvNormActivation(expanded, expanded, 5, groups=expanded, activation=activation),
            SqueezeExcitation(expanded, expanded // 4, nn.ReLU(), nn.Hardsigmoid()),
            ConvNormActivation(expanded, channels, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        result += x
        y: Tensor = result
        return y


class MobileNetV3(nn.Module):
    """A block with ReLU, one with hard swish, and a classifier of two linears."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            ConvNormActivation(3, 16, 3, 2, activation=nn.Hardswish),
            MobileNetV3Block(16, 32, hard_swish=False),
            ConvNormActivation(16, 24, 3, 2, activation=nn.Hardswish),
            MobileNetV3Block(24, 64, hard_swish=True),
            ConvNormActivation(24, 64, activation=nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(64, 32), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(32, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        logits: Tensor = self.classifier(x)
        return logits


class StochasticDepth(nn.Module):
    """Drops a branch for some samples of a batch, in training only."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0.0:
            return x
        survival = 1.0 - self.probability
        noise = torch.empty([x.shape[0]] + [1] * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x * noise.bernoulli_(survival).div_(survival)


class MBConv(nn.Module):
    """EfficientNet's block: SiLU, squeeze and excitation, stochastic depth."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        expanded = inputs * expand_ratio
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(ConvNormActivation(inputs, expanded, activation=nn.SiLU))
        layers += [
            ConvNormActivation(expanded, expanded, 3, stride, expanded, nn.SiLU),
            SqueezeExcitation(expanded, max(8, inputs // 4), nn.SiLU(inplace=True), nn.Sigmoid()),
            ConvNormActivation(expanded, outputs, activation=None),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(0.2)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.block(x)
        if self.residual:
            result = self.stochastic_depth(result)
            result += x
        return result


class EfficientNet(nn.Module):
    """One block without expansion, one with a stride, one with a skip."""

    def __init__(self) -> None:
        super().__init__()
        conv = partial(ConvNormActivation, activation=nn.SiLU)
        self.features = nn.Sequential(
            conv(3, 16, 3, 2),
            MBConv(16, 16, 1, 1),
            MBConv(16, 24, 2, 4),
            MBConv(24, 24, 1, 4),
            conv(24, 64),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            OrderedDict([("drop", nn.Dropout(0.2)), ("fc", nn.Linear(64, 10))])
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x)).flatten(1)
        logits: Tensor = self.classifier(x)
        return logits


class PreNormMBConv(nn.Module):
    """MaxViT's block: a BatchNorm before it, and a shortcut that pools and projects."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        projection = [nn.Conv2d(inputs, outputs, 1)] if inputs != outputs or stride > 1 else []
        pool = [nn.AvgPool2d(3, stride, 1)] if stride > 1 else []
        self.proj = nn.Sequential(*pool, *projection)
        self.layers = nn.Sequential(
            nn.BatchNorm2d(inputs),
            ConvNormActivation(inputs, 2 * outputs, activation=nn.GELU),
            ConvNormActivation(2 * outputs, 2 * outputs, 3, stride, 2 * outputs, nn.GELU),
            SqueezeExcitation(2 * outputs, 8, nn.SiLU(), nn.Sigmoid()),
            nn.Conv2d(2 * outputs, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x) + self.layers(x)
        return y


class MaxVit(nn.Module):
    """MaxViT without its attention: a stem that ends in a convolution, and two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNormActivation(3, 16, 3, 2, activation=nn.GELU), nn.Conv2d(16, 16, 3, 1, 1)
        )
        self.blocks = nn.Sequential(PreNormMBConv(16, 16, 2), PreNormMBConv(16, 16, 1))
        self.classifier = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean([2, 3]))
        return logits


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Mixes the channels of ``(N, C, H, W)`` between groups."""
    batch, channels, height, width = x.size()
    x = x.view(batch, groups, channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batch, channels, height, width)


class ShuffleUnit(nn.Module):
    """One half of the channels passes, the other is worked on; or both, with a stride."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        half = outputs // 2
        self.branch1 = nn.Sequential(
            *ConvNormActivation(inputs, inputs, 3, 2, inputs, None),
            *ConvNormActivation(inputs, half, activation=nn.ReLU),
        )
        if stride == 1:
            self.branch1 = nn.Sequential()
        self.branch2 = nn.Sequential(
            *ConvNormActivation(inputs if stride > 1 else half, half, activation=nn.ReLU),
            *ConvNormActivation(half, half, 3, stride, half, None),
            *ConvNormActivation(half, half, activation=nn.ReLU),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    """A unit with a stride and two without."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNormActivation(3, 16, 3, 2, activation=nn.ReLU)
        self.stage2 = nn.Sequential(
            ShuffleUnit(16, 32, 2), ShuffleUnit(32, 32, 1), ShuffleUnit(32, 32, 1)
        )
        self.conv5 = ConvNormActivation(32, 64, activation=nn.ReLU)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv5(self.stage2(self.conv1(x)))
        logits: Tensor = self.fc(x.mean([2, 3]))
        return logits
