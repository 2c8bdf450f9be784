"""The stages that train: FP32, QAT, and FP32 trained on for as long as QAT, its control.

QAT and its control are one function called twice. They see the same images in the same order, at
the same learning rates, with the same teacher, so they differ by the quantizers alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from scripts.fashion_mnist.inverted import EfficientNetLite0
from scripts.fashion_mnist.stages import Outcome, Stage, Work, products
from scripts.fitting import Images, Recipe, augment, fit
from trtqat.quant.tuning.fine_tune import fine_tune
from trtqat.quant.tuning.options import FineTuneOptions

LABEL_SMOOTHING = 0.1
CROP_PADDING = 2
# Of the highest learning rate in floating point: training goes on from where that has ended.
TUNING_LR = 0.05


@dataclass(frozen=True)
class Optimizing:
    """How the weights of an architecture are found.

    Attributes:
        optimizer: As ``Recipe.optimizer``.
        lr: The highest learning rate, for batches of 512.
        weight_decay: Of all parameters.
        epochs: Passes over the training images that it needs.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    weight_decay: float
    epochs: int = 15


OPTIMIZING = {
    "resnet18": Optimizing("sgd", 0.2, 5e-4),
    "resnet18_quarter": Optimizing("sgd", 0.2, 5e-4, epochs=3),
    "mobilenet_v2": Optimizing("sgd", 0.2, 1e-4),
    "vgg16": Optimizing("sgd", 0.1, 5e-4),
    # Without convolutions it learns slowly what is near what: after 15 epochs 89 %.
    "vit": Optimizing("adamw", 1e-3, 0.05, epochs=60),
    "efficientnet_lite0": Optimizing("adamw", 1e-3, 0.01),
}


@dataclass(frozen=True)
class AugmentedEpoch:
    """The training images once, in an order and with crops that seed and epoch alone decide.

    Attributes:
        images: Training images.
        seed: Of the training.
        number: Of the epoch, from 0.
        batch_size: Largest number of images at once.
    """

    images: Images
    seed: int
    number: int
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        # On the CPU, so that they do not depend on the device.
        generator = torch.Generator().manual_seed(1000 * self.seed + self.number)
        order = torch.randperm(len(self.images), generator=generator)
        # Near-equal batches: a last batch of one image would have no variance for BatchNorm.
        for chosen in torch.tensor_split(order, len(self)):
            chosen = chosen.to(self.images.labels.device)
            pixels = augment(self.images.pixels[chosen], generator, flip=True, padding=CROP_PADDING)
            yield self.images.as_input(pixels), self.images.labels[chosen]


def train_fp32(work: Work) -> Outcome:
    """Trains a model in floating point."""
    torch.manual_seed(work.seed)
    model = work.new_model()
    if isinstance(model, EfficientNetLite0):
        model.load_imagenet(torch.load(work.choices.weights, weights_only=True))
    fitted = fit(model, work.train, _fp32_recipe(work), title=f"{work.model} fp32")
    return Outcome(work.answers(model), dataclasses.asdict(fitted), model)


def train_control(work: Work) -> Outcome:
    """Trains the FP32 model on, as QAT does."""
    return _tuned(work, work.trained("fp32"), _tuning(work, "control"))


def train_qat(work: Work) -> Outcome:
    """Fine-tunes the model that PTQ has left, with the FP32 model as its teacher."""
    return _tuned(work, work.trained("ptq-auto"), _tuning(work, "qat"))


def _tuned(work: Work, model: nn.Module, options: FineTuneOptions) -> Outcome:
    # Dropout draws from the global generator.
    torch.manual_seed(work.seed)
    given = dataclasses.asdict(options)
    with products(tf32=True):
        done = fine_tune(
            model,
            lambda epoch: AugmentedEpoch(work.train, work.seed, epoch, work.choices.batch_size),
            teacher=work.trained("fp32"),
            loss=_smoothed_loss,
            **given,
        )
    figures = {
        "seconds": sum(each.seconds for each in done.epochs),
        "losses": [each.loss for each in done.epochs],
        "most_weight_change": max(done.weight_change.values()),
        "most_range_change_log2": max(map(abs, done.range_change.values()), default=0.0),
    }
    return Outcome(work.answers(model), figures, model)


def _smoothed_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)


def _tuning(work: Work, stage: Literal["qat", "control"]) -> FineTuneOptions:
    chosen = OPTIMIZING[work.model]
    return FineTuneOptions(
        epochs=work.choices.tuning_epochs,
        lr=_scaled(chosen.lr * TUNING_LR, work),
        optimizer=chosen.optimizer,
        weight_decay=chosen.weight_decay,
        ranges="learned" if stage == "qat" else None,
    )


def _scaled(lr: float, work: Work) -> float:
    # A smaller batch takes a smaller step.
    return lr * min(1.0, work.choices.batch_size / 512)


def _fp32_recipe(work: Work) -> Recipe:
    chosen = OPTIMIZING[work.model]
    return Recipe(
        epochs=work.choices.epochs or chosen.epochs,
        lr=_scaled(chosen.lr, work),
        batch_size=work.choices.batch_size,
        flip=True,
        seed=work.seed,
        crop_padding=CROP_PADDING,
        optimizer=chosen.optimizer,
        weight_decay=chosen.weight_decay,
        label_smoothing=LABEL_SMOOTHING,
        bfloat16=work.device.type == "cuda",
    )


def _fp32_settings(work: Work) -> dict[str, Any]:
    return dataclasses.asdict(_fp32_recipe(work))


def _tuning_settings(work: Work, stage: Literal["qat", "control"]) -> dict[str, Any]:
    return {
        **dataclasses.asdict(_tuning(work, stage)),
        "start": "ptq-auto" if stage == "qat" else "fp32",
        "batch_size": work.choices.batch_size,
        "seed": work.seed,
        "crop_padding": CROP_PADDING,
        "label_smoothing": LABEL_SMOOTHING,
    }


FP32 = Stage("fp32", train_fp32, _fp32_settings, is_seeded=False)
CONTROL = Stage("control", train_control, lambda work: _tuning_settings(work, "control"))
QAT = Stage("qat", train_qat, lambda work: _tuning_settings(work, "qat"))
