"""What the models share: the classes, and what becomes of the pixels first."""

from __future__ import annotations

import torch

CLASSES = 10
# Of the training images, for pixels from 0 to 1.
MEAN, STD = 0.2860, 0.3530


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Pixels from 0 to 1 → zero mean and a deviation of 1 over the training images.

    Args:
        images: Shape ``(N, 1, 28, 28)``.
    """
    return (images - MEAN) / STD
