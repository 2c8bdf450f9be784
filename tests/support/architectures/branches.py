"""Networks whose branches are concatenated: DenseNet, GoogLeNet, U-Nets, detectors."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class DenseLayer(nn.Module):
    """Reads all maps so far, concatenated, and makes a few more."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        joined = torch.cat(features, 1)
        bottleneck = self.conv1(self.relu1(self.norm1(joined)))
        new: Tensor = self.conv2(self.relu2(self.norm2(bottleneck)))
        return new


class DenseBlock(nn.ModuleDict):
    """Keeps all maps in a list."""

    def __init__(self, layers: int, inputs: int, growth: int) -> None:
        super().__init__()
        for number in range(layers):
            layer = DenseLayer(inputs + number * growth, growth)
            self.add_module(f"denselayer{number + 1}", layer)

    def forward(self, initial: Tensor) -> Tensor:
        features = [initial]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    """Two blocks with a transition between: a Concat of what was concatenated before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
        self.norm0 = nn.BatchNorm2d(16)
        self.denseblock1 = DenseBlock(2, 16, 8)
        self.transition = nn.Sequential(
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 16, 1, bias=False),
            nn.AvgPool2d(2, 2),
        )
        self.denseblock2 = DenseBlock(2, 16, 8)
        self.norm5 = nn.BatchNorm2d(32)
        self.classifier = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm0(self.conv0(x)), inplace=True)
        x = self.denseblock2(self.transition(self.denseblock1(x)))
        x = functional.relu(self.norm5(x), inplace=True)
        x = torch.flatten(functional.adaptive_avg_pool2d(x, (1, 1)), 1)
        logits: Tensor = self.classifier(x)
        return logits


class BasicConv2d(nn.Module):
    """Convolution, BatchNorm, functional.relu."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


class Inception(nn.Module):
    """Four branches of one input; one pools first."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inputs, width, 1)
        self.branch2 = nn.Sequential(BasicConv2d(inputs, 8, 1), BasicConv2d(8, width, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(inputs, 8, 1), BasicConv2d(8, width, 5, padding=2))
        self.branch4 = BasicConv2d(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        outputs = [self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(pooled)]
        return torch.cat(outputs, 1)


class InceptionAux(nn.Module):
    """A second classifier; its functions run in training only, as its layers do."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = BasicConv2d(inputs, 8, 1)
        self.fc1 = nn.Linear(8, 16)
        self.fc2 = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.adaptive_avg_pool2d(x, 1))
        logits: Tensor = self.fc2(functional.relu(self.fc1(torch.flatten(x, 1))))
        return logits


class GoogLeNetOutputs(NamedTuple):
    """What it returns in training."""

    logits: Tensor
    aux: Tensor | None


