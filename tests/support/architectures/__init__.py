"""Small FP32 models of every kind that ``trtqat quantize`` must hold, written as people do.

The files: residual.py, mobile.py, branches.py, attention.py, sequences.py, unusual.py,
further.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from scripts.models.untrained import with_statistics
from tests.support.architectures import (
    attention,
    branches,
    further,
    mobile,
    residual,
    sequences,
    unusual,
)
from tests.support.models import Plain
from trtqat.tensors import TensorSpec

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
_PATTERNS = 6


@dataclass(frozen=True)
class Architecture(Plain):
    """A kind of model.

    Attributes:
        build: Makes it with the random weights of ``torch.manual_seed``.
        inputs: Of a batch of one, in the order of ``forward``.
        layers: How many convolutions, linears and products of two activations one call makes. A
            recurrent layer is none.
        float_operators: Of the layers that stay in floating point, as 8.6 or RTX runs no such one
            in INT8.
    """

    layers: int
    float_operators: tuple[str, ...] = ()


def trained_like(name: str, seed: int = 0) -> nn.Module:
    """A model in eval mode whose weights and norms are no more those of a fresh one.

    Signals keep their size through all layers. Channels have gains and offsets of their own, as
    training makes them; the statistics of BatchNorms are those of data.
    """
    architecture = ARCHITECTURES[name]
    torch.manual_seed(seed)
    model = architecture.build()
    for module in model.modules():
        if isinstance(module, _NORMS):
            nn.init.uniform_(module.weight, 0.4, 1.6)
            nn.init.normal_(module.bias, std=0.2)
        elif isinstance(module, _LAYERS) and not is_parametrized(module):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            with torch.no_grad():
                gains = torch.exp(0.4 * torch.randn(len(module.weight)))
                module.weight *= gains.view(-1, *[1] * (module.weight.dim() - 1))
        elif isinstance(module, nn.RNNBase):
            for weights in module.parameters():
                nn.init.normal_(weights, std=0.3)
    return with_statistics(model, batches(architecture, 3, 8, seed + 1))


def batches(architecture: Plain, count: int, size: int, seed: int = 7) -> list[tuple[Tensor, ...]]:
    """Batches in the order of ``forward``: noisy forms of a few smooth patterns.

    Args:
        architecture: Whose inputs they fit.
        count: How many.
        size: Samples in each.
        seed: Same seed, same numbers. The patterns are the same for every seed.
    """
    generator = torch.Generator().manual_seed(seed)
    patterns = [_patterns(spec) for spec in architecture.inputs]
    return [tuple(_samples(pattern, size, generator) for pattern in patterns) for _ in range(count)]


def by_name(architecture: Plain, tuples: list[tuple[Tensor, ...]]) -> Iterator[dict[str, Tensor]]:
    """The same batches as dicts by the inputs' names."""
    names = [spec.name for spec in architecture.inputs]
    return (dict(zip(names, batch, strict=True)) for batch in tuples)


def _patterns(spec: TensorSpec) -> Tensor:
    """What samples of this input are made of: ``(patterns, *sample)``."""
    generator = torch.Generator().manual_seed(sum(map(ord, spec.name)))
    shape = (_PATTERNS, *spec.shape[1:])
    if spec.dtype == "int64":
        return torch.randint(0, sequences.VOCABULARY, shape, generator=generator)
    if len(shape) != 4:
        return torch.randn(shape, generator=generator)
    coarse = torch.randn(*shape[:2], 4, 4, generator=generator)
    return 1.5 * functional.interpolate(
        coarse, size=shape[2:], mode="bilinear", align_corners=False
    )


def _samples(patterns: Tensor, size: int, generator: torch.Generator) -> Tensor:
    chosen = patterns[torch.randint(0, _PATTERNS, (size,), generator=generator)]
    noise = torch.rand(chosen.shape, generator=generator)
    if not patterns.is_floating_point():
        # One word in five is another.
        others = torch.randint(0, sequences.VOCABULARY, chosen.shape, generator=generator)
        return torch.where(noise < 0.2, others, chosen)
    gain = 0.5 + torch.rand((size, *[1] * (chosen.dim() - 1)), generator=generator)
    return gain * chosen + 0.6 * (noise - 0.5)


_IMAGE = (TensorSpec("x", (1, 3, 32, 32)),)
_SMALL = (TensorSpec("x", (1, 3, 16, 16)),)
_STEPS = (TensorSpec("steps", (1, sequences.LENGTH, 16)),)
_WORDS = TensorSpec("words", (1, sequences.LENGTH), "int64")
_SIGNAL = (TensorSpec("signal", (1, 8, 32)),)
_VIT = attention.VisionTransformer

