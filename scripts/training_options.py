"""What the options of every script that trains mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.fitting import Images, to_unit
from trtqat.errors import MissingError


def positive(text: str) -> int:
    """A whole number of at least 1, as a ``type`` for argparse.

    Raises:
        ArgumentTypeError: It is another one, or none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number of at least 1")
    return int(text)


def chosen_device(name: str) -> torch.device:
    """The device of ``--device``: ``"auto"`` is a GPU where PyTorch finds one.

    Raises:
        MissingError: ``"cuda"`` was asked for and is not here.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise MissingError("PyTorch finds no CUDA device.", "Use --device cpu.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def first_images(
    split: tuple[NDArray[np.uint8], NDArray[np.int64]],
    limit: int | None,
    device: torch.device,
    as_input: Callable[[torch.Tensor], torch.Tensor] = to_unit,
) -> Images:
    """A split on the device, of which ``--limit`` leaves the first images.

    Args:
        split: Pixels ``(N, C, H, W)`` and labels ``(N,)``, as ``read_split`` returns them.
        limit: How many images; None for all.
        device: Where they go.
        as_input: Makes of uint8 pixels what the model takes, a batch at a time.
    """
    pixels, labels = (torch.from_numpy(each[:limit]).to(device) for each in split)
    return Images(pixels, labels, as_input)
