"""Random inputs: enough to compare outputs and to measure latency, never accuracy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trtqat.data.batches import Batch, Shown, check_range
from trtqat.errors import DataError
from trtqat.memory import check_fits
from trtqat.tensors import Array, TensorSpec


class Random(Shown):
    """Standard normal numbers for floating point, all bytes of colour images, else 0 or 1.

    A sample depends on the seed and its own index only, so it is the same in a batch of any
    size. Integers stay at 0 and 1 because they are mostly indices or masks, whose bounds the
    model does not tell.
    """

    def __init__(self, inputs: Sequence[TensorSpec], count: int, seed: int = 0) -> None:
        """Checks that every input can be made up.

        Args:
            inputs: The model's inputs.
            count: Number of samples.
            seed: Another seed gives other samples.

        Raises:
            DataError: An input leaves a dimension besides the batch open, or has a dtype that
                is no number.
        """
        self.name = "random"
        self._inputs = tuple(inputs)
        self._count = count
        self._seed = seed
        for spec in inputs:
            if TensorSpec(spec.name, spec.shape[1:]).is_dynamic:
                raise DataError(
                    f"Random data has no size for the open dimensions of input '{spec}'.",
                    "Use npz:FILE with arrays of the shape to measure.",
                )
            if np.dtype(spec.dtype).kind not in "fiub":
                raise DataError(
                    f"Input '{spec.name}' takes {spec.dtype}, which random data cannot be.",
                    "Use npz:FILE or file.py:factory.",
                )

    def __len__(self) -> int:
        return self._count

    def batch(self, start: int, stop: int) -> Batch:
        """Samples without labels.

        Raises:
            UsageError: They do not fit into memory.
        """
        check_range(start, stop, self._count)
        for spec in self._inputs:
            # Each sample, and then all of them together.
            size = 2 * math.prod(spec.shape[1:]) * np.dtype(spec.dtype).itemsize
            check_fits((stop - start) * size, f"Random samples for {spec}")
        return Batch(
            {
                spec.name: np.stack(
                    [self._sample(spec, place, index) for index in range(start, stop)]
                )
                for place, spec in enumerate(self._inputs)
            }
        )

    def _sample(self, spec: TensorSpec, place: int, index: int) -> Array:
        # A generator per sample, seeded by all that identifies it, instead of one that
        # would have to be wound forward.
        generator = np.random.default_rng((self._seed, place, index))
        if np.dtype(spec.dtype).kind == "f":
            return generator.standard_normal(spec.shape[1:], np.float32).astype(spec.dtype)
        return generator.integers(0, spec.random_below, spec.shape[1:]).astype(spec.dtype)
