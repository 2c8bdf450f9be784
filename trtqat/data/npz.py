"""Arrays from an .npz file: one per model input, and labels if there are any."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from trtqat.data.batches import Batch, Shown, check_input, check_range, to_input
from trtqat.data.npz_file import read_arrays
from trtqat.data.npz_labels import NAMES, read_labels
from trtqat.errors import DataError
from trtqat.tensors import TensorSpec

_LOG = logging.getLogger(__name__)

# The name that a file may use without knowing what the exporter called the only input.
IMAGES = "images"


class Npz(Shown):
    """The arrays of one file, in memory."""

    def __init__(self, path: str | Path, inputs: Sequence[TensorSpec]) -> None:
        """Reads and checks the file.

        Args:
            path: As ``numpy.savez`` writes it: arrays of shape ``(N, ...)`` named like the
                inputs, or ``images`` for an only input; optionally labels, as ``npz_labels.py``
                has them, unless an input is called so.
            inputs: The model's inputs.

        Raises:
            DataError: It is another file, lacks an array, or an array does not fit its input,
                its labels or the other arrays.
        """
        self.name = f"npz:{path}"
        path = Path(path)
        wanted = {spec.name for spec in inputs} | {*NAMES, IMAGES}
        arrays, available = read_arrays(path, wanted)
        names = _match(path, inputs, available)
        lengths: dict[str, int] = {}
        for spec in inputs:
            array = arrays[names[spec.name]]
            source = f"Array '{names[spec.name]}' of '{path}'"
            if array.ndim == 0:
                raise DataError(f"{source} is a single number.", "Save an array of samples.")
            check_input(source, spec, array.shape[1:], array.dtype)
            lengths[names[spec.name]] = len(array)
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
            raise DataError(
                f"The arrays of '{path}' have different numbers of samples: {listed}.",
                "Save arrays of the same length.",
            )
        unused = [name for name in available if name not in (*names.values(), *NAMES)]
        if unused:
            listed = ", ".join(f"'{name}'" for name in unused)
            _LOG.warning("'%s': %s is not used; labels are called 'labels'.", path, listed)
        self._length = next(iter(lengths.values()), 0)
        if not self._length:
            raise DataError(f"'{path}' holds no sample.", "Save at least one.")
        self._inputs = {
            spec.name: to_input(
                f"Array '{names[spec.name]}' of '{path}'", spec, arrays[names[spec.name]]
            )
            for spec in inputs
        }
        given = [name for name in names.values() if name in NAMES]
        for name in given:
            _LOG.warning(
                "'%s': '%s' is an input of the model, and no label; a function for --data gives "
                "both.",
                path,
                name,
            )
        labels = {name: array for name, array in arrays.items() if name not in given}
        self._labels = read_labels(path, labels, self._length)

    def __len__(self) -> int:
        return self._length

    def batch(self, start: int, stop: int) -> Batch:
        """Slices of the arrays, not copied."""
        check_range(start, stop, self._length)
        labels = None if self._labels is None else self._labels[start:stop]
        return Batch({name: array[start:stop] for name, array in self._inputs.items()}, labels)


def _match(path: Path, inputs: Sequence[TensorSpec], available: Sequence[str]) -> dict[str, str]:
    """The array's name by input."""
    names: dict[str, str] = {}
    for spec in inputs:
        if spec.name in available:
            names[spec.name] = spec.name
        elif len(inputs) == 1 and IMAGES in available:
            names[spec.name] = IMAGES
        else:
            listed = ", ".join(f"'{name}'" for name in available) or "nothing"
            raise DataError(
                f"'{path}' has no array for input '{spec.name}'; it holds {listed}.",
                "Name the arrays like the inputs of the model.",
            )
    return names
