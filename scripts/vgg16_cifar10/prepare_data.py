"""Writes scikit-learn's handwritten digits in the layout of CIFAR-10's binary files.

For hosts where CIFAR-10 cannot be downloaded: 1797 real digits of 8x8 pixels in ten classes,
enlarged to 32x32, in random places, colours and contrasts, under noise. It is not CIFAR-10,
and no figure measured on it says anything about CIFAR-10; source.json beside the files says so.

    python -m scripts.vgg16_cifar10.prepare_data digits
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trtqat.data.cifar10 import IMAGE_SHAPE, TEST_FILES, TRAIN_FILES, write_batch_file
from trtqat.errors import TrtqatError
from trtqat.extras import require
from trtqat.files import write_atomically

DIGIT_SIZE = 28
TEST_SHARE = 0.25
# The figures below make the task hard enough for quantization to show.
CONTRAST = (0.6, 1.0)
NOISE = 0.1


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and writes the six files; returns the exit code."""
    parser = argparse.ArgumentParser(description="scikit-learn's digits as CIFAR-10 binary files")
    parser.add_argument("output", type=Path, help="directory to write to")
    parser.add_argument("--train", type=int, default=3500, help="training images in all five files")
    # Not a multiple of 32, so that whoever pads or drops the last batch gets another count.
    parser.add_argument("--test", type=int, default=1500, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.train < len(TRAIN_FILES) or options.test < 1:
        parser.error("at least 5 training images and 1 test image are needed")
    try:
        prepare(options.output, options.train, options.test, options.seed)
    except TrtqatError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{options.train} training and {options.test} test images in {options.output}")
    return 0


def prepare(output: Path, train: int, test: int, seed: int) -> None:
    """Writes data_batch_1.bin to data_batch_5.bin, test_batch.bin and source.json.

    Args:
        output: Directory; made if it does not exist.
        train: Number of training images.
        test: Number of test images.
        seed: Decides the split, the order and the augmentation.

    Raises:
        MissingError: scikit-learn is not installed.
        UsageError: The directory cannot be written to.
    """
    datasets = require("sklearn.datasets", extra="demo", purpose="Preparing the digits")
    digits = datasets.load_digits()
    train_digits, test_digits = split_digits(len(digits.target), seed)
    output.mkdir(parents=True, exist_ok=True)
    for split, count, chosen, names in (
        (0, train, train_digits, TRAIN_FILES),
        (1, test, test_digits, TEST_FILES),
    ):
        generator = np.random.default_rng((seed, split))
        # Whole rounds through the digits in a new order each, so that all occur equally often.
        rounds = -(-count // len(chosen))
        order = np.concatenate([generator.permutation(chosen) for _ in range(rounds)])[:count]
        images = render(digits.images[order] / 16.0, generator)
        for name, part in zip(names, np.array_split(np.arange(count), len(names)), strict=True):
            write_batch_file(output / name, images[part], digits.target[order[part]])
    source = {
        "data": "scikit-learn's handwritten digits, enlarged and under noise; not CIFAR-10",
        "train_images": train,
        "test_images": test,
        "train_digits": sorted(train_digits.tolist()),
        "test_digits": sorted(test_digits.tolist()),
        "seed": seed,
    }
    write_atomically(output / "source.json", json.dumps(source).encode())


def split_digits(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Splits the digits before any is augmented, so that no test digit is seen in training.

    Args:
        count: Number of digits.
        seed: Decides which ones are for testing.

    Returns:
        Indices of the training digits and of the test digits.
    """
    order = np.random.default_rng(seed).permutation(count)
    test = round(count * TEST_SHARE)
    return order[test:], order[:test]


def render(digits: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Draws each digit in a random place, with random colours, contrast and noise.

    Args:
        digits: Ink from 0 to 1, shape ``(N, 8, 8)``.
        generator: Where the randomness comes from.

    Returns:
        Uint8 images of shape ``(N, 3, 32, 32)``.
    """
    count = len(digits)
    size = IMAGE_SHAPE[1]
    ink = np.zeros((count, size, size))
    enlarge = _bilinear(digits.shape[1], DIGIT_SIZE)
    places = generator.integers(0, size - DIGIT_SIZE + 1, (count, 2))
    for image, digit, (top, left) in zip(ink, digits, places, strict=True):
        image[top : top + DIGIT_SIZE, left : left + DIGIT_SIZE] = enlarge @ digit @ enlarge.T
    # A colour per image and channel: a model cannot rely on one channel, and a program that
    # swaps or repeats channels does not go unnoticed.
    contrast = generator.uniform(*CONTRAST, (count, 1, 1, 1))
    colour = contrast * generator.uniform(0.5, 1.0, (count, 3, 1, 1))
    paper = generator.uniform(0.0, 1.0, (count, 3, 1, 1)) * (1.0 - colour)
    pixels = paper + colour * ink[:, None] + generator.normal(0.0, NOISE, (count, *IMAGE_SHAPE))
    return np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)


def _bilinear(old: int, new: int) -> NDArray[np.float64]:
    """The matrix ``(new, old)`` that enlarges a column, pixel centres aligned."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.stack([np.interp(centres, np.arange(old), row) for row in np.eye(old)], axis=1)


if __name__ == "__main__":
    sys.exit(main())
