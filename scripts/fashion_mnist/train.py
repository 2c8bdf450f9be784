r"""Trains five architectures on Fashion-MNIST and counts each on all test images.

    python -m scripts.fashion_mnist.prepare runs/fashion
    python -m scripts.fashion_mnist.train --data runs/fashion --output runs/fashion-out

Stages, in the order in which each model goes through them:

    fp32    trained in floating point, from fresh weights or, EfficientNet-Lite0, from ImageNet's

What is there already is not run again (``stages.py``), so a run that was ended goes on where it
was. The table goes to standard output, the progress to standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from scripts.fashion_mnist.inverted import EfficientNetLite0
from scripts.fashion_mnist.models import MODELS
from scripts.fashion_mnist.prepare import WEIGHTS
from scripts.fashion_mnist.stages import Outcome, Record, Stage, Work, run_stage, table
from scripts.fitting import Images, Recipe, fit, predict
from trtqat.data.idx import read_split
from trtqat.errors import DataError, MissingError, TrtqatError

LABEL_SMOOTHING = 0.1
CROP_PADDING = 2


@dataclass(frozen=True)
class Optimizing:
    """How the weights of an architecture are found.

    Attributes:
        optimizer: As ``Recipe.optimizer``.
        lr: The highest learning rate, for batches of 512.
        weight_decay: Of all parameters.
    """

    optimizer: Literal["sgd", "adamw"]
    lr: float
    weight_decay: float


OPTIMIZING = {
    "resnet18": Optimizing("sgd", 0.2, 5e-4),
    "mobilenet_v2": Optimizing("sgd", 0.2, 1e-4),
    "vgg16": Optimizing("sgd", 0.1, 5e-4),
    "vit": Optimizing("adamw", 1e-3, 0.05),
    "efficientnet_lite0": Optimizing("adamw", 1e-3, 0.01),
}


def recipe(work: Work, *, epochs: int, lr_factor: float = 1.0) -> Recipe:
    """How to train a model of this architecture.

    Args:
        work: Which model, with which seed.
        epochs: Passes over the training images.
        lr_factor: On the learning rate, for training that goes on.
    """
    chosen = OPTIMIZING[work.model]
    return Recipe(
        epochs=epochs,
        # A smaller batch takes a smaller step.
        lr=chosen.lr * lr_factor * min(1.0, work.batch_size / 512),
        batch_size=work.batch_size,
        flip=True,
        seed=work.seed,
        crop_padding=CROP_PADDING,
        optimizer=chosen.optimizer,
        weight_decay=chosen.weight_decay,
        label_smoothing=LABEL_SMOOTHING,
        bfloat16=work.device.type == "cuda",
    )


def train_fp32(work: Work) -> Outcome:
    """Trains a model in floating point."""
    torch.manual_seed(work.seed)
    model = work.new_model()
    if isinstance(model, EfficientNetLite0):
        model.load_imagenet(torch.load(work.weights, weights_only=True))
    fitted = fit(model, work.train, _fp32_recipe(work), title=f"{work.model} fp32")
    answers = predict(model, work.test, work.batch_size)
    return Outcome(answers, dataclasses.asdict(fitted), model)


def _fp32_recipe(work: Work) -> Recipe:
    return recipe(work, epochs=work.epochs)


def _fp32_settings(work: Work) -> dict[str, Any]:
    return dataclasses.asdict(_fp32_recipe(work))


STAGES = (Stage("fp32", train_fp32, _fp32_settings, is_seeded=False),)


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and runs all stages; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        records = run(options)
    except TrtqatError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(records))
    return 0


def run(options: argparse.Namespace) -> list[Record]:
    """Runs every stage of every model that is not done yet.

    Args:
        options: As the command line gives them.

    Returns:
        The records of all, model by model.

    Raises:
        DataError: The data, the weights or a record is missing or damaged.
        UsageError: A stage was done with other settings, or nothing can be written.
        MissingError: CUDA was asked for and is not here.
        TrtqatError: A training diverged.
    """
    weights: Path = options.weights or options.data / WEIGHTS
    if "efficientnet_lite0" in options.models and not weights.is_file():
        raise DataError(
            f"efficientnet_lite0 begins with the weights of '{weights}', which is not there.",
            "Get it by python -m scripts.fashion_mnist.prepare, or name --models without it.",
        )
    device = _device(options.device)
    train, test = (_load(options, split, device) for split in ("train", "test"))
    records = []
    for model in options.models:
        for stage in STAGES:
            for seed in options.seeds if stage.is_seeded else options.seeds[:1]:
                work = Work(
                    model=model,
                    seed=seed,
                    train=train,
                    test=test,
                    folder=options.output / model,
                    epochs=options.epochs,
                    batch_size=options.batch_size,
                    weights=weights,
                )
                records.append(run_stage(stage, work))
    return records


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train five architectures on Fashion-MNIST and count them on all test images"
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the IDX files")
    parser.add_argument("--output", type=Path, required=True, help="folder for records and weights")
    parser.add_argument(
        "--models", type=_models, default=tuple(MODELS), help=f"some of {','.join(MODELS)}"
    )
    parser.add_argument("--epochs", type=_positive, default=15, help="of the FP32 models")
    parser.add_argument("--batch-size", type=_positive, default=512)
    parser.add_argument("--limit", type=_positive, help="use so many images of each split")
    parser.add_argument("--weights", type=Path, help=f"ImageNet weights, if not DATA/{WEIGHTS}")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--seeds", type=_seeds, default=(0,), help="FP32 takes the first, what follows all: 0,1,2"
    )
    return parser


def _models(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no model is called {unknown[0]}; use {', '.join(MODELS)}"
        )
    return names


def _seeds(text: str) -> tuple[int, ...]:
    seeds = text.split(",")
    if not all(seed.isdecimal() for seed in seeds) or len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError("must be different whole numbers, such as 0,1,2")
    return tuple(int(seed) for seed in seeds)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)


def _device(name: str) -> torch.device:
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise MissingError("PyTorch finds no CUDA device.", "Use --device cpu.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def _load(
    options: argparse.Namespace, split: Literal["train", "test"], device: torch.device
) -> Images:
    pixels, labels = read_split(options.data, split)
    limit = options.limit
    return Images(
        torch.from_numpy(pixels[:limit]).to(device), torch.from_numpy(labels[:limit]).to(device)
    )


if __name__ == "__main__":
    sys.exit(main())
