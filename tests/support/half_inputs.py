"""Images, weights and scales for the graphs of ``half_graphs``."""

from __future__ import annotations

import numpy as np

from trtqat.tensors import Array

IMAGE = ("batch", 3, 8, 8)


def normal(*shape: int, std: float = 1.0, seed: int = 0) -> Array:
    """Normal values, the same for a shape and seed."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * std).astype(np.float32)


def image(batch: int = 2, size: float = 1.0) -> dict[str, Array]:
    """A batch of random images for the input ``x``."""
    x = np.random.default_rng(1).standard_normal((batch, 3, 8, 8)) * size
    return {"x": x.astype(np.float32)}


def scale(value: float) -> Array:
    """A scale for a whole tensor."""
    return np.array(value, np.float32)


def channel_scales(weight: Array) -> Array:
    """The scales that give each output channel all codes."""
    return np.asarray(np.abs(weight).reshape(len(weight), -1).max(1) / 127, np.float32)
