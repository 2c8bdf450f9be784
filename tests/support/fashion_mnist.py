"""Runs of ``scripts.fashion_mnist`` on a handful of images, with a ViT of two blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from scripts.fashion_mnist import prepare, vit
from scripts.fashion_mnist.stages import Choices, Work
from scripts.fitting import Images
from tests.support.idx_files import write_idx_split
from trtqat.data.idx import read_split

# Not multiples of the batch size, nor of each other.
TRAIN, TEST, BATCH = 26, 21, 8
OPTIONS = (
    *("--epochs", "1", "--tuning-epochs", "1", "--batch-size", str(BATCH)),
    *("--calibration-images", "16", "--max-accuracy-drop", "0", "--device", "cpu"),
)


def write_data(directory: Path) -> Path:
    """Random images of both splits, in that folder."""
    write_idx_split(directory, "train", TRAIN, packed=True)
    write_idx_split(directory, "test", TEST, packed=True, seed=1)
    return directory


@contextmanager
def shallow_vit() -> Iterator[None]:
    """Two blocks in place of six: what is asked is what becomes of a model's files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vit, "DEPTH", 2)
        yield


def arguments(data: Path, output: Path) -> list[str]:
    """The command's, for one epoch on the CPU."""
    return ["--data", str(data), "--output", str(output), *OPTIONS]


def work(data: Path, output: Path, model: str, seed: int = 0) -> Work:
    """What a stage of that model is given."""
    train_images, test_images = (
        Images(*map(torch.from_numpy, read_split(data, split)))  # type: ignore[arg-type]
        for split in ("train", "test")
    )
    choices = Choices(data, data / prepare.WEIGHTS, epochs=1, batch_size=BATCH)
    return Work(model, seed, train_images, test_images, output / model, choices)
