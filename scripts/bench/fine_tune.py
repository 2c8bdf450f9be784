"""Which way of fine-tuning loses least, on scikit-learn's digits: figures for the defaults.

    python -m scripts.vgg16_cifar10.prepare_data digits
    python -m scripts.bench.fine_tune --data digits --output scripts/results/fine-tune.json

Three models are trained in float: with residual blocks, the same with channels of very unequal
size (their gains are moved from a convolution to the next one, so that the float model computes
the same and calibration loses much), and with depthwise blocks. Each is quantized, and the copy is
fine-tuned in every way. Judged on the test images: right answers, mean cross-entropy, and the SQNR
of the logits against the float model's. Needs no GPU; a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

import trtqat
from scripts.bench.digit_models import MODELS, DigitNet, Residual
from scripts.bench.record import describe_run
from trtqat.data.cifar10 import normalize, read_split
from trtqat.host.environment import describe_environment

BATCH, CALIBRATION_IMAGES = 64, 512
FLOAT_EPOCHS, EPOCHS = 8, 2
UNEQUAL = 1.5
WAYS: dict[str, dict[str, Any]] = {
    "fixed": {"ranges": "fixed"},
    "learned": {},
    "fixed, teacher": {"ranges": "fixed", "teacher": True},
    "learned, teacher": {"teacher": True},
    "learned, teacher alone": {"teacher": True, "teacher_share": 1.0},
    "learned 0.001, teacher": {"teacher": True, "range_lr": 0.001},
    "learned 0.1, teacher": {"teacher": True, "range_lr": 0.1},
    "learned, teacher, BatchNorm frozen": {"teacher": True, "freeze_batch_norm": 0},
    "learned, teacher, BatchNorm free": {"teacher": True, "freeze_batch_norm": EPOCHS},
    "learned, teacher, lr 0.0005": {"teacher": True, "lr": 0.0005},
    "learned, teacher, lr 0.01": {"teacher": True, "lr": 0.01},
    "learned, teacher, AdamW": {"teacher": True, "optimizer": "adamw"},
}
Split = tuple[torch.Tensor, torch.Tensor]


def load(folder: Path, split: Any) -> Split:  # noqa: ANN401
    """Normalized images ``(N, 3, 32, 32)``, and labels ``(N,)``."""
    images, labels = read_split(folder, split)
    return torch.from_numpy(normalize(images)), torch.from_numpy(labels)


def epochs_of(split: Split, seed: int) -> Callable[[int], list[Split]]:
    """A function of the epoch: its batches, in an order of its own."""
    images, labels = split

    def batches(epoch: int) -> list[Split]:
        generator = torch.Generator().manual_seed(1000 * seed + epoch)
        order = torch.randperm(len(images), generator=generator)
        parts = torch.tensor_split(order, math.ceil(len(images) / BATCH))
        return [(images[part], labels[part]) for part in parts]

    return batches


def float_models(train: Split, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """The three trained models."""
    for name, block in MODELS.items():
        torch.manual_seed(seed)
        model = DigitNet(block)
        trtqat.fine_tune(
            *(model, epochs_of(train, seed)),
            epochs=FLOAT_EPOCHS,
            ranges=None,
            lr=0.1,
            weight_decay=5e-4,
            freeze_batch_norm=FLOAT_EPOCHS,
        )
        yield name, model
        if block is Residual:
            yield f"{name}, unequal channels", unequal(model)


def unequal(model: nn.Module) -> nn.Module:
    """The same function with channels of very unequal size between the convolutions of a block."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(5)
    for block in model.modules():
        if isinstance(block, Residual):
            norm, convolution = block.get_submodule("first.1"), block.get_submodule("second.0")
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(convolution, nn.Conv2d)
            gains = torch.exp(UNEQUAL * torch.randn(norm.num_features, generator=generator))
            with torch.no_grad():
                norm.weight.mul_(gains)
                norm.bias.mul_(gains)
                convolution.weight.div_(gains[None, :, None, None])
    return model


def judged(model: nn.Module, reference: nn.Module, test: Split) -> dict[str, float]:
    """Right answers, cross-entropy, and SQNR in dB against the float model."""
    images, labels = test
    with torch.inference_mode():
        logits = torch.cat([model.eval()(each) for each in torch.split(images, 250)])
        expected = torch.cat([reference.eval()(each) for each in torch.split(images, 250)])
    noise = float((logits - expected).square().sum())
    return {
        "correct": int((logits.argmax(1) == labels).sum()),
        "cross_entropy": float(functional.cross_entropy(logits, labels)),
        "sqnr_db": 10 * math.log10(float(expected.square().sum()) / noise) if noise else math.inf,
    }


def measured(train: Split, test: Split, seed: int, ways: list[str]) -> Iterator[dict[str, Any]]:
    """One row for every model and way."""
    for name, reference in float_models(train, seed):
        row = {"model": name, "seed": seed}
        yield {**row, "way": "float", **judged(reference, reference, test), "sqnr_db": None}
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(train[0]), generator=generator)[:CALIBRATION_IMAGES]
        quantized = trtqat.quantize(reference, torch.split(train[0][chosen], BATCH)).model
        yield {**row, "way": "not tuned", **judged(quantized, reference, test)}
        for way in ways:
            options = dict(WAYS[way])
            teacher = reference if options.pop("teacher", False) else None
            model, begin = copy.deepcopy(quantized), time.perf_counter()
            torch.manual_seed(seed)
            trtqat.fine_tune(
                *(model, epochs_of(train, seed + 100)), epochs=EPOCHS, teacher=teacher, **options
            )
            seconds = time.perf_counter() - begin
            yield {**row, "way": way, **judged(model, reference, test), "seconds": seconds}


def main() -> None:
    """Measures, writes the file after every row, and prints each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="from prepare_data.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    arguments = parser.parse_args()
    # Threads of models this small mostly wait for each other.
    torch.set_num_threads(1)
    train, test = load(arguments.data, "train"), load(arguments.data, "test")
    record: dict[str, Any] = {
        **describe_run("fine_tune"),
        "environment": asdict(describe_environment(with_gpu=False)),
        "train_images": len(train[0]),
        "test_images": len(test[0]),
        "rows": [],
    }
    for seed in arguments.seeds:
        for row in measured(train, test, seed, arguments.ways):
            record["rows"].append(row)
            arguments.output.write_text(json.dumps(record, indent=1) + "\n")
            sqnr = "" if row["sqnr_db"] is None else f"{row['sqnr_db']:6.1f} dB"
            print(
                f"{row['model']:26} {row['seed']} {row['way']:36} {row['correct']:5} "
                f"{row['cross_entropy']:.4f} {sqnr}",
                flush=True,
            )


if __name__ == "__main__":
    main()
