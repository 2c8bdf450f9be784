"""Small data sets in the layout of MNIST's family."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PREFIXES = {"train": "train", "test": "t10k"}


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """The content of an IDX file of unsigned bytes."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write_idx_split(
    directory: Path, split: str, count: int, *, packed: bool = False, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Writes both files of a split: 28x28 noise whose brightness is that of its class.

    Args:
        directory: Where to write.
        split: ``"train"`` or ``"test"``.
        count: Number of samples; the classes take turns.
        packed: Whether by gzip.
        seed: Decides the noise.

    Returns:
        The images ``(N, 28, 28)`` and the labels ``(N,)``.
    """
    generator = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    noise = generator.integers(0, 20, (count, 28, 28))
    images = (noise + 23 * labels[:, None, None]).astype(np.uint8)
    for array, name in ((images, "images-idx3-ubyte"), (labels, "labels-idx1-ubyte")):
        content = idx_bytes(array)
        path = directory / f"{PREFIXES[split]}-{name}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content, 1) if packed else content)
    return images, labels