class GoogLeNet(nn.Module):
    """Two inceptions with a max pool between; a second classifier helps in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 16, 3, 2, 1)
        self.inception3a = Inception(16, 8)
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.aux = InceptionAux(32)
        self.inception3b = Inception(32, 16)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        x = self.inception3a(self.conv1(x))
        aux = self.aux(x) if self.training else None
        x = self.inception3b(self.maxpool(x))
        logits: Tensor = self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))
        return GoogLeNetOutputs(logits, aux) if self.training else logits


class DoubleConv(nn.Sequential):
    """Twice convolution, BatchNorm and ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    """Makes a map as large as its skip, pads what differs, and joins the two."""

    def __init__(self, inputs: int, outputs: int, bilinear: bool) -> None:
        super().__init__()
        self.up: nn.Module
        if bilinear:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(inputs, outputs, 1),
            )
        else:
            self.up = nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)
        self.conv = DoubleConv(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.up(x)
        rows = skip.size(2) - x.size(2)
        columns = skip.size(3) - x.size(3)
        if rows or columns:
            x = functional.pad(
                x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
            )
        y: Tensor = self.conv(torch.cat([skip, x], dim=1))
        return y


class UNet(nn.Module):
    """Two steps down, two up; the output is a map of classes."""

    def __init__(self, bilinear: bool = False) -> None:
        super().__init__()
        self.inc = DoubleConv(3, 16)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(16, 24))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(24, 32))
        self.up1 = Up(32, 24, bilinear)
        self.up2 = Up(24, 16, bilinear)
        self.outc = nn.Conv2d(16, 8, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        maps: Tensor = self.outc(self.up2(self.up1(x3, x2), x1))
        return maps


class FeaturePyramid(nn.Module):
    """A backbone, top-down additions, and one head that all three levels share."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = BasicConv2d(3, 16, 3, 2, 1)
        self.stages = nn.ModuleList(
            [
                BasicConv2d(16, 16, 3, 1, 1),
                BasicConv2d(16, 24, 3, 2, 1),
                BasicConv2d(24, 32, 3, 2, 1),
            ]
        )
        self.inner = nn.ModuleList([nn.Conv2d(width, 16, 1) for width in (16, 24, 32)])
        self.layer = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(3)])
        self.tower = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())
        self.scores = nn.Conv2d(16, 8, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x = self.stem(image)
        levels = []
        for stage, inner in zip(self.stages, self.inner, strict=True):
            x = stage(x)
            levels.append(inner(x))
        merged = levels[-1]
        maps = {"p5": self.layer[-1](merged)}
        for number in (1, 0):
            lateral = levels[number]
            merged = lateral + functional.interpolate(
                merged, size=lateral.shape[-2:], mode="nearest"
            )
            maps[f"p{number + 3}"] = self.layer[number](merged)
        return {name: self.scores(self.tower(maps[name])) for name in sorted(maps)}


class ConvSiLU(nn.Module):
    """YOLO's ``Conv``."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class C2f(nn.Module):
    """Splits its channels, works on the last part, and joins all that it made."""

    def __init__(self, inputs: int, outputs: int, repeats: int, shortcut: bool = True) -> None:
        super().__init__()
        self.width = outputs // 2
        self.shortcut = shortcut
        self.cv1 = ConvSiLU(inputs, 2 * self.width)
        self.cv2 = ConvSiLU((2 + repeats) * self.width, outputs)
        self.m = nn.ModuleList(
            nn.Sequential(ConvSiLU(self.width, self.width, 3), ConvSiLU(self.width, self.width, 3))
            for _ in range(repeats)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            y.append(y[-1] + block(y[-1]) if self.shortcut else block(y[-1]))
        joined: Tensor = self.cv2(torch.cat(y, 1))
        return joined


class SPPF(nn.Module):
    """Max pools of max pools, all joined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1 = ConvSiLU(channels, channels // 2)
        self.cv2 = ConvSiLU(channels * 2, channels)
        self.m = nn.MaxPool2d(kernel_size=5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        y.extend(self.m(y[-1]) for _ in range(3))
        joined: Tensor = self.cv2(torch.cat(y, 1))
        return joined


class Yolo(nn.Module):
    """Backbone, neck with an Upsample and a Concat, and a head at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvSiLU(3, 16, 3, 2)
        self.p3 = nn.Sequential(ConvSiLU(16, 32, 3, 2), C2f(32, 32, 1))
        self.p4 = nn.Sequential(ConvSiLU(32, 32, 3, 2), SPPF(32))
        self.upsample = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.merge = C2f(64, 32, 1, shortcut=False)
        self.boxes = nn.ModuleList([nn.Conv2d(32, 16, 1) for _ in range(2)])
        self.classes = nn.ModuleList([nn.Conv2d(32, 8, 1) for _ in range(2)])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        p3 = self.p3(self.stem(images))
        p4 = self.p4(p3)
        p3 = self.merge(torch.cat([self.upsample(p4), p3], 1))
        boxes, classes = [], []
        for number, level in enumerate((p3, p4)):
            boxes.append(self.boxes[number](level).flatten(2))
            classes.append(self.classes[number](level).flatten(2))
        return torch.cat(boxes, 2), torch.cat(classes, 2).sigmoid()