ARCHITECTURES: dict[str, Architecture] = {
    "resnet_basic": Architecture(partial(residual.ResNet, residual.BasicBlock), _IMAGE, 9),
    "resnet_bottleneck": Architecture(partial(residual.ResNet, residual.Bottleneck), _IMAGE, 13),
    "resnet_preactivation": Architecture(residual.PreActivationResNet, _SMALL, 9),
    "grouped": Architecture(residual.Grouped, _IMAGE, 6, float_operators=("Conv",)),
    "mobilenet_v2": Architecture(mobile.MobileNetV2, _IMAGE, 12),
    "mobilenet_v3": Architecture(mobile.MobileNetV3, _IMAGE, 15),
    "efficientnet": Architecture(mobile.EfficientNet, _IMAGE, 17),
    "maxvit": Architecture(mobile.MaxVit, _IMAGE, 14),
    "shufflenet_v2": Architecture(mobile.ShuffleNetV2, _IMAGE, 14),
    "densenet": Architecture(branches.DenseNet, _IMAGE, 11),
    "googlenet": Architecture(branches.GoogLeNet, _IMAGE, 14),
    "unet": Architecture(branches.UNet, _SMALL, 13, float_operators=("ConvTranspose",)),
    "unet_upsample": Architecture(partial(branches.UNet, bilinear=True), _SMALL, 13),
    "feature_pyramid": Architecture(
        branches.FeaturePyramid, (TensorSpec("image", (1, 3, 32, 32)),), 16
    ),
    "yolo": Architecture(branches.Yolo, (TensorSpec("images", (1, 3, 32, 32)),), 17),
    "convnext": Architecture(attention.ConvNeXt, _IMAGE, 9),
    # What is between two blocks is in the first of each kind; the others differ within a block.
    "vit": Architecture(partial(_VIT, attention.Attention, depth=2), _IMAGE, 14),
    "vit_multihead": Architecture(partial(_VIT, attention.MultiheadAttention), _IMAGE, 8),
    "vit_sdpa": Architecture(partial(_VIT, attention.FusedAttention), _IMAGE, 10),
    "vit_einsum": Architecture(partial(_VIT, attention.EinsumAttention), _IMAGE, 8),
    "swin": Architecture(attention.Swin, _IMAGE, 15),
    "transformer_encoder": Architecture(partial(sequences.Encoder, 2), _STEPS, 14),
    "transformer_encoder_norm_first": Architecture(
        partial(sequences.Encoder, 1, norm_first=True), _STEPS, 8
    ),
    "transformer_decoder": Architecture(
        sequences.Decoder, (_WORDS, TensorSpec("memory", (1, 9, 32))), 12
    ),
    "gpt": Architecture(sequences.Gpt, (_WORDS,), 7),
    "temporal_convolution": Architecture(sequences.TemporalConvolution, _SIGNAL, 8),
    "gated_convolution": Architecture(sequences.GatedConvolution, _SIGNAL, 6),
    "gated_linear": Architecture(sequences.GatedLinear, _SIGNAL, 6),
    "lstm": Architecture(sequences.Lstm, _STEPS, 3),
    "two_inputs": Architecture(
        unusual.TwoInputs, (TensorSpec("image", (1, 3, 16, 16)), TensorSpec("vector", (1, 8))), 4
    ),
    "shared": Architecture(
        unusual.Shared, (TensorSpec("left", (1, 3, 16, 16)), TensorSpec("right", (1, 3, 16, 16))), 9
    ),
    "functional": Architecture(unusual.Functional, _SMALL, 4),
    "control_flow": Architecture(unusual.ControlFlow, _IMAGE, 4),
    "in_place": Architecture(unusual.InPlace, _IMAGE, 6),
    "padded": Architecture(unusual.Padded, _SMALL, 4),
    "weight_standardised": Architecture(unusual.WeightStandardised, _IMAGE, 3),
    "parametrized": Architecture(unusual.Parametrized, _IMAGE, 4),
    "autoencoder": Architecture(
        unusual.Autoencoder,
        (TensorSpec("image", (1, 3, 16, 16)),),
        7,
        float_operators=("ConvTranspose",),
    ),
    "defaults": Architecture(unusual.Defaults, _IMAGE, 2),
    "repvgg": Architecture(further.RepVgg, _IMAGE, 4),
    "lraspp": Architecture(further.Lraspp, _IMAGE, 6),
    "deeplab": Architecture(further.DeepLab, _IMAGE, 7),
    "super_resolution": Architecture(
        further.SuperResolution, (TensorSpec("image", (1, 3, 16, 16)),), 7
    ),
    "mixer": Architecture(further.Mixer, _IMAGE, 6),
    "llama": Architecture(further.Llama, (_WORDS,), 10),
    "bert": Architecture(
        further.Bert, (_WORDS, TensorSpec("mask", (1, sequences.LENGTH), "int64")), 10
    ),
    "detr": Architecture(further.Detr, (TensorSpec("image", (1, 3, 32, 32)),), 21),
    "high_resolution": Architecture(further.HighResolution, _SMALL, 6),
    "video": Architecture(further.Video, (TensorSpec("clip", (1, 3, 4, 16, 16)),), 3),
}
