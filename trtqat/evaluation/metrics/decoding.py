"""A function of the user's that makes of a model's outputs what a metric reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trtqat.errors import DataError
from trtqat.pointers import load_pointer
from trtqat.tensors import Array, Arrays
from trtqat.user_code import returned, user_code

REMEDY = "Mend the function, or try it in Python first."


class Decoder:
    """``decode=file.py:function``: all outputs of a batch, by name, to a thing for each sample."""

    def __init__(self, pointer: str) -> None:
        """Imports the function.

        Args:
            pointer: ``file.py:function`` or ``pkg.module:function``.

        Raises:
            UsageError: It leads nowhere.
        """
        self._pointer = pointer
        self._function = load_pointer(pointer)

    def __call__(self, outputs: Arrays, count: int) -> Sequence[Any]:
        """What the function returns.

        Args:
            outputs: ``(N, …)`` by name.
            count: Samples.

        Raises:
            DataError: It raised, or returned something else than one thing for each sample.
        """
        with user_code(self._pointer, DataError, REMEDY, when=" when it decoded a batch"):
            found = self._function(own_copy(outputs))
            things = None if isinstance(found, (str, Mapping)) else list(found)
        if things is None or len(things) != count:
            what = returned(found) if things is None else f"{len(things)} of them"
            raise DataError(
                f"{self._pointer} returned {what} for {count} samples.",
                "Return a list with one thing for each sample.",
            )
        return things


def own_copy(things: Any) -> Any:  # noqa: ANN401
    """Outputs or labels of a batch, for code that may write into them, as ``boxes[:, 2:] += …``.

    The comparison of the outputs, and other metrics, read the same arrays.

    Args:
        things: Arrays, and dicts and tuples of them; a text stays what it is.
    """
    if isinstance(things, np.ndarray):
        return things.copy()
    if isinstance(things, Mapping):
        return {name: own_copy(each) for name, each in things.items()}
    return tuple(own_copy(each) for each in things) if isinstance(things, tuple) else things


def as_numbers(pointer: str, thing: Mapping[str, Any], name: str) -> Array:
    """One of the things that a function returned for a sample, as an array of numbers.

    Args:
        pointer: The function.
        thing: By name, what NumPy makes arrays of.
        name: Which of them.

    Raises:
        DataError: NumPy makes no numbers of it.
    """
    with user_code(pointer, DataError, REMEDY, when=f" when its {name} became an array"):
        found = np.asarray(thing[name])
    if found.dtype.kind not in "biuf":
        raise DataError(
            f"{pointer} returned {name} of {found.dtype} for a sample.",
            "Return numbers; a class is its number in the labels.",
        )
    return found
