"""Arrays from an .npz file: one per model input, and ``labels`` if there are any."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile

from trtqat.data.batches import Batch, Shown, check_input, check_labels, check_range, to_input
from trtqat.errors import DataError
from trtqat.tensors import Array, TensorSpec

_LOG = logging.getLogger(__name__)

LABELS = "labels"
# The name that a file may use without knowing what the exporter called the only input.
IMAGES = "images"


class Npz(Shown):
    """The arrays of one file, in memory."""

    def __init__(self, path: str | Path, inputs: Sequence[TensorSpec]) -> None:
        """Reads and checks the file.

        Args:
            path: As ``numpy.savez`` writes it: arrays of shape ``(N, ...)`` named like the
                inputs, or ``images`` for an only input; optionally ``labels`` of shape ``(N,)``.
            inputs: The model's inputs.

        Raises:
            DataError: It is another file, lacks an array, or an array does not fit its input,
                its labels or the other arrays.
        """
        self.name = f"npz:{path}"
        path = Path(path)
        arrays, available = _read(path, inputs)
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
        unused = [name for name in available if name not in (*names.values(), LABELS)]
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
        self._labels = (
            check_labels(f"The labels of '{path}'", arrays[LABELS], self._length)
            if LABELS in arrays
            else None
        )

    def __len__(self) -> int:
        return self._length

    def batch(self, start: int, stop: int) -> Batch:
        """Slices of the arrays, not copied."""
        check_range(start, stop, self._length)
        labels = None if self._labels is None else self._labels[start:stop]
        return Batch({name: array[start:stop] for name, array in self._inputs.items()}, labels)


def _read(path: Path, inputs: Sequence[TensorSpec]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The arrays that are needed, and the names of all."""
    wanted = {spec.name for spec in inputs} | {LABELS, IMAGES}
    try:
        # NumPy leaves a file that it opened itself open where the archive is damaged.
        with path.open("rb") as opened:
            file = np.load(opened, allow_pickle=False)
            if not isinstance(file, NpzFile):
                raise DataError(
                    f"'{path}' holds one array without a name.",
                    "Save it with numpy.savez(path, images=..., labels=...).",
                )
            arrays = {name: np.asarray(file[name]) for name in file.files if name in wanted}
            return arrays, tuple(file.files)
    except OSError as error:
        raise DataError(
            f"'{path}' cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"'{path}' is not an .npz file of plain arrays ({error}).",
            "Save it with numpy.savez, without object arrays: those are pickles, which run code.",
        ) from error


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
